"""Mamba-2: a selective state space with a scalar decay per head (Dao and Gu 2024, arXiv:2405.21060)."""

from __future__ import annotations

from typing import Any

from harmony_core.architecture.block import Block, Mode, register


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
    """

    kind = "mamba2"
    role = "mixer"
    d_state: int = 128
    expand: int = 2
    head_dim: int = 64
    n_groups: int = 1
    d_conv: int = 4
    chunk_size: int = 64

    def model_post_init(self, context: Any, /) -> None:
        for name in ("d_state", "expand", "head_dim", "n_groups", "d_conv", "chunk_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; use at least 1")

    def check(self, d_model: int) -> None:
        if self.d_inner(d_model) % self.head_dim:
            raise ValueError(f"head_dim {self.head_dim} does not divide expand x d_model {self.d_inner(d_model)}")
        if self.num_heads(d_model) % self.n_groups:
            raise ValueError(f"n_groups {self.n_groups} does not divide the {self.num_heads(d_model)} heads")

    def d_inner(self, d_model: int) -> int:
        """Inner width."""
        return self.expand * d_model

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
        convolution = self.conv_dim(d_model) * (self.d_conv + 1)
        return self._in_proj(d_model) + convolution + 3 * self.num_heads(d_model) + d_inner + d_inner * d_model

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
