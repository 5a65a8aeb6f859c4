"""Hyena-MR: explicit filters of medium length under a fixed decay (Ku et al. 2025, arXiv:2503.01868, section 2)."""

from __future__ import annotations

from typing import Any

from harmony_core.architecture.block import Block, changed_fields, register
from harmony_core.architecture.hyena import GroupedFIR


@register
class HyenaMR(GroupedFIR):
    """A Hyena operator with trained filters x exp(-r t), and a direct term for each channel.

    Args:
        decay_range: powers of ten between which r is spaced evenly over the groups (the reference code's `normal`;
            its `weak` is -2 to 2, its `strong` 0 to 2).
        decay_span: tokens over which t runs from 0 to 1; None is filter_length. The reference code takes the length
            of its training sequences.
    """

    kind = "hyena_mr"
    filter_length: int = 128
    decay_range: tuple[float, float] = (-1.0, 2.0)
    decay_span: int | None = None

    def model_post_init(self, context: Any, /) -> None:
        super().model_post_init(context)
        low, high = self.decay_range
        if low > high:
            raise ValueError(f"decay_range is {list(self.decay_range)}; use low <= high")
        # Beyond these powers a decay does nothing, or leaves the first tap alone, whatever the span.
        if low < -6 or high > 6:
            raise ValueError(f"decay_range is {list(self.decay_range)}; use powers of ten from -6 to 6")
        if self.decay_span is not None and self.decay_span < self.filter_length:
            raise ValueError(
                f"decay_span {self.decay_span} is shorter than filter_length {self.filter_length}; "
                f"use at least {self.filter_length}, or leave it out"
            )

    def canonical(self) -> Block:
        """The span where it is not the filter's; of one group's rates only the first is there."""
        fields: dict[str, Any] = {"decay_span": None} if self.decay_span == self.filter_length else {}
        if self.num_groups == 1:
            low, usual = self.decay_range[0], type(self).model_fields["decay_range"].default[1]
            fields["decay_range"] = (low, max(low, usual))
        return changed_fields(self, fields)

    @property
    def decay_tokens(self) -> int:
        """Tokens over which the decay's t runs from 0 to 1."""
        return self.filter_length if self.decay_span is None else self.decay_span

    def filter_params(self, d_model: int) -> int:
        return super().filter_params(d_model) + d_model
