"""Hyena-SE: short explicit filters (Ku et al. 2025, arXiv:2503.01868, section 2)."""

from __future__ import annotations

from harmony_core.architecture.block import register
from harmony_core.architecture.hyena import GroupedFIR


@register
class HyenaSE(GroupedFIR):
    """A Hyena operator with trained filters of a few taps and no direct term."""

    kind = "hyena_se"
    filter_length: int = 7
