"""The cost model against this machine: order and size of step times, and memory, of random architectures.

`python -m benchmarks.planner_machine` calibrates (`harmony calibrate`, with blocks and small models of its own), draws
architectures from the space `nano` and from a wider one by explicit seeds, predicts, and only then measures training
steps with AdamW through the trainer's own `Learner`, one thread: every architecture has its turn in each round, medians
over the rounds. Memory is that of all tensors at their most, counted (`benchmarks/live_memory.py`), each in a process
of its own. For some the growth of the resident size from a quarter of the batch to all of it is told beside what is
predicted for it; the size itself is mostly code, libraries and compiled kernels.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from benchmarks.common import write_result
from benchmarks.live_memory import most_live_bytes, most_resident_bytes
from benchmarks.step_memory import predict_memory_bytes
from harmony_core.architecture import Architecture
from harmony_core.calibration.calibrate import calibrate
from harmony_core.machines import Machine, predict_seconds
from harmony_core.machines.machine import Precision
from harmony_core.resources import resource
from harmony_core.space import Space, sample
from harmony_core.training.learner import Learner
from harmony_core.training.recipe import Recipe

VOCAB_SIZE = 256
SEED = 2026
# Architectures from which an interval is told.
FEW = 20
# Routers change their minds at first, and oneDNN builds kernels for every new number of rows of an expert.
WARM_UP_ROUNDS = 8
# Of the first group, every so many have their resident size measured.
RESIDENT_EVERY = 4
# Beyond the space that is searched: other widths, and with them other sizes.
WIDER = {"d_model": [64, 192, 256], "constraints": {"num_params": {"max": 12_000_000}}}


@dataclass(frozen=True)
class Group:
    """Architectures that are trained on one shape of batch.

    Args:
        name: of the group.
        space: `nano` or `wider`.
        count: how many architectures.
        batch_size: sequences a step.
        context: tokens a sequence.
        precision: of the products.
    """

    name: str
    space: str
    count: int
    batch_size: int
    context: int
    precision: Precision


GROUPS = (
    Group("nano fp32", "nano", 40, 16, 256, "fp32"),
    Group("nano bf16", "nano", 20, 16, 256, "bf16"),
    Group("wider fp32, 128 tokens", "wider", 6, 16, 128, "fp32"),
    Group("wider fp32, 512 tokens", "wider", 6, 4, 512, "fp32"),
    Group("wider fp32, 1024 tokens", "wider", 6, 2, 1024, "fp32"),
)


@dataclass
class Case:
    """One architecture of a group: what was predicted, and what was measured."""

    group: Group
    architecture: Architecture
    roofline_seconds: float
    predicted_seconds: float
    predicted_bytes: float
    processor_seconds: float = 0.0
    wall_seconds: float = 0.0
    live_bytes: int = 0
    # Measured over predicted growth of the resident size, where it was measured.
    resident_ratio: float | None = None

    def recipe(self, batch_size: int | None = None) -> Recipe:
        """How it is trained."""
        group = self.group
        size = batch_size or group.batch_size
        return Recipe(batch_size=size, sequence_length=group.context, precision=group.precision)

    def rows_BT(self, step: int, batch_size: int | None = None) -> np.ndarray:
        """The batch of a step, [B, T + 1]; always another, so that routers choose otherwise each time."""
        shape = (batch_size or self.group.batch_size, self.group.context + 1)
        return np.random.default_rng(np.random.SeedSequence([SEED, 2, step])).integers(0, VOCAB_SIZE, shape)


def spaces() -> dict[str, Space]:
    """The space that is searched, and the same with other widths and no limit but on the size."""
    nano = yaml.safe_load(resource("spaces/nano.yaml").read_text())
    return {"nano": Space.read("nano"), "wider": Space.read({**nano, **WIDER})}


def cases(machine: Machine, groups: Sequence[Group]) -> list[Case]:
    """Every architecture with its predictions; a group's are a function of SEED, the space and the context."""
    known, found = spaces(), []
    for group in groups:
        rng = np.random.default_rng(np.random.SeedSequence([SEED, group.context, group.space == "wider"]))
        for _ in range(group.count):
            architecture = sample(known[group.space], VOCAB_SIZE, rng).architecture
            found.append(_predicted(machine, group, architecture))
    return found


def _predicted(machine: Machine, group: Group, architecture: Architecture) -> Case:
    load = (group.batch_size, group.context, group.precision)
    plain = machine.model_copy(update={"operators": ()})
    seconds = [predict_seconds(architecture, described, "train", *load) for described in (plain, machine)]
    return Case(group, architecture, *seconds, predict_memory_bytes(architecture, "train", *load))


def measure_memory(found: Sequence[Case]) -> None:
    """Fills in bytes; each measurement is a process forked from this one, which has imported torch and run nothing."""
    for number, case in enumerate(found):
        case.live_bytes = _in_a_child(lambda c=case: most_live_bytes(c.architecture, c.recipe(), c.rows_BT(0)))
        if case.group == found[0].group and number % RESIDENT_EVERY == 0:
            case.resident_ratio = _resident_ratio(case)


def _resident_ratio(case: Case) -> float:
    group, few = case.group, case.group.batch_size // 4
    measured, predicted = [], []
    for size in (few, group.batch_size):
        rows = case.rows_BT(0, size)
        measured.append(_in_a_child(lambda s=size, r=rows: most_resident_bytes(case.architecture, case.recipe(s), r)))
        predicted.append(predict_memory_bytes(case.architecture, "train", size, group.context, group.precision))
    return (measured[1] - measured[0]) / (predicted[1] - predicted[0])


