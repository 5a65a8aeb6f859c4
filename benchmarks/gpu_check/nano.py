"""Nano candidates an hour with so many processes on one GPU, through the pool that a search has."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

from benchmarks.gpu_check.repeat import prepared, recipe_of
from benchmarks.gpu_check.row import attempted
from benchmarks.gpu_check.settings import Before, Row, Setting
from benchmarks.trainings import Training, run_trainings
from harmony_core.architecture.presets import load_preset, with_vocab
from harmony_core.data import DataManifest
from harmony_core.workers.children import Children
from harmony_core.workers.gpus import own_gpu
from harmony_core.workers.pool import PRELOAD, WarmPool

# Trained together. Each process of the second tunes mamba-ssm's kernels where that is, and so may take all the time.
_MIXES = (("llama-nano", "mixtral-nano"), ("mamba-2-nano", "jamba-nano"))
_PROCESSES = (1, 4, 8, 16)


def rows(setting: Setting, before: Before) -> Iterator[Row]:
    """A row a number of processes at once; what starts candidates is warm before the first is timed."""
    # On a machine with several GPUs the pool would spread them.
    os.environ.update(own_gpu(0))
    Children(PRELOAD).wait_until_warm()
    with tempfile.TemporaryDirectory() as folder:
        data = prepared(Path(folder) / "data", setting)
        for presets, processes in setting.choose(tuple(product(_MIXES, _PROCESSES)), ((_MIXES[0][:1], 2),)):
            work = Path(tempfile.mkdtemp(dir=folder))
            identity = {"presets": ", ".join(presets), "processes": processes}
            yield attempted(identity, _measured, presets, processes, data, work, setting)


def _measured(presets: Sequence[str], processes: int, data: Path, work: Path, setting: Setting) -> Row:
    """Twice as many candidates as processes, so that starts overlap with training as in a search."""
    steps, count = setting.choose(48, 2), setting.choose(2 * processes, processes)
    recipe, vocab_size = recipe_of(setting, steps), DataManifest.load(data).vocab_size
    trainings = [
        Training(
            key=f"{number}-{presets[number % len(presets)]}",
            architecture=with_vocab(load_preset(presets[number % len(presets)]), vocab_size),
            recipe=recipe,
            seed=number,
            labels={},
            splits=(),
        )
        for number in range(count)
    ]
    begin = time.monotonic()
    # As `execution.candidates_per_gpu` has it: each with its part of the memory, by MPS where that is installed.
    pool = WarmPool(work / "logs", workers=processes, sharers=processes)
    found = run_trainings(pool, trainings, data, work / "journal.jsonl")
    seconds = time.monotonic() - begin
    bad = [f"{row['status']}: {row['error']}" for row in found if row["status"] != "ok"]
    if bad:
        raise RuntimeError(f"{len(bad)} of {count} candidates: {bad[0]}")
    rate = round(3600 * count / seconds)
    return {
        "candidates": count,
        "steps": steps,
        "tokens": recipe.tokens,
        "seconds": seconds,
        "candidates_an_hour": rate,
    }
