"""`python -m benchmarks.mad`: the parts in turn, each going on from what the journal holds; then what they say.

`--plan` prints what each costs. A part whose trainings are not all there is told from those that are, and marked.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, write_result
from benchmarks.mad import campaign, findings, losses
from benchmarks.mad.architectures import drawn
from benchmarks.mad.campaign import LONGER, Row, Training
from benchmarks.trainings import SECONDS_A_TRAINING
from harmony_core.workers.pool import WarmPool
from harmony_core.workers.task import WorkInterrupted

JOURNAL = RESULTS / "mad.jsonl"
# What one core took in the mean of the presets' 16 quick trainings (11.7 s, from 5.5 of llama-nano to 22.9 of
# jamba-nano), and about what it takes for a step of memorisation in the full protocol.
SECONDS_A_QUICK_TASK, SECONDS_A_FULL_STEP = 12, 0.6
# The trainings on text that part `loss` is compared with.
TEXT = "text"
FINDINGS: dict[str, Callable[[list[Row]], dict[str, Any]]] = {
    "presets": findings.spread,
    "spread": findings.spread,
    "left_out": findings.spread,
    "retest": findings.retest,
    "orderings": findings.orderings,
    "longer": findings.alone,
    "memorisation": findings.memorisation,
    "loss": findings.alone,
}


def main() -> int:
    arguments = _arguments()
    parts = campaign.parts()
    if arguments.plan:
        _plan(parts)
        return 0
    os.nice(10)
    for name in arguments.parts or [*parts, TEXT]:
        if not arguments.judge:
            _run(parts.get(name), arguments.most, arguments.workers)
    rows = {name: campaign.done(trainings, JOURNAL) for name, trainings in parts.items()}
    found = {
        name: {"trainings": len(rows[name]), "of": len(parts[name]), **FINDINGS[name](rows[name])}
        for name in parts
        if rows[name]
    }
    texts = losses.bits(drawn("loss"))
    found[TEXT] = {budget: {"trainings": len(of), "of": len(drawn("loss"))} for budget, of in texts.items()}
    found |= {**findings.together(rows), "generation_seconds_of_12800": findings.generation_seconds()}
    write_result("mad", found)
    print(json.dumps(found, indent=2))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mad", description=__doc__)
    parser.add_argument("--plan", action="store_true", help="print what it costs, and train nothing")
    parser.add_argument("--judge", action="store_true", help="train nothing, and tell what the journal holds")
    parser.add_argument("--parts", nargs="+", choices=[*FINDINGS, TEXT], help="those to train; all by default")
    parser.add_argument("--most", type=int, help="of a part, so many trainings alone")
    parser.add_argument("--workers", type=int, default=1)
    return parser.parse_args()


def _plan(parts: dict[str, list[Training]]) -> None:
    total = 0.0
    for name, trainings in parts.items():
        seconds = sum(_seconds(one) for one in trainings)
        total += seconds
        done = len(campaign.done(trainings, JOURNAL))
        print(f"{name}: {len(trainings)} trainings, {done} done, about {seconds / 60:.0f} core-minutes in all")
    architectures = drawn("loss")
    tokens = sum(losses.TOKENS.values()) * len(architectures)
    texts = tokens / losses.TOKENS["demo"] * SECONDS_A_TRAINING
    all_of, done = len(losses.TOKENS) * len(architectures), sum(map(len, losses.bits(architectures).values()))
    print(f"{TEXT}: {all_of} trainings, {done} done, about {texts / 60:.0f} core-minutes in all")
    print(f"in all about {(total + texts) / 3600:.1f} core-hours")


def _seconds(one: Training) -> float:
    row = one.task.payload["row"]
    if row["protocol"] == "full":
        return one.task.expected_seconds * SECONDS_A_FULL_STEP
    return SECONDS_A_QUICK_TASK * (LONGER if one.task.payload["training"]["steps"] > 1000 else 1)


def _run(trainings: list[Training] | None, most: int | None, workers: int) -> None:
    """Trains a part, or at most so many of it; None is the part of text."""
    with tempfile.TemporaryDirectory() as logs:
        pool = WarmPool(Path(logs), workers=workers)
        try:
            if trainings is None:
                losses.run(pool, drawn("loss"), most)
            else:
                campaign.run(pool, trainings[:most], JOURNAL)
        except (KeyboardInterrupt, WorkInterrupted):
            print("stopped; the same command goes on", flush=True)
            sys.exit(os.EX_TEMPFAIL)


if __name__ == "__main__":
    sys.exit(main())
