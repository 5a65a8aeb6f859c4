"""`python -m benchmarks.operators`: runs the parts, prints their tables, and exits with 1 where a promise is broken."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from importlib.metadata import version
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable

import benchmarks.operators as package
from benchmarks.common import RESULTS, write_result
from benchmarks.operators import settings
from benchmarks.operators.families import FAMILIES
from benchmarks.operators.page import TITLES, html_page
from benchmarks.operators.parts import Choice, broken, run
from benchmarks.operators.tables import table

NOTE = (
    "One thread, fp32, no compilation. Both sides have the same weights, live in one process with one allocator's "
    "settings and take turns; ratios are medians (and ranges) of the rounds' own. Memory: each side in a process of "
    "its own; tensors are what torch.profiler saw allocated and released, weights and gradients included; resident "
    "is the weights and the rise of the process's resident memory, which oneDNN's own buffers are part of."
)


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.operators", description=package.__doc__)
    widths = [setting.d_model for setting in settings.SETTINGS]
    parser.add_argument("--parts", nargs="+", choices=settings.PARTS, default=list(settings.PARTS))
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--widths", nargs="+", type=int, choices=widths, default=widths, help="settings, by d")
    parser.add_argument("--lengths", nargs="+", type=int, default=list(settings.LENGTHS), help="convolution and cost")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--attention", choices=("eager", "sdpa"), default="eager", help="the peer's implementation")
    parser.add_argument("--name", help="writes results/NAME.json and .html; a run of everything writes operators")
    return parser


def main() -> int:
    parser = arguments()
    asked = parser.parse_args()
    asked_of_all = {key: value for key, value in vars(asked).items() if key not in ("rounds", "name")}
    if asked.name is None and all(parser.get_default(key) == value for key, value in asked_of_all.items()):
        asked.name = "operators"
    chosen = [setting for setting in settings.SETTINGS if setting.d_model in asked.widths]
    choice = Choice(asked.families, chosen, asked.lengths, asked.attention, asked.rounds)
    start, parts = time.perf_counter(), {}
    for part in asked.parts:
        parts[part] = run(part, choice)
        show(part, parts[part])
    if asked.name:
        write(asked.name, choice, parts, time.perf_counter() - start)
    return int(any(broken(rows) for rows in parts.values()))


def show(part: str, rows: list[dict[str, Any]]) -> None:
    """Prints a part's table."""
    text = table(part, rows)
    shown = RichTable(*text.headers, title=TITLES[part])
    for row in text.rows:
        shown.add_row(*row)
    # As wide as it is: a file or a pipe has no width, and a table cut off says nothing.
    Console(width=None if sys.stdout.isatty() else 200).print(shown)


def write(name: str, choice: Choice, parts: dict[str, list[dict[str, Any]]], seconds: float) -> None:
    """Writes the figures with their circumstances, and the page beside them."""
    figures = {
        "command": shlex.join(["python", "-m", "benchmarks.operators", *sys.argv[1:]]),
        "note": NOTE,
        "transformers": version("transformers"),
        "threads": 1,
        "precision": "fp32",
        "seed": settings.SEED,
        "rounds": choice.rounds,
        "attention": choice.attention,
        "vocab_size": settings.VOCAB_SIZE,
        "layers": settings.NUM_LAYERS,
        "decode": {"batch_size": settings.DECODE_BATCH, "new_tokens": settings.NEW_TOKENS},
        "families": {
            family: {setting.d_model: FAMILIES[family](setting.d_model) for setting in choice.settings}
            for family in choice.families
        },
        "seconds": round(seconds),
        "broken": {part: len(broken(rows)) for part, rows in parts.items()},
        "parts": parts,
    }
    write_result(name, figures)
    written = json.loads((RESULTS / f"{name}.json").read_text())
    (RESULTS / f"{name}.html").write_text(html_page(written))


if __name__ == "__main__":
    sys.exit(main())
