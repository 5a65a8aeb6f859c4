"""The recipe: how a candidate is trained. Pure configuration, no torch."""

from __future__ import annotations

import itertools
import math
from typing import Annotated, Any, Literal

from pydantic import (
    Discriminator,
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
    model_validator,
)

from harmony_core import bounds
from harmony_core.architecture.demands import Demands
from harmony_core.base import Frozen, digest
from harmony_core.errors import UserError
from harmony_core.parametrisation import Parametrisation

_Rate = Annotated[float, Field(gt=0, le=bounds.LEARNING_RATE)]
# The form tells one rate from a list, so that a mistake is explained for what was meant.
_Rates = Annotated[
    Annotated[_Rate, Tag("one")] | Annotated[tuple[_Rate, ...], Tag("list")],
    Discriminator(lambda value: "list" if isinstance(value, list | tuple) else "one"),
]
_Tokens = Annotated[int, Field(ge=1, le=bounds.TOKENS)]
ResolvedPrecision = Literal["fp32", "bf16"]
_WARMUP_SHARE = 0.05
Precision = Literal["auto", "fp32", "bf16"]


class Recipe(Frozen):
    """Optimiser, schedule and budget; the same for every candidate that is compared.

    Args:
        tokens: training tokens; steps are tokens // (batch_size x sequence_length).
        batch_size: sequences a step.
        sequence_length: tokens a sequence.
        learning_rate: peak learning rate, at `base_width` when scaled with width. A list trains a candidate once at
            each, with equal tokens, and the best by validation counts.
        min_learning_rate_ratio: the schedule's end over its peak.
        warmup_tokens: tokens with a rising learning rate; None is 5% of `tokens`. Trainings of several lengths have one
            trunk where this is given.
        rungs: smaller token budgets, in rising order: for each the training leaves its trunk, decays, is read, and goes
            on from where it left. `tokens` is the last rung. The warm-up's 5% are then of the first.
        decay_fraction: share of the steps that decay, for `wsd`; of each rung's own.
        schedule: `wsd` (warm-up, stable, linear decay; MiniCPM, arXiv:2404.06395), whose trunk before the decay is
            that of any longer training, or `cosine`.
        weight_decay: AdamW's decoupled decay, on matrices alone.
        beta1: AdamW's decay of the gradient's running mean, a step.
        beta2: AdamW's decay of the squared gradient's running mean, a step.
        epsilon: what AdamW adds to the root of that mean before it divides by it.
        gradient_clip: largest global gradient norm; 0 does not clip.
        lr_scaling: `mup` scales matrices' learning rate by base_width / d_model (arXiv:2203.03466, table 3, where all
            widths grow together); `none` does not.
        base_width: width at which `mup` changes nothing.
        parametrisation: how weights start, and how fast each group of them learns.
        precision: `bf16` is autocast over fp32 weights; `auto` is resolved once, into the manifest.
        validation_tokens: tokens of the validation split that are read after training.
        compile: whether each block passes through `torch.compile`. Compiling takes a minute or more a process and
            rounds differently, so it is the recipe's, and worth it for long trainings alone.
        deterministic: whether a GPU repeats its bits, in slower algorithms; a CPU does in any case. Without it a
            repeated training differs in the last bits, and `harmony reproduce` has a tolerance.
        document_boundaries: whether no token sees another document of its sequence, in training and in what is
            evaluated after it. Each block resets its state and positions where a document begins, in plainer and
            slower forms than without; blocks that cannot, and layouts that share or pass on sequences, are refused.
    """

    tokens: int = Field(default=2_000_000, ge=1, le=bounds.TOKENS)
    batch_size: int = Field(default=16, ge=1, le=bounds.BATCH)
    sequence_length: int = Field(default=256, ge=2, le=bounds.SEQUENCE)
    learning_rate: _Rates = 3e-3
    min_learning_rate_ratio: float = Field(default=0.1, ge=0, le=1)
    warmup_tokens: int | None = Field(default=None, ge=0, le=bounds.TOKENS)
    rungs: tuple[_Tokens, ...] | None = None
    decay_fraction: float = Field(default=0.2, ge=0, le=1)
    schedule: Literal["wsd", "cosine"] = "wsd"
    # A step shrinks a matrix by rate x decay. At a rate of 1 and a decay of 1 nothing is left, so ten is beyond any
    # use.
    weight_decay: float = Field(default=0.1, ge=0, le=10)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.95, ge=0, lt=1)
    # A smaller one vanishes beside any gradient in fp32. With a larger one AdamW no longer divides by the gradient's
    # size.
    epsilon: float = Field(default=1e-8, ge=1e-30, le=1)
    # A training whose norm is above it has diverged.
    gradient_clip: float = Field(default=1.0, ge=0, le=1e6)
    lr_scaling: Literal["none", "mup"] = "none"
    base_width: int = Field(default=128, ge=1, le=bounds.WIDTH)
    parametrisation: Parametrisation = Parametrisation()
    precision: Precision = "auto"
    validation_tokens: int = Field(default=131_072, ge=2, le=bounds.TOKENS)
    compile: bool = False
    deterministic: bool = False
    document_boundaries: bool = False

    @model_serializer(mode="wrap")
    def _short(self, write: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        """Without what is off, unless all is asked for: hashes stay what they were."""
        data: dict[str, Any] = write(self)
        for name in ("rungs", "deterministic", "document_boundaries"):
            if not getattr(self, name) and not (info.context or {}).get("all"):
                data.pop(name, None)
        return data

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        step, sequence = self.batch_size * self.sequence_length, self.sequence_length
        if self.tokens < step:
            raise UserError("tokens", self.tokens, f"less than one step; use at least {step}")
        if self.validation_tokens < sequence:
            raise UserError(
                "validation_tokens", self.validation_tokens, f"less than one sequence; use {sequence} or more"
            )
        self._check_rates()
        self._check_overlap()
        self._check_rungs()
        return self

    def _check_overlap(self) -> None:
        decay = self.decay_fraction if self.schedule == "wsd" else 0.0
        if self.warmup_tokens is None:
            if _WARMUP_SHARE + decay > 1:
                fix = f"overlaps with a warm-up of {_WARMUP_SHARE:.0%}; use at most {1 - _WARMUP_SHARE:g}"
                raise UserError("decay_fraction", decay, fix)
        elif self.warmup_tokens + decay * self.tokens > self.tokens:
            fix = f"overlaps with the decay; use at most {int((1 - decay) * self.tokens)}, or a smaller decay_fraction"
            raise UserError("warmup_tokens", self.warmup_tokens, fix)

    def _check_rungs(self) -> None:
        if self.rungs is None:
            return
        told = list(self.rungs)
        if self.schedule != "wsd":
            raise UserError("rungs", told, f"{self.schedule} has no trunk to branch off; use schedule wsd, or no rungs")
        if not told:
            raise UserError("rungs", "[]", "no budgets; list some below tokens, or leave the key out")
        if told != sorted(set(told)):
            raise UserError("rungs", told, "list each budget once, in rising order")
        if told[-1] >= self.tokens:
            fix = f"rungs end below tokens ({self.tokens}), which is itself the last rung; list smaller ones"
            raise UserError("rungs", told[-1], fix)
        self._check_rung_steps(self.batch_size * self.sequence_length)

    def _check_rung_steps(self, step: int) -> None:
        for short, long in itertools.pairwise(self.budgets):
            if short < step:
                raise UserError("rungs", short, f"less than one step; use at least {step}")
            if short // step == long // step:
                raise UserError("rungs", short, f"as many steps of {step} tokens as at {long}; put them further apart")
            # A share of the first rung, which is taken where no warm-up is given, is always shorter.
            warmup = self.warmup_tokens or 0
            if warmup + self.decay_fraction * short > short:
                fix = f"ends before warm-up ({warmup} tokens) and decay are over; use longer rungs or a shorter warm-up"
                raise UserError("rungs", short, fix)

    def _check_rates(self) -> None:
        rates = self.learning_rates
        if not rates:
            raise UserError("learning_rate", "[]", "no rates; give one, or a list of different ones")
        if len(set(rates)) < len(rates):
            raise UserError("learning_rate", list(rates), "a rate is listed twice; list each once")

    @property
    def learning_rates(self) -> tuple[float, ...]:
        """Peak learning rates that a candidate is trained at, each with all tokens."""
        return self.learning_rate if isinstance(self.learning_rate, tuple) else (self.learning_rate,)

    def at_rate(self, number: int) -> Recipe:
        """The recipe of one training: that of the rate of this number."""
        return self.model_copy(update={"learning_rate": self.learning_rates[number]})

    @property
    def budgets(self) -> tuple[int, ...]:
        """Tokens of every rung, the last one's being `tokens`."""
        return (*(self.rungs or ()), self.tokens)

    def at_rung(self, number: int) -> Recipe:
        """The recipe of a training that stops at the rung of this number: its trunk is that of all the others."""
        if self.rungs is None:
            return self
        warmup = self.warmup_steps * self.batch_size * self.sequence_length
        given = warmup if self.warmup_tokens is None else self.warmup_tokens
        return self.model_copy(update={"tokens": self.budgets[number], "rungs": None, "warmup_tokens": given})

    @property
    def peak_learning_rate(self) -> float:
        """The rate of one training's recipe.

        Raises:
            ValueError: it lists several; see `at_rate`.
        """
        if isinstance(self.learning_rate, tuple):
            raise ValueError(f"a training has one learning rate, and the recipe lists {self.learning_rate}")
        return self.learning_rate

    @property
    def demands(self) -> Demands:
        """What it asks of every block."""
        return Demands(self.document_boundaries, None if self.precision == "auto" else self.precision)

    @property
    def resolved_precision(self) -> ResolvedPrecision:
        """What it is computed in; `auto` must have been resolved where that is bf16."""
        return "bf16" if self.precision == "bf16" else "fp32"

    @property
    def num_steps(self) -> int:
        """Optimiser steps."""
        return self.tokens // (self.batch_size * self.sequence_length)

    @property
    def warmup_steps(self) -> int:
        """Steps with a rising learning rate."""
        tokens = _WARMUP_SHARE * self.budgets[0] if self.warmup_tokens is None else self.warmup_tokens
        return math.ceil(tokens / (self.batch_size * self.sequence_length))

    @property
    def decay_steps(self) -> int:
        """Steps of the linear decay; with `cosine`, whose decay has no beginning of its own, none."""
        return math.ceil(self.decay_fraction * self.num_steps) if self.schedule == "wsd" else 0

    @property
    def trunk_steps(self) -> int:
        """Steps before the decay: up to here a longer training of the same recipe is the same; 0 with `cosine`."""
        return max(self.warmup_steps, self.num_steps - self.decay_steps) if self.schedule == "wsd" else 0

    @property
    def all_steps(self) -> int:
        """Optimiser steps of the trunk and of every rung's decay; `num_steps` where there are no rungs."""
        branches = [self.at_rung(number) for number in range(len(self.budgets) - 1)]
        return self.num_steps + sum(one.num_steps - one.trunk_steps for one in branches)

    @property
    def all_tokens(self) -> int:
        """Tokens that a training reads in all: `tokens`, and those of every earlier rung's decay."""
        return self.tokens + (self.all_steps - self.num_steps) * self.batch_size * self.sequence_length

    def id(self, data_checksum: str) -> str:
        """First 16 hex digits of the SHA-256 of the recipe and the data it reads (precision resolved)."""
        return digest({"recipe": self.model_dump(mode="json"), "data": data_checksum})
