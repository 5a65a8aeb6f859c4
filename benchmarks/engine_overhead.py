"""What the trainer's step costs one process, and what it would with DeepSpeed's engine, beside a bare PyTorch loop.

All start from the same weights and do the same: fused AdamW, clipping to the global norm, one read of the loss a step.
Steps take turns, and a ratio is of neighbours, so that drift of the machine hits all. Of one more step each the
operations of torch are counted (a GPU would get a launch or more for most) and the calls of Python functions.

    python -m benchmarks.engine_overhead [--rounds 30]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.common import write_result
from harmony_core.architecture import Architecture
from harmony_core.architecture.presets import load_preset, with_vocab
from harmony_core.models import build
from harmony_core.training.engine import DataEngine
from harmony_core.training.learner import Learner
from harmony_core.training.precision import autocast
from harmony_core.training.recipe import Recipe

PROMISE = 1.10
PRESETS = ("llama-nano", "mamba-2-nano", "deepseek-nano")
# Sequences and tokens of a step: the demo's, and one so small that fixed costs are nearly all of it.
SIZES = {"nano step": (16, 256), "tiny step": (1, 16)}
CPU = torch.device("cpu")


def bare_step(architecture: Architecture, recipe: Recipe) -> Callable[[np.ndarray], float]:
    """A training step without an engine."""
    model = build(architecture, init_seed=0)
    groups = model.parameter_groups(recipe.learning_rate, recipe.weight_decay)
    betas = (recipe.beta1, recipe.beta2)
    optimizer = torch.optim.AdamW(groups, betas=betas, eps=recipe.epsilon, fused=True)

    def step(rows_BT: np.ndarray) -> float:
        batch = torch.from_numpy(rows_BT)
        with autocast(CPU, recipe.precision):
            terms = model.loss(batch[:, :-1], batch[:, 1:])
        terms.total.backward()
        nn.utils.clip_grad_norm_(model.parameters(), recipe.gradient_clip)
        optimizer.step()
        optimizer.zero_grad()
        model.after_step()
        return terms.cross_entropy.item()

    return step


class Operations(TorchDispatchMode):
    """Counts the operations that reach a backend, those of the backward pass and the optimiser too."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def counted(step: Callable[[], object]) -> dict[str, int]:
    """Operations of torch, and calls of Python functions, in one step."""
    with Operations() as operations:
        step()
    calls = 0

    def on_event(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(on_event)
    try:
        step()
    finally:
        sys.setprofile(None)
    return {"operations": operations.count, "python_calls": calls}


def compare(preset: str, size: tuple[int, int], rounds: int, precision: str) -> dict[str, Any]:
    """Seconds a step of both, and the median of the ratios of neighbouring steps."""
    batch, length = size
    architecture = with_vocab(load_preset(preset), 257)
    fields = {"tokens": 10_000 * batch * length, "batch_size": batch, "sequence_length": length}
    recipe = Recipe.parse({**fields, "validation_tokens": length, "precision": precision})
    with patch("harmony_core.training.learner.PlainEngine", DataEngine):
        through_engine = Learner(architecture, recipe, 0, CPU)
    learner = Learner(architecture, recipe, 0, CPU)
    sides: dict[str, Callable[[np.ndarray], float]] = {
        "trainer": lambda rows: learner.step(rows, 1.0).cross_entropy,
        "deepspeed": lambda rows: through_engine.step(rows, 1.0).cross_entropy,
        "bare": bare_step(architecture, recipe),
    }
    draws = np.random.default_rng(np.random.SeedSequence(1))
    times: dict[str, list[float]] = {name: [] for name in sides}
    worst, names = 0.0, list(sides)
    for number in range(rounds + 3):
        rows, losses = draws.integers(0, 257, (batch, length + 1)), {}
        # The one that begins has a colder cache: they take turns.
        for name in names[number % 3 :] + names[: number % 3]:
            begin = time.perf_counter()
            losses[name] = sides[name](rows)
            if number >= 3:
                times[name].append(time.perf_counter() - begin)
        worst = max(worst, *(abs(loss / losses["bare"] - 1) for loss in losses.values()))
    rows = draws.integers(0, 257, (batch, length + 1))
    return {
        "preset": preset,
        "batch_size": batch,
        "sequence_length": length,
        "precision": precision,
        "rounds": rounds,
        "seconds": {name: statistics.median(seconds) for name, seconds in times.items()},
        "counted": {name: counted(lambda step=step: step(rows)) for name, step in sides.items()},
        **{f"{name}_over_bare": quartiles(times[name], times["bare"]) for name in ("trainer", "deepspeed")},
        "largest_loss_difference": worst,
    }


def quartiles(ours: list[float], theirs: list[float]) -> list[float]:
    """Quartiles of the ratios of neighbours, the median in the middle."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return [float(value) for value in np.quantile(ratios, (0.25, 0.5, 0.75))]


def main() -> None:
    """Prints a line a case and writes benchmarks/results/engine_overhead.json; exit code 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    found = []
    for name, size in SIZES.items():
        for preset in PRESETS:
            for precision in ("fp32", "bf16"):
                one = compare(preset, size, rounds * (1 if name == "nano step" else 10), precision)
                found.append({"case": name, **one})
                ms = "  ".join(f"{side} {1e3 * value:7.1f} ms" for side, value in one["seconds"].items())
                ratios = "  ".join(
                    "{:.3f} ({:.3f} to {:.3f})".format(*(one[f"{side}_over_bare"][i] for i in (1, 0, 2)))
                    for side in ("trainer", "deepspeed")
                )
                counts = "  ".join(f"{c['operations']} ops, {c['python_calls']} calls" for c in one["counted"].values())
                print(f"{name:10} {preset:14} {precision}  {ms}  over bare {ratios}  {counts}", flush=True)
    write_result("engine_overhead", {"promise": PROMISE, "cases": found})
    broken = [one for one in found if one["case"] == "nano step" and one["trainer_over_bare"][1] > PROMISE]
    raise SystemExit(1 if broken else 0)


if __name__ == "__main__":
    main()
