"""Configuration of a hybrid language model exported by HARMONY."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from transformers import PretrainedConfig

# What other code reads of a configuration, and is here the most that any block has.
DERIVED = ("num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size")


class HarmonyConfig(PretrainedConfig):
    """Width, vocabulary and the residual blocks in order.

    Args:
        vocab_size: rows of the embedding.
        hidden_size: width of the residual stream.
        blocks: for each block its `kind` and all of its hyper-parameters.
        norm_epsilon: epsilon of every RMSNorm.
        embedding_multiplier: factor of the embedded tokens.
        residual_multiplier: factor of each block's output before it is added.
        logits_divisor: what the logits are divided by.
        tie_word_embeddings: whether the head is the embedding.
        max_position_embeddings: the longest context that the model was trained on, where that is known.
        initializer_range: standard deviation of the matrices of a model that is trained anew.
        use_cache: whether a call in evaluation gives a cache.
        bos_token_id: the token before each document.
        eos_token_id: the token that ends generation.
        pad_token_id: the token that stands for none.
        kwargs: what every configuration has.

    Attributes:
        num_hidden_layers: residual blocks; a token mixer and a channel mixer are two.
        num_attention_heads: the most that a block of attention has; 0 without attention.
        num_key_value_heads: likewise.
        intermediate_size: the widest feed-forward, or expert; 0 without any.
    """

    model_type = "harmony"
    keys_to_ignore_at_inference = ["past_key_values"]  # noqa: RUF012

    def __init__(
        self,
        vocab_size: int = 256,
        hidden_size: int = 64,
        blocks: list[dict[str, Any]] | None = None,
        norm_epsilon: float = 1e-5,
        embedding_multiplier: float = 1.0,
        residual_multiplier: float = 1.0,
        logits_divisor: float = 1.0,
        tie_word_embeddings: bool = True,
        max_position_embeddings: int = 2048,
        initializer_range: float = 0.02,
        use_cache: bool = True,
        bos_token_id: int | None = None,
        eos_token_id: int | None = None,
        pad_token_id: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.vocab_size, self.hidden_size = vocab_size, hidden_size
        self.blocks = [] if blocks is None else blocks
        self.norm_epsilon = norm_epsilon
        self.embedding_multiplier = embedding_multiplier
        self.residual_multiplier = residual_multiplier
        self.logits_divisor = logits_divisor
        self.max_position_embeddings = max_position_embeddings
        self.initializer_range, self.use_cache = initializer_range, use_cache
        self.bos_token_id, self.eos_token_id, self.pad_token_id = bos_token_id, eos_token_id, pad_token_id
        parts = list(_parts(self.blocks))
        attention = [part for part in parts if "rope_base" in part]
        self.num_hidden_layers = len(self.blocks)
        self.num_attention_heads = max((part["num_heads"] for part in attention), default=0)
        self.num_key_value_heads = max(map(_kv_heads, attention), default=0)
        self.intermediate_size = max((part.get(name, 0) for part in parts for name in ("d_ff", "d_expert")), default=0)
        for name in DERIVED:
            kwargs.pop(name, None)
        super().__init__(tie_word_embeddings=tie_word_embeddings, **kwargs)


def _parts(blocks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """All blocks, and those that a block is made of."""
    for block in blocks:
        yield block
        yield from (value for value in block.values() if isinstance(value, dict))


def _kv_heads(part: dict[str, Any]) -> int:
    """Those of `mha` and `mla` are not written: a key and a value for each head."""
    return 1 if part.get("kind") == "mqa" else int(part.get("num_kv_heads", part["num_heads"]))
