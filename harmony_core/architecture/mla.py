"""Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434, section 2.1 and appendix C)."""

from __future__ import annotations

from typing import Any

from harmony_core.architecture.attention import check_scale, is_usual_scale
from harmony_core.architecture.block import NORM_EPSILON, Block, Mode, changed_fields, register
from harmony_core.architecture.rope import RopeScaling, check_rope, length_problem


@register
class MLA(Block):
    """Attention whose keys and values are rebuilt from one low-rank latent a token.

    The cache holds the latent (after its RMSNorm) and one rotary key shared by all heads.

    Args:
        num_heads: heads.
        kv_lora_rank: width of the key/value latent.
        qk_nope_head_dim: width of a head's keys without positions.
        qk_rope_head_dim: width of the shared rotary key.
        v_head_dim: width of a head's values.
        q_lora_rank: width of the query latent; None projects queries directly.
        rope_base: base of the rotary frequencies; None means no positions at all (Kimi Linear).
        rope_scaling: how the frequencies are changed for long contexts.
        scale: factor of the scores; None is 1 / sqrt(qk_nope_head_dim + qk_rope_head_dim).
        bias: a bias on the down-projections and on the output projection.
        latent_epsilon: epsilon of the latents' RMSNorms; None is the architecture's.
    """

    kind = "mla"
    role = "mixer"
    width_field = "kv_lora_rank"
    grows = ("num_heads", "kv_lora_rank", "q_lora_rank")
    num_heads: int
    kv_lora_rank: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int
    q_lora_rank: int | None = None
    rope_base: float | None = 10000.0
    rope_scaling: RopeScaling | None = None
    scale: float | None = None
    bias: bool = False
    latent_epsilon: float | None = None

    def model_post_init(self, context: Any, /) -> None:
        for name in ("num_heads", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; use at least 1")
        if self.q_lora_rank is not None and self.q_lora_rank < 1:
            raise ValueError(f"q_lora_rank is {self.q_lora_rank}; use at least 1, or leave it out")
        check_rope(self.rope_base, 1.0, self.qk_rope_head_dim, self.rope_scaling, "qk_rope_head_dim")
        check_scale(self.scale)
        if self.latent_epsilon is not None and self.latent_epsilon <= 0:
            raise ValueError(f"latent_epsilon is {self.latent_epsilon}; use a positive number, or leave it out")

    @property
    def qk_head_dim(self) -> int:
        """Width of a head's queries and keys."""
        return self.qk_nope_head_dim + self.qk_rope_head_dim

    def canonical(self) -> Block:
        fields = {"rope_scaling": None if self.rope_scaling is None else self.rope_scaling.canonical()}
        return changed_fields(self, fields | ({"scale": None} if is_usual_scale(self.scale, self.qk_head_dim) else {}))

    def canonical_in(self, d_model: int, norm_epsilon: float = NORM_EPSILON) -> Block:
        fields = {"latent_epsilon": None} if self.latent_epsilon == norm_epsilon else {}
        return changed_fields(self.canonical(), fields)

    def unreached(self) -> str | None:
        if self.bias and self.rope_base is None:
            return "the shared key's bias: without positions it adds the same to every score; use bias false"
        return None

    def _matrices(self, d_model: int) -> int:
        q_out = self.num_heads * self.qk_head_dim
        q = d_model * q_out if self.q_lora_rank is None else self.q_lora_rank * (d_model + q_out)
        kv_down = d_model * (self.kv_lora_rank + self.qk_rope_head_dim)
        kv_up = self.kv_lora_rank * self.num_heads * (self.qk_nope_head_dim + self.v_head_dim)
        return q + kv_down + kv_up + self.num_heads * self.v_head_dim * d_model

    def num_params(self, d_model: int) -> int:
        q_rank = self.q_lora_rank or 0
        biases = q_rank + self.kv_lora_rank + self.qk_rope_head_dim + d_model if self.bias else 0
        return self._matrices(d_model) + self.kv_lora_rank + q_rank + biases

    def forward_flops_per_token(self, d_model: int, context: int, mode: Mode) -> float:
        """Decoding is absorbed: the up-projections act on one query and one output, the latents are attended to.

        The up-projection's matrices then multiply once per head with the query and once with the
        weighted latent, which is as many FLOPs as rebuilding one token's keys and values.
        """
        if mode == "decode":
            width = 2 * self.kv_lora_rank + self.qk_rope_head_dim
            return 2 * self._matrices(d_model) + 2 * self.num_heads * width * context
        width = self.qk_head_dim + self.v_head_dim
        return 2 * self._matrices(d_model) + 2 * self.num_heads * width * (context + 1) / 2

    def kv_elements_per_token(self) -> int:
        return self.kv_lora_rank + self.qk_rope_head_dim

    def documents_problem(self) -> str | None:
        return length_problem(self.rope_scaling)
