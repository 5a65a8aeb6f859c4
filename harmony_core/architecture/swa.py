"""Sliding-window attention over grouped-query heads (Beltagy et al. 2020, arXiv:2004.05150; Mistral 7B)."""

from __future__ import annotations

from typing import Any

from harmony_core.architecture.attention import Attention
from harmony_core.architecture.block import Mode, register


@register
class SWA(Attention):
    """Attention in which a token sees itself and the `window` - 1 tokens before it."""

    kind = "swa"
    grows = ("num_heads", "num_kv_heads")
    num_kv_heads: int
    window: int

    @property
    def kv_heads(self) -> int:
        return self.num_kv_heads

    @property
    def attention_window(self) -> int | None:
        return self.window

    def model_post_init(self, context: Any, /) -> None:
        super().model_post_init(context)
        if self.window < 1:
            raise ValueError(f"window is {self.window}; use at least 1")

    def check_length(self, sequence_length: int) -> None:
        if self.window > sequence_length:
            raise ValueError(f"window {self.window} is longer than the sequence; use at most {sequence_length}")

    def visible_context(self, context: int, mode: Mode) -> float:
        seen = min(context, self.window)
        if mode == "decode":
            return seen
        return (seen * (seen + 1) / 2 + (context - seen) * seen) / context

    def kv_cache_elements(self, context: int) -> int:
        return self.kv_elements_per_token() * min(context, self.window)
