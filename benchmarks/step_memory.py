"""What an architecture keeps in a device's memory, to compare with `Machine.memory_bytes`."""

from __future__ import annotations

from harmony_core.architecture import Architecture, Mode
from harmony_core.machines.activations import kept_bytes, working_bytes
from harmony_core.machines.blocks import Shape
from harmony_core.machines.machine import Precision
from harmony_core.machines.roofline import BYTES_PER_ELEMENT
from harmony_core.machines.traffic import block_traffic
from harmony_core.tiling import LOGITS_BYTES, logits_rows

# An fp32 weight and AdamW's two moments; gradients come during the backward pass.
_BYTES_PER_PARAM = 3 * 4


def predict_memory_bytes(
    architecture: Architecture,
    mode: Mode,
    batch_size: int,
    context: int,
    precision: Precision,
    fused: bool = False,
) -> float:
    """Predicted bytes of all tensors on one device at their most; no fragmentation, no library's own buffers.

    Training is the largest moment of a step: weights and moments throughout, the activations of the blocks whose
    backward pass is still to come, the gradients of those whose backward pass is over. Prefill and decoding keep
    weights, caches and states; prefill holds one block's activations at a time.

    Args:
        architecture: what runs.
        mode: as for `predict_seconds`.
        batch_size: sequences of a forward pass; with micro-batches, those of one.
        context: tokens a sequence, or in its cache.
        precision: of activations, caches, and weights that are not trained.
        fused: whether attention is one kernel that keeps no scores; see `blocks.Shape`.
    """
    element = BYTES_PER_ELEMENT[precision]
    if mode == "train":
        return _training(architecture, Shape(architecture.d_model, batch_size, context, element, fused))
    written = [block_traffic(block, architecture.d_model).elements / 2 for block in architecture.blocks]
    caches = architecture.kv_cache_bytes(context, element) + architecture.state_bytes(element)
    tokens = batch_size * (1 if mode == "decode" else context)
    widest = max(*written, architecture.vocab_size)
    return architecture.num_params() * element + batch_size * caches + tokens * widest * element


def _training(architecture: Architecture, shape: Shape) -> float:
    """The largest of: the loss, each block's backward pass, and the optimiser's step."""
    d_model, head = architecture.d_model, 4 * architecture.vocab_size * architecture.d_model
    kept = sum(kept_bytes(block, shape) for block in architecture.blocks)
    rows = min(logits_rows(architecture.vocab_size, "cuda" if shape.fused else "cpu"), shape.tokens)
    logits = LOGITS_BYTES * rows * architecture.vocab_size
    loss = shape.tokens * (4 * (d_model + 1) + 2 * shape.typed_bytes * d_model) + head + logits
    most, gradients = kept + loss, float(head)
    for block in reversed(architecture.blocks):
        # The gradient of a block's own weights is there before its backward pass ends.
        gradients += 4 * (block.num_params(d_model) + block.norm_params(d_model))
        most = max(most, kept + gradients + working_bytes(block, shape))
        kept -= kept_bytes(block, shape)
    return architecture.num_params() * _BYTES_PER_PARAM + max(most, 4 * architecture.num_params())
