"""Configuration of a hybrid language model exported by HARMONY."""

from __future__ import annotations

from typing import Any

from transformers import PretrainedConfig


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
        kwargs: what every configuration has.
    """

    model_type = "harmony"

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
        **kwargs: Any,
    ) -> None:
        self.vocab_size, self.hidden_size = vocab_size, hidden_size
        self.blocks = [] if blocks is None else blocks
        self.num_hidden_layers = len(self.blocks)
        self.norm_epsilon = norm_epsilon
        self.embedding_multiplier = embedding_multiplier
        self.residual_multiplier = residual_multiplier
        self.logits_divisor = logits_divisor
        kwargs.pop("num_hidden_layers", None)
        super().__init__(tie_word_embeddings=tie_word_embeddings, **kwargs)
