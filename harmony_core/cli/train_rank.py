"""One rank of `harmony train`: rank 0 settles what is trained and keeps the results, all of them train."""

from __future__ import annotations

import contextlib
import sys
import threading
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from harmony_core.architecture import Architecture
from harmony_core.cli.train_asked import Asked, folder_refusals
from harmony_core.errors import UserError
from harmony_core.evaluation.single_run import SingleRun, TrainingOrder, checkpoints_of, clear
from harmony_core.store import SearchFolder
from harmony_core.terminal.format import count
from harmony_core.terminal.training_display import TrainingDisplay
from harmony_core.training.device import uses_gpu
from harmony_core.training.heartbeat import STOOD_STILL
from harmony_core.training.process import peak_memory_bytes
from harmony_core.training.rendezvous import NotMet, first_decides, start, stop
from harmony_core.training.result import TrainingResult
from harmony_core.training.resume import CheckpointPolicy
from harmony_core.training.status import Status
from harmony_core.training.trainer import Conduct, train
from harmony_core.training.trainer import TrainingInterrupted as LeftTogether
from harmony_core.training.watchdog import Watchdog
from harmony_core.training.world import World
from harmony_core.workers import Lease, WorkInterrupted

# Operations give up after this many times the watchdog's limit, so that the watchdog first names the rank in the way.
_PATIENCE = 2.0
console = Console(highlight=False, soft_wrap=True)


def train_rank(asked: Asked, world: World, told: threading.Event) -> int:
    """Trains as one rank of `world`; returns the exit code.

    Args:
        asked: what was asked for.
        world: this process's place.
        told: set when this process is told to leave.

    Raises:
        WorkInterrupted: it was told to leave, and left a checkpoint.
        UserError: the folder, the data or the layout is not as it should be.
    """
    if not uses_gpu():
        torch.set_num_threads(asked.threads)
    try:
        start(world, _PATIENCE * asked.timeout_seconds)
    except NotMet as missing:
        print(f"rank {world.rank} of {world.size} ends: {missing}", file=sys.stderr)
        return STOOD_STILL
    with contextlib.ExitStack() as stack:
        keeper = _Keeper(asked, stack) if world.rank == 0 else None
        order = TrainingOrder.parse(first_decides(world, keeper.settle if keeper is not None else dict))
        if order.ended is not None:
            if keeper is not None:
                _say(f"{asked.out}: trained already ({order.ended}); --fresh begins anew")
            stop()
            return _code(order.ended)
        try:
            result = _train(asked, world, order, told, keeper)
        except LeftTogether as left:
            stop()
            raise WorkInterrupted(f"{left}; the same command goes on") from None
        stop()
        if keeper is not None:
            keeper.keep(result)
    return _code(result.status)


class _Keeper:
    """What rank 0 does beside training: it settles what is trained, shows how far it is, and keeps what comes of it."""

    def __init__(self, asked: Asked, stack: contextlib.ExitStack) -> None:
        self._asked, self._stack = asked, stack
        self.run: SingleRun

    def settle(self) -> dict[str, Any]:
        """Prepares everything that all ranks read, under a lease on the folder that ends with the stack."""
        asked = self._asked
        lease = Lease(SearchFolder(asked.out).work("lease"))
        with folder_refusals(asked.out):
            lease.acquire()
        self._stack.callback(lease.release)
        if asked.fresh:
            clear(asked.out)
        self.run = SingleRun.open(asked.out, asked.architecture, asked.file, asked.config, _say)
        order = self.run.order
        if order.ended is None:
            self.run.begin()
        return order.model_dump(mode="json")

    def display(self, order: TrainingOrder) -> TrainingDisplay:
        """A display of this training."""
        asked, recipe = self._asked, order.recipe
        flops = Architecture.from_json(order.architecture).flops_per_token(recipe.sequence_length, "train")
        peak = None
        if asked.machine is not None:
            peak = asked.machine.compute(recipe.resolved_precision).peak_flops.value * asked.layout.num_processes
        branches = "" if recipe.rungs is None else f", and {recipe.all_steps - recipe.num_steps} in branches"
        size = f"{recipe.num_steps} steps of {recipe.batch_size} sequences{branches}"
        _say(f"{asked.layout}, {recipe.precision}, {size}")
        return TrainingDisplay(console, recipe.num_steps, flops, peak, peak_memory_bytes)

    def keep(self, result: TrainingResult) -> None:
        """Writes the rows and says what they hold."""
        row = self.run.write(result, self._asked.layout)
        parts = [row["status"] if row["error"] is None else f"{row['status']}: {row['error']}"]
        for name, unit in (("val_loss", "nats/token"), ("val_bits_per_byte", "bits/byte")):
            if row[name] is not None:
                parts.append(f"{name} {row[name]:.4f} {unit}")
        if row["tokens_per_second"] is not None:
            parts.append(f"{count(row['tokens_per_second'])} tokens/s")
        _say(f"{', '.join(parts)}; {self.run.results}")


def _train(
    asked: Asked, world: World, order: TrainingOrder, told: threading.Event, keeper: _Keeper | None
) -> TrainingResult:
    with contextlib.ExitStack() as stack:
        watchdog = stack.enter_context(Watchdog(world, asked.timeout_seconds, agreed=(LeftTogether,)))
        display = None if keeper is None else stack.enter_context(keeper.display(order))
        conduct = Conduct(
            layout=asked.layout,
            machine=asked.machine,
            checkpoints=CheckpointPolicy(
                Path(order.checkpoints),
                every_steps=asked.every_steps,
                every_seconds=asked.every_seconds,
                keep_trunk=True,
                trunk_of=_checkpoints(asked.trunk_of),
            ),
            stop=told.is_set,
            watchdog=watchdog,
            on_step=None if display is None else display.update,
            # The process that settled the search has checked the data's checksums.
            verify_data=False,
        )
        try:
            result = train(
                Architecture.from_json(order.architecture),
                order.recipe,
                Path(order.data),
                init_seed=order.init_seed,
                data_seed=order.data_seed,
                conduct=conduct,
            )
        except LeftTogether:
            if keeper is not None:
                keeper.run.interrupted(asked.layout.num_processes)
            raise
        if result.status is Status.OUT_OF_MEMORY and not world.alone:
            # The other ranks are still waiting for this one, so it cannot leave with a result.
            raise MemoryError(result.error)
        return result


def _checkpoints(results: Path | None) -> Path | None:
    """Where a training's checkpoints lie; UserError if `results` is no training's folder."""
    if results is None:
        return None
    found = checkpoints_of(results)
    if found is None:
        raise UserError("from", results, "no results of harmony train; name the shorter training's folder")
    return found


def _say(line: str) -> None:
    console.print(line, markup=False)


def _code(status: str) -> int:
    return 0 if status == Status.OK else 1
