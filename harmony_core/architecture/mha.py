"""Multi-head attention: every query head has its own keys and values (Vaswani et al. 2017, section 3.2)."""

from __future__ import annotations

from harmony_core.architecture.attention import Attention
from harmony_core.architecture.block import register


@register
class MHA(Attention):
    """Attention with as many key/value heads as query heads."""

    kind = "mha"

    @property
    def kv_heads(self) -> int:
        return self.num_heads
