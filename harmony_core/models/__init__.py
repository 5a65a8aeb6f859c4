"""How an architecture computes: blocks, the language model, decoding; plain PyTorch on CPU and GPU."""

# Importing a block's file registers its module.
from harmony_core.models import (
    attention,
    gated_deltanet,
    hyena_li,
    hyena_mr,
    hyena_se,
    kda,
    mamba,
    mamba2,
    mla,
    mlp,
    moe,
    parallel,
    short_conv,
    swa,
)
from harmony_core.models.allocator import keep_freed_memory
from harmony_core.models.generate import generate
from harmony_core.models.lm import HybridLM, LossTerms, build
from harmony_core.models.registry import implemented_kinds
from harmony_core.models.stage import Stage
from harmony_core.models.state import DecodingState

_BLOCKS = (
    attention,
    gated_deltanet,
    hyena_li,
    hyena_mr,
    hyena_se,
    kda,
    mamba,
    mamba2,
    mla,
    mlp,
    moe,
    parallel,
    short_conv,
    swa,
)

__all__ = [
    "DecodingState",
    "HybridLM",
    "LossTerms",
    "Stage",
    "build",
    "generate",
    "implemented_kinds",
    "keep_freed_memory",
]
