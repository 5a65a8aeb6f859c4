"""The operators beside `transformers`: speed, memory and cost, with the promises they are held to.

`python -m benchmarks.operators` runs all parts (`training decode memory window convolution cost`) in one run on one
thread in fp32. Both sides of a comparison have the same weights, live in one process and take turns.
"""
