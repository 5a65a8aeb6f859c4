"""IsoFLOP curves of Llama's pattern, a striped hybrid and the best found, on budgets of 3e12, 1e13 and 3e13 FLOPs.

The recipe is the demo's, whose parametrisation and learning rate the pilot chose; sizes follow from width and bracket
each curve's minimum, no text is read more than four times. Exponents have bootstrap intervals; the published ones stand
beside them and, at sizes a thousand times as large on another text, are not expected to agree. `--plan` prints the
cost, `--smoke` trains a small sweep of the same shape. What is done stays done: run it again to go on.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, ROOT, write_result
from benchmarks.trainings import SECONDS_A_TRAINING
from harmony_core.architecture.presets import load_preset
from harmony_core.cli.isoflop import tell, tell_plan
from harmony_core.scaling.config import IsoflopConfig
from harmony_core.scaling.laws import judge
from harmony_core.scaling.rows import points
from harmony_core.scaling.sweep import Sweep, read_rows
from harmony_core.search.config import Config
from harmony_core.workers import WarmPool

BUDGETS = (3e12, 1e13, 3e13)
# One of its four mixers is attention, as in the best hybrids of MAD (arXiv:2403.17844).
KNOWN = ("llama-nano", "stripedhyena-2-nano")
# Of the three finalists of `python -m benchmarks.baselines` that with the fewest test bits per byte.
FOUND = Path(os.path.relpath(RESULTS / "best_found.yaml"))
JOURNAL = RESULTS / "isoflop.jsonl"
# Of N* and D* over the budget: Hoffmann et al. 2022, arXiv:2203.15556, table 2, approach 2.
PUBLISHED = {"params": 0.49, "tokens": 0.51}
_SMOKE: dict[str, Any] = {"budgets": (1e10, 3e10), "sizes": 3, "spacing": 2.0, "rounds": 0, "tokens_per_param": 1.0}


def config(found: Path, smoke: bool) -> IsoflopConfig:
    """The sweep's configuration.

    Args:
        found: YAML file of the best architecture of a search (`harmony show ID --yaml`).
        smoke: whether it is the small one.
    """
    demo = Config.from_yaml(ROOT / "config" / "nano.yaml")
    recipe = demo.recipe.model_dump()
    if smoke:
        recipe |= {"batch_size": 2, "warmup_tokens": None}
    asked: dict[str, Any] = {
        "name": "isoflop-smoke" if smoke else "isoflop-nano",
        "architectures": (*KNOWN, str(found)),
        "budgets": BUDGETS,
        "recipe": recipe,
        "data": demo.data,
        # At 20 the least size on the largest budget would read the text 4.4 times.
        "tokens_per_param": 10.0,
    }
    return IsoflopConfig.parse({**asked, **(_SMOKE if smoke else {})})


def core_hours(sweep: Sweep) -> float:
    """About what the sweep begins with on cores such as those that trained the demo's models."""
    demo = Config.from_yaml(ROOT / "config" / "nano.yaml").recipe
    of_demo = load_preset("llama-nano").flops_per_token(demo.sequence_length, "train") * demo.tokens
    trainings = sweep.trainings(sweep.first_plan())
    flops = sum(one.recipe.all_tokens * one.ladder.flops_per_token(one.step) for one in trainings)
    return flops / of_demo * SECONDS_A_TRAINING / 3600


@contextlib.contextmanager
def kept(journal: Path, copy: Path | None) -> Iterator[None]:
    """A sweep's journal begins with what the committed one has, which gets what is added.

    Args:
        journal: the sweep's own.
        copy: the committed one; None keeps nothing.
    """
    if copy is not None and copy.exists() and not journal.exists():
        journal.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(copy, journal)
    try:
        yield
    finally:
        if copy is not None and journal.exists():
            shutil.copy(journal, copy)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.isoflop", description=__doc__)
    parser.add_argument("--plan", action="store_true", help="print what it costs, and train nothing")
    parser.add_argument("--smoke", action="store_true", help="a small sweep, which says nothing")
    parser.add_argument(
        "--found",
        type=Path,
        default=FOUND,
        help="YAML file of the best architecture of a search (default: %(default)s)",
    )
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    asked = config(arguments.found, arguments.smoke)
    sweep = Sweep.open(asked, ROOT / "results" / asked.name, print)
    tell_plan(sweep)
    print(f"about {core_hours(sweep):.1f} core-hours here")
    if arguments.plan:
        return 0
    os.nice(10)
    with kept(sweep.folder / "work" / "journal.jsonl", None if arguments.smoke else JOURNAL):
        pool = WarmPool(sweep.folder / "work" / "logs", workers=arguments.workers)
        sweep.run(pool, lambda row, done, total: print(f"{done}/{total} {row['run']} {row['val_loss']}", flush=True))
    print(tell(sweep))
    if not arguments.smoke:
        found = points(read_rows(sweep.folder).to_dicts())
        told = judge(found, asked.seed).told()
        write_result("isoflop", {"published": PUBLISHED, **told, "points": [asdict(one) for one in found]})
    return 0


if __name__ == "__main__":
    sys.exit(main())
