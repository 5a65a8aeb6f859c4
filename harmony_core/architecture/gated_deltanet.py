"""Gated DeltaNet: a linear attention whose decaying state corrects what it predicts (arXiv:2412.06464)."""

from __future__ import annotations

from harmony_core.architecture.block import NORM_EPSILON, Block, Mode, changed_fields, register
from harmony_core.tiling import delta_chunk


@register
class GatedDeltaNet(Block):
    """The Gated DeltaNet mixer with short convolutions, an output norm and a gate, computed in chunks.

    The state's decay is a number a token and value head, the correction's strength another one (equation 10).

    Args:
        num_key_heads: heads G of queries and keys.
        num_value_heads: heads H of values, states, decays and gates; a key head serves H / G consecutive ones.
        key_head_dim: width K of a query and key head.
        value_head_dim: width V of a value head.
        d_conv: taps of the short causal convolutions of queries, keys and values.
        negative_eigenvalues: corrections of up to twice the error, so that a state can alternate (arXiv:2411.12537).
        chunk_size: tokens Q treated as matrix products; changes speed, not the result.
        out_norm_epsilon: epsilon of the output's RMSNorm; None is the architecture's.
    """

    kind = "gated_deltanet"
    role = "mixer"
    width_field = "value_head_dim"
    grows = ("num_key_heads", "num_value_heads")
    num_key_heads: int
    num_value_heads: int
    key_head_dim: int = 128
    value_head_dim: int = 128
    d_conv: int = 4
    negative_eigenvalues: bool = False
    chunk_size: int = 64
    out_norm_epsilon: float | None = None

    def model_post_init(self, context: object, /) -> None:
        for name in ("num_key_heads", "num_value_heads", "key_head_dim", "value_head_dim", "d_conv", "chunk_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; use at least 1")
        if self.num_value_heads % self.num_key_heads:
            raise ValueError(
                f"num_key_heads {self.num_key_heads} does not divide num_value_heads {self.num_value_heads}; "
                "use a divisor"
            )
        if self.out_norm_epsilon is not None and self.out_norm_epsilon <= 0:
            raise ValueError(f"out_norm_epsilon is {self.out_norm_epsilon}; use a positive number, or leave it out")

    def canonical_in(self, d_model: int, norm_epsilon: float = NORM_EPSILON) -> Block:
        fields = {"out_norm_epsilon": None} if self.out_norm_epsilon == norm_epsilon else {}
        return changed_fields(self.canonical(), fields)

    @property
    def key_width(self) -> int:
        """Keys of all heads, and as many queries."""
        return self.num_key_heads * self.key_head_dim

    @property
    def value_width(self) -> int:
        """Values of all heads."""
        return self.num_value_heads * self.value_head_dim

    @property
    def conv_width(self) -> int:
        """Channels that the short convolutions run over: queries, keys and values."""
        return 2 * self.key_width + self.value_width

    def _matrices(self, d_model: int) -> int:
        # Projections to convolved channels, to gates, to a strength and a decay for each value head, and back.
        return d_model * (self.conv_width + 2 * self.value_width + 2 * self.num_value_heads)

    def num_params(self, d_model: int) -> int:
        # A decay rate and a bias of the step size for each value head; the output norm's weight.
        of_heads = 2 * self.num_value_heads + self.value_head_dim
        return self._matrices(d_model) + self.conv_width * self.d_conv + of_heads

    def forward_flops_per_token(self, d_model: int, context: int, mode: Mode) -> float:
        """In chunks: products of keys with queries and keys, the triangular system, what is read and written."""
        linear = 2 * self._matrices(d_model) + 2 * self.conv_width * self.d_conv
        state = 2 * self.key_head_dim * self.value_width
        if mode == "decode":
            return linear + 3 * state
        chunk = min(delta_chunk(self.chunk_size, self.key_head_dim), context)
        system = chunk * self.num_value_heads * (self.key_head_dim + self.value_head_dim)
        within = 4 * chunk * self.key_width + 2 * chunk * self.value_width
        return linear + 3 * state + system + within

    def state_elements(self, d_model: int) -> int:
        return self.key_head_dim * self.value_width + self.conv_width * self.d_conv

    def documents_problem(self) -> str | None:
        return None
