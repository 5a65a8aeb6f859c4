"""A generation of a made-up search in one step, with one candidate that fails: what test_snakemake's rules run."""

from __future__ import annotations

import argparse
import signal
import time
from pathlib import Path

from tests.progress.searches import MadeUpSearch


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("generation", type=int)
    parser.add_argument("--keep", action="store_true", help="leave the manifest as it is, and only make the output")
    parser.add_argument("--stop", action="store_true", help="begin, and wait for a signal")
    parser.add_argument("--from", dest="first", type=int, default=0, help="with --stop: generations before are made")
    parser.add_argument("--loud", action="store_true", help="with --stop: end with Python's traceback")
    arguments = parser.parse_args()
    search = MadeUpSearch(Path.cwd())
    if arguments.keep:
        search.folder.selection(arguments.generation).parent.mkdir(parents=True, exist_ok=True)
        search.folder.selection(arguments.generation).touch()
        return
    search.prepare()
    search.breed(arguments.generation)
    if arguments.stop and arguments.generation >= arguments.first:
        if not arguments.loud:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        while True:
            # Not pause(): it would wait for a second signal where Python notes the first just before it.
            time.sleep(0.05)
    values = {number: (None if number == 2 else 3.0 + number, 0.01) for number in range(8)}
    search.finish(arguments.generation, values)


main()