def _in_a_child(run: Callable[[], int]) -> int:
    context = multiprocessing.get_context("fork")
    parent, child = context.Pipe(duplex=False)
    process = context.Process(target=lambda: child.send(run()))
    process.start()
    child.close()
    answer = parent.recv()
    process.join()
    return int(answer)


def measure_seconds(found: Sequence[Case], rounds: int) -> None:
    """Fills in seconds of a step, processor and wall: medians over rounds; those that warm up do not count."""
    learners = [Learner(case.architecture, case.recipe(), 0, torch.device("cpu")) for case in found]
    times: list[list[tuple[float, float]]] = [[] for _ in found]
    for number in range(WARM_UP_ROUNDS + rounds):
        gc.collect()
        for case, learner, taken in zip(found, learners, times, strict=True):
            rows_BT = case.rows_BT(number)
            begin = time.process_time(), time.perf_counter()
            learner.step(rows_BT, 0.1)
            if number >= WARM_UP_ROUNDS:
                taken.append((time.process_time() - begin[0], time.perf_counter() - begin[1]))
    for case, taken in zip(found, times, strict=True):
        case.processor_seconds, case.wall_seconds = (statistics.median(each) for each in zip(*taken, strict=True))


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Rank correlation, equal values sharing their mean rank."""
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


def interval(a: np.ndarray, b: np.ndarray, resamples: int = 2000) -> list[float] | None:
    """95% interval of the rank correlation by resampling architectures; None for too few of them."""
    if len(a) < FEW:
        return None
    rng = np.random.default_rng(np.random.SeedSequence([SEED, 1]))
    draws = [spearman(a[rows], b[rows]) for rows in rng.integers(0, len(a), (resamples, len(a)))]
    return [round(float(q), 3) for q in np.percentile(draws, [2.5, 97.5])]


def summary(found: Sequence[Case]) -> dict[str, Any]:
    """What a group says of the cost model."""
    measured, wall = (np.array([getattr(c, n) for c in found]) for n in ("processor_seconds", "wall_seconds"))
    predicted, roofline = (np.array([getattr(c, n) for c in found]) for n in ("predicted_seconds", "roofline_seconds"))
    error = np.array([case.predicted_bytes / case.live_bytes for case in found]) - 1
    resident = [case.resident_ratio for case in found if case.resident_ratio is not None]
    ratio = predicted / measured
    return {
        "architectures": len(found),
        "spearman": round(spearman(predicted, measured), 3),
        "spearman_95": interval(predicted, measured),
        "spearman_wall": round(spearman(predicted, wall), 3),
        "spearman_roofline": round(spearman(roofline, measured), 3),
        "seconds_range": [round(float(x), 4) for x in (measured.min(), measured.max())],
        "time_ratio_median": round(float(np.median(ratio)), 3),
        "time_ratio_worst": round(float(ratio[np.abs(np.log(ratio)).argmax()]), 3),
        "roofline_ratio": [round(float(x), 2) for x in np.percentile(roofline / measured, [0, 50, 100])],
        "memory_within_15_percent": round(float(np.mean(np.abs(error) <= 0.15)), 3),
        "memory_error_median": round(float(np.median(np.abs(error))), 4),
        "memory_error_worst": round(float(error[np.abs(error).argmax()]), 4),
        "resident_growth_over_predicted": [round(float(x), 2) for x in np.percentile(resident, [0, 50, 100])]
        if resident
        else None,
    }


def main() -> None:
    """Calibrates, predicts, measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machine", type=Path, help="a calibrated machine's file; left out, calibrates first")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    # Read at the first product: models that take turns would build each other's kernels away, as one alone does not.
    os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] = str(1 << 15)
    machine = Machine.from_yaml(options.machine) if options.machine else _in_a_fresh_process()
    found = cases(machine, GROUPS)
    measure_memory(found)
    load = [os.getloadavg()[0]]
    measure_seconds(found, options.rounds)
    load.append(os.getloadavg()[0])
    groups = {group.name: summary([case for case in found if case.group == group]) for group in GROUPS}
    for name, figures in groups.items():
        print(name)
        for key, value in figures.items():
            print(f"  {key:32} {value}")
    write_result(
        "planner_machine",
        {
            "seed": SEED,
            "rounds": options.rounds,
            # Of the whole machine while steps were timed, one of which is the benchmark's own.
            "load_average": [round(one, 2) for one in load],
            "groups": groups,
            "machine": machine.model_dump(mode="json", exclude_defaults=True),
            "architectures": [_row(case) for case in found],
        },
    )


def _in_a_fresh_process() -> Machine:
    """Calibrates in a child, so that this process has run nothing when it forks for the memory's sake."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return Machine.parse(pool.apply(_calibrated))


def _calibrated() -> dict[str, Any]:
    return calibrate("this-machine", print).model_dump(mode="json")


def _row(case: Case) -> dict[str, Any]:
    names = ("roofline_seconds", "predicted_seconds", "processor_seconds", "wall_seconds")
    return {
        "group": case.group.name,
        "id": case.architecture.id,
        "pattern": case.architecture.pattern(),
        "num_params": case.architecture.num_params(),
        **{name: round(getattr(case, name), 5) for name in names},
        "predicted_bytes": int(case.predicted_bytes),
        "live_bytes": case.live_bytes,
    }


if __name__ == "__main__":
    main()
