"""A generation of a made-up search in one step, with one candidate that fails: what test_snakemake's rules run."""

from __future__ import annotations

import argparse
import signal
from pathlib import Path

from tests.progress.searches import MadeUpSearch


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("generation", type=int)
    parser.add_argument("--keep", action="store_true", help="leave the manifest as it is, and only make the output")
    parser.add_argument("--stop", action="store_true", help="begin, and wait for a signal")
    arguments = parser.parse_args()
    search = MadeUpSearch(Path.cwd())
    if arguments.keep:
        search.folder.selection(arguments.generation).parent.mkdir(parents=True, exist_ok=True)
        search.folder.selection(arguments.generation).touch()
        return
    search.prepare()
    search.breed(arguments.generation)
    if arguments.stop:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.pause()
    values = {number: (None if number == 2 else 3.0 + number, 0.01) for number in range(8)}
    search.finish(arguments.generation, values)


main()
