"""Sliding-window attention: grouped-query attention that sees a fixed number of tokens."""

from __future__ import annotations

from typing_extensions import override

from harmony_core.architecture import SWA
from harmony_core.models.attention import AttentionModule
from harmony_core.models.registry import implements


@implements("swa")
class SWAModule(AttentionModule):
    """`AttentionModule` with a window; its decoding cache is a ring of that many tokens."""

    def __init__(self, config: SWA, d_model: int, norm_epsilon: float) -> None:
        super().__init__(config, d_model, norm_epsilon)
        self.window = config.window

    @override
    def cache_length(self, max_context: int) -> int:
        return max_context if self.window is None else min(self.window, max_context)
