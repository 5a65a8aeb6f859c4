"""Where a step's candidates run: in this process's own children, or on the teams of an allocation."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol

from harmony_core.errors import UserError
from harmony_core.evaluation.config import ExecutionConfig
from harmony_core.host import visible_gpus
from harmony_core.workers.address import ADDRESS_FILE, Address
from harmony_core.workers.feeder import TeamPool
from harmony_core.workers.lock import exclusive, shared
from harmony_core.workers.pool import PRELOAD, PRELOAD_DEEPSPEED, WarmPool
from harmony_core.workers.task import Pool, WorkInterrupted
from harmony_core.workers.teams import Teams

# The executor plugin sets it in a standing allocation; the plugin's companion leaves its address in that folder.
PILOT_FOLDER = "SNAKEMAKE_PILOT_FOLDER"
_PILOT_SECONDS = 120.0
_LAST = 10**9


class Setting(Protocol):
    """Whose tasks are run: an opened search, or a sweep."""

    @property
    def execution(self) -> ExecutionConfig:
        """How they run."""

    @property
    def device_lock(self) -> Path:
        """Shared by trainings, held alone by measurements."""

    def queue_order(self, generation: int) -> int:
        """Where a generation stands in an allocation's queue; the lowest is first."""


@dataclasses.dataclass(frozen=True)
class Launcher:
    """How a step finds its workers.

    Args:
        kind: `local` forks on this machine; `srun` starts teams in this process's allocation, or feeds those
            of the standing allocation that it runs in.
        cores: of a local launch; None is all that this process may use.
        srun_flags: what the site's srun needs.
    """

    kind: Literal["local", "srun"] = "local"
    cores: int | None = None
    srun_flags: tuple[str, ...] = ()

    @property
    def standing(self) -> Path | None:
        """Folder of the standing allocation that this process runs in."""
        folder = os.environ.get(PILOT_FOLDER)
        return Path(folder) if folder and self.kind == "srun" else None

    @contextmanager
    def training(self, setting: Setting, work: Path, generation: int | None) -> Iterator[Pool]:
        """Workers for trainings; several trainings may share a device's machine, a measurement may not.

        Args:
            setting: the opened search, or the sweep.
            work: folder of the shard.
            generation: None is promotion; a sweep has 0.

        Raises:
            UserError: candidates of several ranks, and no allocation.
        """
        ranks = setting.execution.gpus_per_candidate
        if self.kind == "local":
            if ranks > 1:
                fix = "teams of ranks need an allocation (--profile slurm); use 1, or harmony train for one model"
                raise UserError("execution.gpus_per_candidate", ranks, fix)
            with shared(setting.device_lock):
                execution = setting.execution
                yield self._warm(setting, work, None, preload_of(execution), execution.candidates_per_gpu)
            return
        with self._teams(setting, work, (_order(setting, generation), 0), ranks) as pool:
            yield pool

    @contextmanager
    def measuring(
        self,
        setting: Setting,
        work: Path,
        generation: int | None,
        preload: str,
        *,
        alone: bool = True,
        evaluator: str = "latency",
    ) -> Iterator[Pool]:
        """Workers for all that is no training, of one rank each.

        Args:
            setting: the search.
            work: folder of the shard.
            generation: whose; None is promotion, the last in turn.
            preload: module that a local launch imports before it forks.
            alone: whether each task must be alone on its device's machine, as a measurement of latency.
            evaluator: whose tasks they are.

        Raises:
            UserError: alone, in a standing allocation without GPUs, whose trainings share the cores.
        """
        if self.kind == "local":
            # A measurement also waits for a training that outlived its main process.
            with (exclusive if alone else shared)(setting.device_lock):
                yield self._warm(setting, work, 1 if alone else None, preload)
            return
        if alone and self.standing is not None and not visible_gpus():
            why, fix = "trainings share these CPUs", "an allocation a shard (cluster: slurm)"
            if evaluator != "latency":
                raise UserError("evaluators", evaluator, f"{why}; use {fix}")
            raise UserError("latency.source", "measured", f"{why}; use predicted:MACHINE, or {fix}")
        with self._teams(setting, work, (_order(setting, generation), 1), 1) as pool:
            yield pool

    def _warm(self, setting: Setting, work: Path, workers: int | None, preload: str, sharers: int = 1) -> WarmPool:
        execution = setting.execution
        return WarmPool(
            work / "logs",
            workers=workers or execution.workers,
            cores=self.cores,
            threads=execution.threads_per_candidate,
            attempts=execution.attempts,
            memory_limit_gb=execution.memory_limit_gb,
            preload=preload,
            sharers=sharers,
        )

    @contextmanager
    def _teams(self, setting: Setting, work: Path, order: tuple[float, ...], team_size: int) -> Iterator[Pool]:
        execution = setting.execution
        with self._queue(setting, work / "teams", team_size) as address:
            yield TeamPool(
                address,
                order,
                work / "logs",
                attempts=execution.attempts,
                memory_limit_gb=execution.memory_limit_gb,
            )

    @contextmanager
    def _queue(self, setting: Setting, folder: Path, team_size: int) -> Iterator[Address]:
        if self.standing is not None:
            yield _standing_address(self.standing)
            return
        with own_teams(setting.execution, folder, self.srun_flags, team_size) as teams:
            try:
                yield teams.address
            except WorkInterrupted:
                if not teams.failed.is_set():
                    raise
                # The user has to mend this; another allocation would fail too.
                raise UserError("launcher", "srun", f"{teams.failure}; see {teams.log}") from None


def preload_of(execution: ExecutionConfig) -> str:
    """The module that workers of trainings import before they fork."""
    return PRELOAD_DEEPSPEED if execution.gpus_per_candidate > 1 else PRELOAD


def pilot_folder() -> Path:
    """The folder of the standing allocation that this process runs in; UserError outside of one."""
    folder = os.environ.get(PILOT_FOLDER)
    if not folder:
        raise UserError(PILOT_FOLDER, "not set", "this is started by the executor plugin, in cluster: pilot")
    return Path(folder)


def own_teams(
    execution: ExecutionConfig, folder: Path, srun_flags: tuple[str, ...], team_size: int, log: Path | None = None
) -> Teams:
    """The teams of this process's allocation, as a search's execution section has them.

    Args:
        execution: gives threads and heartbeats.
        folder: of the queue: its address, and logs.
        srun_flags: what the site's srun needs.
        team_size: ranks of a candidate.
        log: file for what the ranks print; None is one in the folder.
    """
    return Teams(
        folder,
        team_size=team_size,
        threads=execution.threads_per_candidate,
        beat_seconds=execution.heartbeat_seconds,
        silence_seconds=execution.heartbeat_timeout_seconds,
        srun_flags=srun_flags,
        preload=preload_of(execution),
        sharers=execution.candidates_per_gpu,
        log=log,
    )


def _standing_address(folder: Path) -> Address:
    try:
        return Address.read(folder / ADDRESS_FILE, _PILOT_SECONDS)
    except TimeoutError as error:
        raise WorkInterrupted(f"the standing allocation has no queue: {error}") from None


def _order(setting: Setting, generation: int | None) -> int:
    """Promotion is the last."""
    return _LAST if generation is None else setting.queue_order(generation)
