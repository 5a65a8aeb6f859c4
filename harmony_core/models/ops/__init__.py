"""The arithmetic under the blocks: functions of tensors, with hand-written backward passes where autograd's is slow.

Each op has a plain form beside it (`*_reference`), and a test that compares values and gradients.
"""
