"""Attention and Mamba-2 side by side: both read the layer's input, and what they write is added (Falcon-H1)."""

from __future__ import annotations

from typing import Any

from harmony_core.architecture.attention import Attention
from harmony_core.architecture.block import NORM_EPSILON, Block, Exchange, Mode, changed_fields, register
from harmony_core.architecture.gqa import GQA
from harmony_core.architecture.mamba2 import Mamba2

MULTIPLIERS = ("attention_in_multiplier", "attention_out_multiplier", "ssm_in_multiplier", "ssm_out_multiplier")


@register
class Parallel(Block):
    """y = a_out attention(a_in x) + s_out ssm(s_in x) (Falcon-H1 2025, arXiv:2507.22448).

    It is made of blocks: what it counts, holds and refuses is what they do. The factors change no function that the
    weights could not have; they say how fast it is learnt.

    Args:
        attention: the heads of attention; as many key/value heads as heads, or 1, are no other kind here.
        ssm: the state space beside it.
        attention_in_multiplier: factor of what attention reads.
        attention_out_multiplier: factor of what it writes.
        ssm_in_multiplier: factor of what the state space reads.
        ssm_out_multiplier: factor of what it writes.
    """

    kind = "parallel"
    role = "mixer"
    width_field = "ssm.d_state"
    grows = ("attention.num_heads", "attention.num_kv_heads", "ssm.inner_width")
    attention: GQA
    ssm: Mamba2
    attention_in_multiplier: float = 1.0
    attention_out_multiplier: float = 1.0
    ssm_in_multiplier: float = 1.0
    ssm_out_multiplier: float = 1.0

    def model_post_init(self, context: Any, /) -> None:
        for name in MULTIPLIERS:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; use a positive number")

    @property
    def branches(self) -> tuple[Block, Block]:
        """The blocks that it is made of."""
        return self.attention, self.ssm

    def check(self, d_model: int) -> None:
        for name, branch in (("attention", self.attention), ("ssm", self.ssm)):
            if branch.norm_position != "pre":
                raise ValueError(f"{name}: norm_position is {branch.norm_position}; it is the whole block's to say")
            try:
                branch.check(d_model)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None

    def canonical(self) -> Block:
        return self._spelled(self.ssm.canonical())

    def canonical_in(self, d_model: int, norm_epsilon: float = NORM_EPSILON) -> Block:
        return self._spelled(self.ssm.canonical_in(d_model, norm_epsilon))

    def _spelled(self, ssm: Block) -> Block:
        # Attention's own spelling by the number of its key/value heads would be another class.
        return changed_fields(self, {"attention": Attention.canonical(self.attention), "ssm": ssm})

    def unreached(self) -> str | None:
        return self.attention.unreached() or self.ssm.unreached()

    def num_params(self, d_model: int) -> int:
        return sum(branch.num_params(d_model) for branch in self.branches)

    def forward_flops_per_token(self, d_model: int, context: int, mode: Mode) -> float:
        return sum(branch.forward_flops_per_token(d_model, context, mode) for branch in self.branches)

    def kv_elements_per_token(self) -> int:
        return self.attention.kv_elements_per_token()

    def state_elements(self, d_model: int) -> int:
        return self.ssm.state_elements(d_model)

    def context_problem(self, d_model: int, ranks: int) -> str | None:
        """As the state space has it: its state does not come from another rank."""
        return self.ssm.context_problem(d_model, ranks)

    def context_exchanges(self, d_model: int) -> tuple[Exchange, ...]:
        return sum((branch.context_exchanges(d_model) for branch in self.branches), ())

    def documents_problem(self) -> str | None:
        return self.attention.documents_problem() or self.ssm.documents_problem()
