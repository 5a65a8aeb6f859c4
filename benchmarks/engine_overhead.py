"""What DeepSpeed's engine costs one process: the trainer's step beside a bare PyTorch loop of the same model.

Both start from the same weights and do the same: fused AdamW, clipping to the global norm, one read of the loss a step.
Steps alternate, and the ratio is of the two neighbours, so that drift of the machine hits both.

    python -m benchmarks.engine_overhead [--rounds 30]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.common import write_result
from harmony_core.architecture import Architecture
from harmony_core.architecture.presets import load_preset, with_vocab
from harmony_core.models import build
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


def compare(preset: str, size: tuple[int, int], rounds: int, precision: str) -> dict[str, Any]:
    """Seconds a step of both, and the median of the ratios of neighbouring steps."""
    batch, length = size
    architecture = with_vocab(load_preset(preset), 257)
    fields = {"tokens": 10_000 * batch * length, "batch_size": batch, "sequence_length": length}
    recipe = Recipe.parse({**fields, "validation_tokens": length, "precision": precision})
    learner, bare = Learner(architecture, recipe, 0, CPU), bare_step(architecture, recipe)
    draws = np.random.default_rng(np.random.SeedSequence(1))
    times: tuple[list[float], list[float]] = ([], [])
    worst = 0.0
    for number in range(rounds + 3):
        rows = draws.integers(0, 257, (batch, length + 1))
        losses = [0.0, 0.0]
        # The one that begins has a colder cache: they take turns.
        for side in (0, 1) if number % 2 else (1, 0):
            begin = time.perf_counter()
            losses[side] = learner.step(rows, 1.0).cross_entropy if side == 0 else bare(rows)
            times[side].append(time.perf_counter() - begin)
        worst = max(worst, abs(losses[0] / losses[1] - 1))
    ours, theirs = (part[3:] for part in times)
    ratios = sorted(a / b for a, b in zip(ours, theirs, strict=True))
    return {
        "preset": preset,
        "batch_size": batch,
        "sequence_length": length,
        "precision": precision,
        "rounds": rounds,
        "trainer_seconds": statistics.median(ours),
        "bare_seconds": statistics.median(theirs),
        "ratio": statistics.median(ratios),
        "ratio_quartiles": [ratios[len(ratios) // 4], ratios[3 * len(ratios) // 4]],
        "largest_loss_difference": worst,
    }


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
                ms = f"{1e3 * one['trainer_seconds']:8.1f} ms  {1e3 * one['bare_seconds']:8.1f} ms bare"
                low, high = one["ratio_quartiles"]
                print(f"{name:10} {preset:14} {precision}  {ms}  {one['ratio']:.3f} ({low:.3f} to {high:.3f})")
    write_result("engine_overhead", {"promise": PROMISE, "cases": found})
    broken = [one for one in found if one["case"] == "nano step" and one["ratio"] > PROMISE]
    raise SystemExit(1 if broken else 0)


if __name__ == "__main__":
    main()
