"""Kimi Delta Attention: a delta rule whose state forgets each key channel at a rate of its own (arXiv:2510.26692)."""

from __future__ import annotations

from harmony_core.architecture.block import Block, Mode, register
from harmony_core.tiling import delta_chunk


@register
class KDA(Block):
    """The KDA mixer with short convolutions, an output norm and a low-rank gate, computed in chunks.

    Decays, and the gates of the outputs, are made from the inputs through a narrow projection (section 3).

    Args:
        num_heads: heads H.
        head_dim: width K of a head's queries, keys and values.
        gate_rank: width of the two narrow projections; None is head_dim.
        d_conv: taps of the short causal convolutions of queries, keys and values.
        negative_eigenvalues: corrections of up to twice the error, so that a state can alternate (arXiv:2411.12537).
        chunk_size: tokens Q treated as matrix products; changes speed, not the result.
    """

    kind = "kda"
    role = "mixer"
    grows = ("num_heads",)
    num_heads: int
    head_dim: int = 128
    gate_rank: int | None = None
    d_conv: int = 4
    negative_eigenvalues: bool = False
    chunk_size: int = 64

    def model_post_init(self, context: object, /) -> None:
        for name in ("num_heads", "head_dim", "d_conv", "chunk_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; use at least 1")
        if self.gate_rank is not None and self.gate_rank < 1:
            raise ValueError(f"gate_rank is {self.gate_rank}; use at least 1, or leave it out")

    def canonical(self) -> Block:
        """Without a rank that is the usual one."""
        return self.model_copy(update={"gate_rank": None}) if self.gate_rank == self.head_dim else self

    @property
    def rank(self) -> int:
        """Width of the two narrow projections."""
        return self.head_dim if self.gate_rank is None else self.gate_rank

    @property
    def width(self) -> int:
        """Queries, keys or values of all heads."""
        return self.num_heads * self.head_dim

    def _matrices(self, d_model: int) -> int:
        # Queries, keys, values, outputs; a strength for each head; down and up to decays and to gates.
        return d_model * (4 * self.width + self.num_heads) + 2 * self.rank * (d_model + self.width)

    def num_params(self, d_model: int) -> int:
        # A bias of the step size for each channel, a decay rate for each head; the output norm's weight.
        of_heads = self.width + self.num_heads + self.head_dim
        return self._matrices(d_model) + 3 * self.width * self.d_conv + of_heads

    def forward_flops_per_token(self, d_model: int, context: int, mode: Mode) -> float:
        """In chunks: products of keys with queries and keys, the triangular system, what is read and written."""
        linear = 2 * self._matrices(d_model) + 6 * self.width * self.d_conv
        state = 2 * self.head_dim * self.width
        if mode == "decode":
            return linear + 3 * state
        chunk = min(delta_chunk(self.chunk_size, self.head_dim), context)
        return linear + 3 * state + (4 + 2 + 2) * chunk * self.width

    def state_elements(self, d_model: int) -> int:
        return self.head_dim * self.width + 3 * self.width * self.d_conv

    def documents_problem(self) -> str | None:
        return None
