"""The recipe: how a candidate is trained. Pure configuration, no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from harmony_core.base import Frozen, digest
from harmony_core.errors import UserError

ResolvedPrecision = Literal["fp32", "bf16"]
Precision = Literal["auto", "fp32", "bf16"]


class Recipe(Frozen):
    """Optimiser, schedule and budget; the same for every candidate that is compared.

    Args:
        tokens: training tokens; steps are tokens // (batch_size x sequence_length).
        batch_size: sequences a step.
        sequence_length: tokens a sequence.
        learning_rate: peak learning rate, at `base_width` when scaled with width.
        min_learning_rate_ratio: the schedule's end over its peak.
        warmup_fraction: share of the steps with a rising learning rate.
        decay_fraction: share of the steps that decay, for `wsd` (MiniCPM, arXiv:2404.06395).
        schedule: `cosine` or `wsd` (warm-up, stable, linear decay).
        weight_decay: AdamW's decoupled decay, on matrices alone.
        gradient_clip: largest global gradient norm; 0 does not clip.
        lr_scaling: `mup` scales matrices' learning rate by base_width / fan-in (arXiv:2203.03466); `none` does not.
        base_width: width at which `mup` changes nothing.
        precision: `bf16` is autocast over fp32 weights; `auto` is resolved once, into the manifest.
        validation_tokens: tokens of the validation split that are read after training.
        compile: whether each block passes through `torch.compile`. Compiling takes a minute or more a process and
            rounds differently, so it is the recipe's, and worth it for long trainings alone.
    """

    tokens: int = Field(default=2_000_000, ge=1)
    batch_size: int = Field(default=16, ge=1)
    sequence_length: int = Field(default=256, ge=2)
    learning_rate: float = Field(default=3e-3, gt=0)
    min_learning_rate_ratio: float = Field(default=0.1, ge=0, le=1)
    warmup_fraction: float = Field(default=0.05, ge=0, lt=1)
    decay_fraction: float = Field(default=0.2, ge=0, le=1)
    schedule: Literal["cosine", "wsd"] = "cosine"
    weight_decay: float = Field(default=0.1, ge=0)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.95, ge=0, lt=1)
    epsilon: float = Field(default=1e-8, gt=0)
    gradient_clip: float = Field(default=1.0, ge=0)
    lr_scaling: Literal["none", "mup"] = "none"
    base_width: int = Field(default=128, ge=1)
    precision: Precision = "auto"
    validation_tokens: int = Field(default=131_072, ge=2)
    compile: bool = False

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        step, sequence = self.batch_size * self.sequence_length, self.sequence_length
        if self.tokens < step:
            raise UserError("tokens", self.tokens, f"less than one step; use at least {step}")
        if self.validation_tokens < sequence:
            raise UserError(
                "validation_tokens", self.validation_tokens, f"less than one sequence; use {sequence} or more"
            )
        return self

    @property
    def num_steps(self) -> int:
        """Optimiser steps."""
        return self.tokens // (self.batch_size * self.sequence_length)

    def id(self, data_checksum: str) -> str:
        """First 16 hex digits of the SHA-256 of the recipe and the data it reads (precision resolved)."""
        # Recipes from before these fields keep their ids: `compile` is left out where it is off, and micro-batches,
        # which are the layout's now, stay as they were.
        recipe = self.model_dump(exclude=None if self.compile else {"compile"}) | {"micro_batch_size": None}
        return digest({"recipe": recipe, "data": data_checksum})
