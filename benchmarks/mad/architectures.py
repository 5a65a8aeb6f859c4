"""Which architectures each part trains: the paper's own, its hybrids, and samples of a space."""

from __future__ import annotations

import functools

import numpy as np

from harmony_core.architecture import Architecture
from harmony_core.architecture.presets import load_preset
from harmony_core.space import Space, draw_strata, sample

# The paper's layers at width 128 (the authors' configuration files): 16 heads of 8; 4 states a channel, which makes the
# state 2,048 elements; SwiGLU of 352.
_MIXERS = {
    "mha": {"kind": "mha", "num_heads": 16, "head_dim": 8},
    "mamba": {"kind": "mamba", "d_state": 4},
    "mamba2": {"kind": "mamba2", "d_state": 16, "head_dim": 32},
    "hyena_li": {"kind": "hyena_li"},
}
_CHANNELS = {"kind": "mlp", "d_ff": 352}
PUBLISHED_MEMORISATION = {"mha": 85.2, "mamba": 89.5}
# Each beside the two that it is made of.
HYBRIDS = {"mha+mamba": ("mha", "mamba"), "mha+mamba2": ("mha", "mamba2"), "mha+hyena_li": ("mha", "hyena_li")}
_SAMPLE_SEEDS = {"spread": 2026, "retest": 2027, "loss": 2028}
_COUNTS = {"spread": 12, "retest": 12, "loss": 24}
_VOCABULARY = 257


def layers(*mixers: str) -> Architecture:
    """Mixers, each with a channel mixer after it, at width 128."""
    blocks = [block for name in mixers for block in (_MIXERS[name], _CHANNELS)]
    return Architecture.parse({"d_model": 128, "vocab_size": _VOCABULARY, "blocks": blocks})


def presets() -> dict[str, Architecture]:
    """Known models at the nano budget, the slowest to train first."""
    return {name: load_preset(name) for name in ("jamba-nano", "mamba-2-nano", "llama-nano", "stripedhyena-2-nano")}


def pure(name: str) -> Architecture:
    """The paper's model of one mixer."""
    return layers(name, name)


def ordered() -> dict[str, Architecture]:
    """The pure ones and the hybrids of them."""
    return {name: pure(name) for name in _MIXERS} | {name: layers(*parts) for name, parts in HYBRIDS.items()}


@functools.cache
def drawn(part: str) -> dict[str, Architecture]:
    """A stratified sample of space nano, drawn as a search's first generation; one of its own for each part."""
    rng = np.random.default_rng(_SAMPLE_SEEDS[part])
    space = Space.read("nano")
    strata = draw_strata(_COUNTS[part], rng)
    return {
        f"{part}{number:02d}": sample(space, _VOCABULARY, rng, stratum).architecture
        for number, stratum in enumerate(strata)
    }
