"""Mamba-2: a selective state space with a scalar decay per head (Dao and Gu 2024, arXiv:2405.21060)."""

from __future__ import annotations

from typing import Any, Literal

from harmony_core.architecture.block import NORM_EPSILON, Block, Mode, changed_fields, register

# Of what the projection in gives, in its order: gate, x, B, C and step sizes.
NO_MULTIPLIERS = (1.0, 1.0, 1.0, 1.0, 1.0)


@register
class Mamba2(Block):
    """The Mamba-2 mixer with its gated RMSNorm, computed in chunks (section 6 of the paper).

    Args:
        d_state: width N of the state of each channel.
        expand: inner width over d_model.
        head_dim: channels P that share one decay.
        n_groups: groups G of heads that share B and C.
        d_conv: taps of the short causal convolution.
        chunk_size: tokens Q treated as one matrix product; changes speed, not the result.
        inner_width: inner width; None is expand x d_model (Nemotron-H gives the heads instead).
        norm_groups: groups of channels that the gated RMSNorm runs over one by one; None is n_groups.
        bias: a bias on the projections in and out.
        conv_bias: a bias on the convolution.
        dt_limit: step sizes are clamped to this range; None is no upper bound.
        norm: what stands before the projection out: `gate_first` normalises y silu(gate), `norm_first` multiplies the
            normalised y with silu(gate), `none` takes y silu(gate) as it is (Falcon-H1).
        multipliers: factors of the projected gate, x, B, C and step sizes, their biases included (Falcon-H1).
    """

    kind = "mamba2"
    role = "mixer"
    width_field = "d_state"
    grows = ("inner_width",)
    d_state: int = 128
    expand: int = 2
    head_dim: int = 64
    n_groups: int = 1
    d_conv: int = 4
    chunk_size: int = 64
    inner_width: int | None = None
    norm_groups: int | None = None
    bias: bool = False
    conv_bias: bool = True
    dt_limit: tuple[float, float | None] = (0.0, None)
    norm: Literal["gate_first", "norm_first", "none"] = "gate_first"
    multipliers: tuple[float, float, float, float, float] = NO_MULTIPLIERS

    def model_post_init(self, context: Any, /) -> None:
        for name in ("d_state", "expand", "head_dim", "n_groups", "d_conv", "chunk_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; use at least 1")
        for name in ("inner_width", "norm_groups"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; use at least 1, or leave it out")
        low, high = self.dt_limit
        if low < 0 or (high is not None and high <= low):
            raise ValueError(f"dt_limit is {list(self.dt_limit)}; use 0 <= low < high")
        if min(self.multipliers) <= 0:
            raise ValueError(f"multipliers are {list(self.multipliers)}; use positive numbers")
        if self.norm == "none" and self.norm_groups is not None:
            raise ValueError(f"norm_groups is {self.norm_groups} with norm none; leave norm_groups out")

    def check(self, d_model: int) -> None:
        if self.d_inner(d_model) % self.head_dim:
            wide = "expand x d_model" if self.inner_width is None else "inner_width"
            raise ValueError(f"head_dim {self.head_dim} does not divide {wide} {self.d_inner(d_model)}")
        if self.num_heads(d_model) % self.n_groups:
            raise ValueError(f"n_groups {self.n_groups} does not divide the {self.num_heads(d_model)} heads")
        if self.norm_groups is not None and self.d_inner(d_model) % self.norm_groups:
            raise ValueError(f"norm_groups {self.norm_groups} does not divide the inner width {self.d_inner(d_model)}")

    def canonical(self) -> Block:
        return changed_fields(self, {"norm_groups": None} if self.norm_groups == self.n_groups else {})

    def canonical_in(self, d_model: int, norm_epsilon: float = NORM_EPSILON) -> Block:
        """As `Block.canonical_in`: an inner width in multiples of the model's where it is one."""
        fields: dict[str, Any] = {}
        if self.inner_width is not None:
            times, rest = divmod(self.inner_width, d_model)
            usual = type(self).model_fields["expand"].default
            fields = {"expand": usual} if rest else {"expand": times, "inner_width": None}
        return changed_fields(self.canonical(), fields)

    def d_inner(self, d_model: int) -> int:
        """Inner width."""
        return self.expand * d_model if self.inner_width is None else self.inner_width

    def num_heads(self, d_model: int) -> int:
        """Heads H."""
        return self.d_inner(d_model) // self.head_dim

    def conv_dim(self, d_model: int) -> int:
        """Channels that the short convolution runs over: x, B and C."""
        return self.d_inner(d_model) + 2 * self.n_groups * self.d_state

    def _in_proj(self, d_model: int) -> int:
        return d_model * (self.d_inner(d_model) + self.conv_dim(d_model) + self.num_heads(d_model))

    def num_params(self, d_model: int) -> int:
        d_inner = self.d_inner(d_model)
        heads, conv_dim = self.num_heads(d_model), self.conv_dim(d_model)
        convolution = conv_dim * (self.d_conv + self.conv_bias)
        biases = d_inner + conv_dim + heads + d_model if self.bias else 0
        norm = 0 if self.norm == "none" else d_inner
        return self._in_proj(d_model) + convolution + 3 * heads + norm + d_inner * d_model + biases

    def forward_flops_per_token(self, d_model: int, context: int, mode: Mode) -> float:
        d_inner = self.d_inner(d_model)
        matrices = 2 * (self._in_proj(d_model) + d_inner * d_model)
        convolution = 2 * self.conv_dim(d_model) * self.d_conv
        states = 4 * d_inner * self.d_state
        if mode == "decode":
            return matrices + convolution + states + 2 * d_inner * self.d_state
        chunk = min(self.chunk_size, context)
        within = 2 * chunk * (self.n_groups * self.d_state + d_inner)
        return matrices + convolution + states + within

    def state_elements(self, d_model: int) -> int:
        return self.d_inner(d_model) * self.d_state + self.conv_dim(d_model) * self.d_conv

    def documents_problem(self) -> str | None:
        return None
