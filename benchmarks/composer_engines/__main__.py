"""`python -m benchmarks.composer_engines`: trains the table, in pieces where it must, and replays the engines on it."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.common import ROOT
from benchmarks.composer_engines import table
from benchmarks.trainings import Row
from harmony_core.data import prepare
from harmony_core.search.config import Config
from harmony_core.workers.pool import WarmPool


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.composer_engines", description=__doc__)
    parser.add_argument("--plan", action="store_true", help="print what it costs, and train nothing")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.plan:
        print(table.plan())
        return 0
    os.nice(10)
    _rows(arguments.workers)
    return 0


def _rows(workers: int) -> list[Row]:
    data = prepare(Config.from_yaml(ROOT / "config" / "nano.yaml").data, ROOT / "data")
    with tempfile.TemporaryDirectory() as logs:
        pool = WarmPool(Path(logs), workers=workers)
        return table.train(pool, data.vocab_size, ROOT / "data" / data.id)


if __name__ == "__main__":
    sys.exit(main())
