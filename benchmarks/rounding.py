"""How far apart two layouts' curves come, beside what one rounding of the first weights does to one process."""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.common import write_result
from harmony_core.store import curves
from harmony_core.training.learner import Learner

ROUNDING = 2.0**-23
DRAWS = (1, 2, 3)
LAYOUTS = ("pp=2", "pp=2,micro=4", "micro=4")
STEPS, BATCH, LENGTH = 40, 16, 256
RECIPE = f"tokens={STEPS * BATCH * LENGTH},batch_size={BATCH},sequence_length={LENGTH},precision={{}}"


class Rounded(Learner):
    """A learner each of whose first weights is as drawn, or one rounding above or below."""

    def __init__(self, draw: int, *args: object, **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]
        generator = torch.Generator().manual_seed(draw)
        with torch.no_grad():
            for weights in self.stage.parameters():
                weights.mul_(1 + ROUNDING * torch.randint(-1, 2, weights.shape, generator=generator))


def train_rounded(draw: int, arguments: list[str]) -> None:
    """`harmony train` in this process, of first weights changed by a rounding."""
    from harmony_core.cli.main import app

    with patch("harmony_core.training.trainer.Learner", functools.partial(Rounded, draw)):
        app(["train", *arguments])


def curve(folder: Path, precision: str, layout: str = "", draw: int = 0) -> NDArray[np.float64]:
    """The training loss of each step."""
    recipe = RECIPE.format(precision)
    arguments = ["mixtral-nano", "--data", "source=synthetic", "--recipe", recipe, "--out", str(folder)]
    started = ["benchmarks.rounding", str(draw)] if draw else ["harmony_core", "train"]
    asked = ["--layout", layout] if layout else []
    subprocess.run([sys.executable, "-m", *started, *arguments, *asked], check=True, stdout=subprocess.DEVNULL)
    losses: NDArray[np.float64] = curves(folder).sort("step").collect()["train_loss"].to_numpy()
    return losses


def main() -> int:
    rows = []
    for precision in ("bf16", "fp32"):
        with tempfile.TemporaryDirectory() as scratch:
            base = curve(Path(scratch) / "base", precision)
            cases = [(f"first weights by a rounding, draw {draw}", "", draw) for draw in DRAWS]
            cases += [(layout, layout, 0) for layout in LAYOUTS]
            for number, (name, layout, draw) in enumerate(cases):
                apart = abs(curve(Path(scratch) / str(number), precision, layout, draw) / base - 1)
                steps = {f"step_{step}": float(apart[step - 1]) for step in (1, 10, STEPS)}
                rows.append({"precision": precision, "differs_by": name, **steps, "largest": float(apart.max())})
                print(" ".join(f"{value:.1e}" if isinstance(value, float) else value for value in rows[-1].values()))
    write_result("rounding", {"architecture": "mixtral-nano", "recipe": RECIPE, "relative_loss_difference": rows})
    return 0


if __name__ == "__main__":
    if len(sys.argv) > 1:
        train_rounded(int(sys.argv[1]), sys.argv[2:])
    else:
        sys.exit(main())
