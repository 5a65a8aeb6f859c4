"""What an architecture keeps in a device's memory, to compare with `Machine.memory_bytes`."""

from __future__ import annotations

from harmony_core.architecture import Architecture, Mode
from harmony_core.machines.machine import Precision
from harmony_core.machines.roofline import BYTES_PER_ELEMENT
from harmony_core.machines.traffic import block_traffic

# fp32 weight, gradient and AdamW's two moments.
_TRAINING_BYTES_PER_PARAM = 4 * 4


def predict_memory_bytes(
    architecture: Architecture, mode: Mode, batch_size: int, context: int, precision: Precision
) -> float:
    """Predicted bytes on one device; no fragmentation, no library's own buffers.

    Training keeps weights, gradients and moments in fp32, and for the backward pass every activation that
    an operation wrote (taken as half of what is read and written) and the logits in fp32. Prefill and
    decoding keep weights, caches and states; prefill holds one block's activations at a time.

    Args:
        architecture: what runs.
        mode: as for `predict_seconds`.
        batch_size: sequences.
        context: tokens a sequence, or in its cache.
        precision: of activations, caches, and weights that are not trained.
    """
    element = BYTES_PER_ELEMENT[precision]
    written = [block_traffic(block, architecture.d_model).elements / 2 for block in architecture.blocks]
    if mode == "train":
        kept = batch_size * context * (sum(written) * element + 4 * architecture.vocab_size)
        return architecture.num_params() * _TRAINING_BYTES_PER_PARAM + kept
    caches = architecture.kv_cache_bytes(context, element) + architecture.state_bytes(element)
    tokens = batch_size * (1 if mode == "decode" else context)
    widest = max(*written, architecture.vocab_size)
    return architecture.num_params() * element + batch_size * caches + tokens * widest * element
