"""Configuration of what is measured of a candidate, and of the workers that do it. No torch here."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
    model_validator,
)

from harmony_core import bounds
from harmony_core.base import Frozen
from harmony_core.errors import UserError
from harmony_core.machines import Layout
from harmony_core.scaling.growth import Growth

LatencyMode = Literal["train", "prefill", "decode"]


TENSORBOARD = "tensorboard"


class LatencyConfig(Frozen):
    """How the cost of running a candidate is found.

    Args:
        source: `measured` on this machine, or `predicted:NAME` for a machine of resources/machines.
        objective: the mode that `latency_seconds` of the search is read from.
        modes: what is measured; `train` is a whole step, `prefill` a forward pass, `decode` one token.
        batch_size: sequences.
        context: tokens a sequence (cache length when decoding).
        warmup_seconds: cap on the warm-up, which ends earlier when times are stable.
        repeats: measured calls a mode, at least; of short ones there are more.
        reference: preset whose calls alternate with the candidate's: a latency is the ratio of the two, times what
            the reference took when the search began.
        promotion_turns: how often the final front and the baselines are measured again, one after another each time.
    """

    source: str = "measured"
    objective: LatencyMode = "prefill"
    modes: tuple[LatencyMode, ...] = ("train", "prefill", "decode")
    batch_size: int = Field(default=8, ge=1, le=bounds.BATCH)
    context: int = Field(default=256, ge=2, le=bounds.SEQUENCE)
    # Every candidate may take this long, in every mode.
    warmup_seconds: float = Field(default=1.0, gt=0, le=3600)
    # More calls do not make the quantiles better.
    repeats: int = Field(default=16, ge=3, le=10_000)
    reference: str = "llama-nano"
    promotion_turns: int = Field(default=3, ge=1, le=1000)

    @property
    def machine(self) -> str | None:
        """The machine that is predicted for; None where latency is measured."""
        return None if self.source == "measured" else self.source.removeprefix("predicted:")

    @model_validator(mode="after")
    def _check(self) -> LatencyConfig:
        if self.source != "measured" and not self.source.startswith("predicted:"):
            raise UserError("source", self.source, "use 'measured' or 'predicted:MACHINE'")
        if self.objective not in self.modes:
            raise UserError("objective", self.objective, f"not among modes ({', '.join(self.modes)}); add it there")
        if len(set(self.modes)) < len(self.modes):
            raise UserError("modes", ", ".join(self.modes), "list each once")
        return self


class ExecutionConfig(Frozen):
    """Where and how candidates run; nothing here changes a result.

    Args:
        candidates_per_job: candidates in one shard, that is in one job.
        workers: candidates trained at once; None is one a core (or one a GPU).
        threads_per_candidate: CPU threads each.
        time_limit_seconds: a candidate's own limit, a safety net.
        memory_limit_gb: a candidate's own limit on memory, of which torch takes 0.4; None is an even share of the
            machine's, and no limit beside GPUs.
        attempts: how often a candidate that dies is tried before it counts as crashed.
        machine: what candidates are trained on, of resources/machines. One that is predicted not to fit its memory
            takes a smaller micro-batch, or computes activations again; one that fits in no way is a row that says so,
            and is not trained. None asks nobody.
        candidates_per_gpu: candidates that share a GPU at once, each with an even part of its memory; by CUDA's MPS
            where that is installed.
        gpus_per_candidate: ranks of an allocation that train one candidate together.
        layout: how they do; None is data-parallel with ZeRO-1. A candidate that it does not fit (no experts to
            spread, too few blocks) takes the nearest one that does.
        checkpoint_seconds: a candidate that trains longer writes checkpoints so far apart, but none when less than
            half of that is left of it; None writes one only when the allocation ends.
        checkpoint_scratch: a node's own folder, for example /mnt/bb/$USER, for these checkpoints of candidates of one
            rank: they outlive a process and not the node. None is the shared file system.
        checkpoint_gb_per_second: what one rank writes to the shared file system while all ranks do. By it a candidate
            is told to leave as late as its checkpoint allows, and writes none where training the same again takes less
            time. None keeps a quarter of the signal's lead, and writes every one.
        heartbeat_seconds: how often a rank of an allocation gives a sign of life.
        heartbeat_timeout_seconds: a rank without one for this long is given up, and its candidate tried again.
    """

    candidates_per_job: int = Field(default=16, ge=1, le=bounds.POPULATION)
    workers: int | None = Field(default=None, ge=1, le=bounds.CORES)
    threads_per_candidate: int = Field(default=1, ge=1, le=bounds.CORES)
    time_limit_seconds: float = Field(default=3600.0, gt=0, le=bounds.SECONDS)
    # harmony_core.workers.pool says why the limit may not be lower.
    memory_limit_gb: float | None = Field(default=None, ge=0.5, le=bounds.MEMORY_GB)
    # What has killed a candidate a hundred times will kill it again.
    attempts: int = Field(default=2, ge=1, le=100)
    machine: str | None = None
    candidates_per_gpu: int = Field(default=1, ge=1, le=bounds.CORES)
    gpus_per_candidate: int = Field(default=1, ge=1, le=bounds.DEVICES)
    layout: Layout | None = None
    checkpoint_seconds: float | None = Field(default=600.0, gt=0, le=bounds.SECONDS)
    checkpoint_scratch: str | None = Field(default=None, min_length=1)
    checkpoint_gb_per_second: float | None = Field(default=None, gt=0, le=bounds.MEMORY_GB)
    heartbeat_seconds: float = Field(default=5.0, gt=0, le=3600)
    heartbeat_timeout_seconds: float = Field(default=60.0, gt=0, le=bounds.SECONDS)

    @model_validator(mode="after")
    def _check(self) -> ExecutionConfig:
        if self.heartbeat_timeout_seconds < 2 * self.heartbeat_seconds:
            fix = f"use at least twice heartbeat_seconds ({self.heartbeat_seconds:g})"
            raise UserError("heartbeat_timeout_seconds", f"{self.heartbeat_timeout_seconds:g}", fix)
        if self.candidates_per_gpu > 1 < self.gpus_per_candidate:
            fix = f"each takes {self.gpus_per_candidate} GPUs (gpus_per_candidate); let one of the two be 1"
            raise UserError("candidates_per_gpu", self.candidates_per_gpu, fix)
        if self.training_layout.num_processes != self.gpus_per_candidate:
            fix = f"not of gpus_per_candidate ({self.gpus_per_candidate}) ranks; make pp x dp x cp as many"
            raise UserError("layout", self.layout, fix)
        if self.training_layout.tp > 1:
            raise UserError("layout.tp", self.training_layout.tp, "the trainer splits no matrices; use 1")
        return self

    @property
    def training_layout(self) -> Layout:
        """What candidates are trained on."""
        many = self.gpus_per_candidate
        return self.layout or Layout(dp=many, zero_stage=1 if many > 1 else 0)


class LogConfig(Frozen):
    """Where trainings are told of beside the tables; no part of what a search is, and may change within one.

    Args:
        to: `tensorboard` writes an event file a training to the search's `tensorboard/` (extra `tensorboard`).
    """

    to: tuple[Literal["tensorboard"], ...] = ()

    def check_installed(self) -> None:
        """Refuses what is not installed here.

        Raises:
            UserError: it says how to install it.
        """
        if TENSORBOARD in self.to and importlib.util.find_spec(TENSORBOARD) is None:
            raise UserError("log.to", TENSORBOARD, "pip install 'harmony-search[tensorboard]', or leave it out")


class PromoteConfig(Frozen):
    """What is trained again after the search, on fresh seeds, and read on the test split.

    Args:
        top_k: members of the final front, best validation bits per byte first.
        replicates: fresh seeds each.
        baselines: presets trained beside them with the same recipe.
        tokens: training tokens; None is the recipe's.
        keep_weights: whether their last checkpoints stay, for `harmony export`: 12 bytes a parameter.
        grow: further sizes: the members of the front are grown to each, and the baselines widened to equal parameters,
            and trained with the same recipe.
        candidates: ids of further candidates of the search, whole; `harmony promote` writes them here.
    """

    top_k: int = Field(default=3, ge=0, le=bounds.PROMOTED)
    replicates: int = Field(default=1, ge=1, le=bounds.PROMOTED)
    baselines: tuple[str, ...] = ()
    tokens: int | None = Field(default=None, ge=1, le=bounds.TOKENS)
    keep_weights: bool = True
    grow: tuple[Growth, ...] = ()
    candidates: tuple[Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")], ...] = ()

    @model_serializer(mode="wrap")
    def _short(self, write: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        """Without growth and further candidates where there are none, unless all is asked for: hashes stay."""
        data: dict[str, Any] = write(self)
        if not (info.context or {}).get("all"):
            for name in ("grow", "candidates"):
                if not getattr(self, name):
                    data.pop(name, None)
        return data

    @property
    def members(self) -> int:
        """How many are trained at most: found ones, the baselines, and all of them at every further size."""
        return (self.top_k + len(self.candidates) + len(self.baselines)) * (1 + len(self.grow))

    @model_validator(mode="after")
    def _check(self) -> PromoteConfig:
        if len(set(self.baselines)) < len(self.baselines):
            raise UserError("baselines", ", ".join(self.baselines), "list each once")
        if len(set(self.candidates)) < len(self.candidates):
            raise UserError("candidates", ", ".join(self.candidates), "list each once")
        if len(set(self.grow)) < len(self.grow):
            raise UserError("grow", ", ".join(map(str, self.grow)), "list each size once")
        return self

    def with_candidates(self, more: Sequence[str]) -> PromoteConfig:
        """The same with further candidates, each once, after those that it has."""
        return self.model_copy(update={"candidates": tuple(dict.fromkeys((*self.candidates, *more)))})

    def without_more(self, before: PromoteConfig) -> PromoteConfig:
        """The same, but as `before` where it only trains more: members, fresh seeds, baselines, sizes."""
        more = {
            "top_k": self.top_k >= before.top_k,
            "replicates": self.replicates >= before.replicates,
            "baselines": set(self.baselines) >= set(before.baselines),
            "grow": set(self.grow) >= set(before.grow),
            "candidates": set(self.candidates) >= set(before.candidates),
        }
        return self.model_copy(update={name: getattr(before, name) for name, is_more in more.items() if is_more})
