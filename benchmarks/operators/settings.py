"""What is measured at which sizes, and what is promised of it. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

PARTS = ("training", "decode", "memory", "window", "convolution", "delta", "short_conv", "cost")
SEED = 0
# Small beside the blocks, so that the head, which is the same product on both sides, decides nothing.
VOCAB_SIZE = 1024
NUM_LAYERS = 4
WINDOW = 128
SIDES = ("harmony", "transformers")


@dataclass(frozen=True)
class Setting:
    """Width, sequence length and batch of a comparison."""

    d_model: int
    sequence_length: int
    batch_size: int

    @property
    def tokens(self) -> int:
        """Tokens of one batch."""
        return self.sequence_length * self.batch_size

    def __str__(self) -> str:
        return f"d {self.d_model}, T {self.sequence_length}, B {self.batch_size}"


SETTINGS = (Setting(256, 512, 4), Setting(512, 2048, 1))

# Decoding: the setting's width, batch 4 at either, after prompts of these many tokens.
PROMPT_LENGTHS = (64, 512)
NEW_TOKENS = 64
DECODE_BATCH = 4

# Tokens per second over the peer's, at least; families without a promise are measured all the same.
TRAINING_PROMISES = {
    "llama": 1.0,
    "mistral": 1.0,
    "mixtral": 1.5,
    "deepseek_v2": 1.0,
    "deepseek_v3": 1.5,
    "mamba2": 2.0,
}
DECODE_PROMISE = 1.5
# Peak bytes over the peer's, at most.
MEMORY_PROMISE = 1.0
# Full attention's seconds over the window's, at least.
WINDOW_PROMISE = 1.5
WINDOW_LENGTH = 2048

LENGTHS = (256, 512, 1024, 2048, 4096, 8192)
COST_WIDTH = 256
# A delta rule's seconds of the peer over ours, and its whole block's, at least.
RULE_PROMISE = 3.0
BLOCK_PROMISE = 1.5
# LFM2's gated convolution without its projections, the peer's seconds over ours, and its whole block's, at least.
SHORT_CONV_PROMISES = {"operator": 2.0, "block": 1.0}
# From this length up the blocked convolution is promised to be faster than the FFT.
CONVOLUTION_PROMISED_FROM = 512
# Exponents of seconds a sequence against its length: (at least, at most).
EXPONENT_PROMISES: dict[str, tuple[float, float]] = {
    "mamba2": (0.9, 1.1),
    "gated_deltanet": (float("-inf"), 1.1),
    "kda": (float("-inf"), 1.1),
    "swa": (0.9, 1.1),
    "short_conv": (float("-inf"), 1.1),
    "hyena_se": (0.9, 1.1),
    "hyena_mr": (0.9, 1.1),
    "hyena_li": (float("-inf"), 1.2),
}
