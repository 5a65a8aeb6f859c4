"""What every softmax attention shares: heads, rotary positions, their costs."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from harmony_core.architecture.block import Block, Exchange, Mode, changed_fields
from harmony_core.architecture.rope import RopeScaling, canonical_positions, check_rope, length_problem


def check_scale(scale: float | None) -> None:
    """Raises ValueError for a factor that is no factor of scores."""
    if scale is not None and not 0 < scale < math.inf:
        raise ValueError(f"scale is {scale}; use a positive number, or leave it out")


def is_usual_scale(scale: float | None, width: int) -> bool:
    """Whether a factor of scores is what None stands for at this width of queries and keys."""
    return scale is not None and math.isclose(scale, 1 / math.sqrt(width), rel_tol=1e-12)


class Attention(Block):
    """Softmax attention over query heads that share key/value heads; causal, with rotary positions.

    Args:
        num_heads: query heads.
        head_dim: width of a head's queries and keys, and of its values.
        v_head_dim: width of a head's values where it is another one (MiMo-V2-Flash 2025, arXiv:2601.02780).
        qk_norm: RMSNorm over each head of queries and keys, before the rotation.
        qk_norm_joint: that norm is over all heads at once, with a weight for each element (OLMo 2, arXiv:2501.00656).
        rope_base: base of the rotary frequencies; None means no positions at all (Jamba).
        rope_fraction: share of each head, its first elements, that turns (GPT-NeoX; Bamba has 0.5).
        rope_scaling: how the frequencies are changed for long contexts.
        scale: factor of the scores; None is 1 / sqrt(head_dim).
        bias: a bias on queries, keys and values.
        out_bias: a bias on the output projection.
        output_gate: outputs are multiplied with sigmoids of a projection of the inputs, before the output projection
            (Qiu et al. 2025, arXiv:2505.06708); with `bias` that one has a bias too.
        gate_per_head: the gate is one number a head (LFM3).
        sinks: a learned score of each head is in the softmax's denominator, so that weights need not add up to one
            (gpt-oss 2025, arXiv:2508.10925).
    """

    role = "mixer"
    grows: ClassVar[tuple[str, ...]] = ("num_heads",)
    num_heads: int
    head_dim: int
    v_head_dim: int | None = None
    qk_norm: bool = False
    qk_norm_joint: bool = False
    rope_base: float | None = 10000.0
    rope_fraction: float = 1.0
    rope_scaling: RopeScaling | None = None
    scale: float | None = None
    bias: bool = False
    out_bias: bool = False
    output_gate: bool = False
    gate_per_head: bool = False
    sinks: bool = False

    @property
    def kv_heads(self) -> int:
        """Key/value heads, however the kind spells them."""
        raise TypeError(f"{type(self).__name__} does not say how many key/value heads it has")

    @property
    def attention_window(self) -> int | None:
        """Tokens that a query sees at most; None is all before it."""
        return None

    def model_post_init(self, context: Any, /) -> None:
        for name in ("num_heads", "head_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; use at least 1")
        if self.kv_heads < 1 or self.num_heads % self.kv_heads:
            raise ValueError(f"num_kv_heads {self.kv_heads} does not divide num_heads {self.num_heads}; use a divisor")
        if self.v_head_dim is not None and self.v_head_dim < 1:
            raise ValueError(f"v_head_dim is {self.v_head_dim}; use at least 1, or leave it out")
        for option, of in (("qk_norm_joint", "qk_norm"), ("gate_per_head", "output_gate")):
            if getattr(self, option) and not getattr(self, of):
                raise ValueError(f"{option} is True without {of}; use {of} true, or leave {option} out")
        check_rope(self.rope_base, self.rope_fraction, self.head_dim, self.rope_scaling, "head_dim")
        check_scale(self.scale)

    def canonical(self) -> Block:
        """Positions, scale and widths as short as they can be said."""
        fields = canonical_positions(self.head_dim, self.rope_fraction, self.rope_scaling)
        if self.v_head_dim == self.head_dim:
            fields["v_head_dim"] = None
        if self.num_heads == self.kv_heads == 1:
            fields["qk_norm_joint"] = False
        if is_usual_scale(self.scale, self.head_dim):
            fields["scale"] = None
        return changed_fields(self, fields)

    def unreached(self) -> str | None:
        if self.bias and self.rope_base is None and not self.qk_norm:
            return "the keys' bias: without positions it adds the same to every score; use bias false or a rope_base"
        return None

    @property
    def value_dim(self) -> int:
        """Width of a head's values."""
        return self.head_dim if self.v_head_dim is None else self.v_head_dim

    @property
    def gate_width(self) -> int:
        """Elements of the output's gates."""
        if not self.output_gate:
            return 0
        return self.num_heads if self.gate_per_head else self.num_heads * self.value_dim

    @property
    def projected_width(self) -> int:
        """Elements of gates, queries, keys and values."""
        keys = self.kv_heads * (self.head_dim + self.value_dim)
        return self.gate_width + self.num_heads * self.head_dim + keys

    @property
    def qk_norm_widths(self) -> tuple[int, int]:
        """Elements of the norms' weights, of queries and of keys."""
        if not self.qk_norm_joint:
            return self.head_dim, self.head_dim
        return self.num_heads * self.head_dim, self.kv_heads * self.head_dim

    def _matrices(self, d_model: int) -> int:
        return d_model * (self.projected_width + self.num_heads * self.value_dim)

    def num_params(self, d_model: int) -> int:
        return (
            self._matrices(d_model)
            + (self.projected_width if self.bias else 0)
            + (d_model if self.out_bias else 0)
            + (sum(self.qk_norm_widths) if self.qk_norm else 0)
            + (self.num_heads if self.sinks else 0)
        )

    def visible_context(self, context: int, mode: Mode) -> float:
        """Tokens that a query sees: all so far when decoding, their mean over a sequence otherwise."""
        return context if mode == "decode" else (context + 1) / 2

    def forward_flops_per_token(self, d_model: int, context: int, mode: Mode) -> float:
        of_heads = 2 * self.num_heads * (self.head_dim + self.value_dim)
        return 2 * self._matrices(d_model) + of_heads * self.visible_context(context, mode)

    def kv_elements_per_token(self) -> int:
        return self.kv_heads * (self.head_dim + self.value_dim)

    def context_problem(self, d_model: int, ranks: int) -> str | None:
        return None

    def context_exchanges(self, d_model: int) -> tuple[Exchange, ...]:
        """Keys and values of all tokens."""
        return (Exchange("all_gather", self.kv_elements_per_token()),)

    def documents_problem(self) -> str | None:
        return length_problem(self.rope_scaling)
