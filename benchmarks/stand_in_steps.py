"""What the Snakefile of `benchmarks.utilisation` runs in an allocation: as `harmony run`, with trainings that sleep.

`python -m benchmarks.stand_in_steps teams` and `... train TASKS.json RESULT.json GENERATION`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import nullcontext
from pathlib import Path

from harmony_core.workers.address import ADDRESS_FILE, Address
from harmony_core.workers.feeder import TeamPool
from harmony_core.workers.task import Outcome, Task, WorkInterrupted
from harmony_core.workers.teams import Teams

PRELOAD, TARGET = "benchmarks.stand_in", "benchmarks.stand_in:train"
PILOT_FOLDER = "SNAKEMAKE_PILOT_FOLDER"
TRY_AGAIN = 75
_ADDRESS_SECONDS = 60.0


def teams() -> int:
    """The companion of a standing allocation (`harmony run teams`)."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with Teams(Path(os.environ[PILOT_FOLDER]), preload=PRELOAD) as held:
        held.wait()
    return 1 if held.failed.is_set() else TRY_AGAIN


def train(tasks: Path, result: Path, generation: int) -> int:
    """A shard (`harmony run train`): on the standing teams, or on its own allocation's; writes every answer."""
    answers: list[dict[str, float]] = []

    def on_outcome(outcome: Outcome) -> None:
        if not outcome.final or outcome.result is None:
            raise RuntimeError(f"{outcome.task.key}: {outcome.error}")
        answers.append({**outcome.result, "seconds": outcome.task.payload["seconds"]})

    standing = os.environ.get(PILOT_FOLDER)
    folder = Path(standing) if standing else result.with_suffix(".teams")
    with nullcontext() if standing else Teams(folder, preload=PRELOAD):
        address = Address.read(folder / ADDRESS_FILE, _ADDRESS_SECONDS)
        pool = TeamPool(address, (generation, 0), result.with_suffix(".logs"))
        try:
            pool.run(
                [
                    Task(f"{generation}-{number}", TARGET, {"seconds": seconds}, expected)
                    for number, (seconds, expected) in enumerate(json.loads(tasks.read_text()))
                ],
                on_outcome,
                lambda task, attempt: None,
            )
        except WorkInterrupted:
            return TRY_AGAIN
    result.write_text(json.dumps(answers))
    return 0


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["teams"]:
            sys.exit(teams())
        case ["train", tasks, result, generation]:
            sys.exit(train(Path(tasks), Path(result), int(generation)))
        case arguments:
            sys.exit(f"unknown: {arguments}")
