"""`harmony grow`: a small design as a large one, in depth and in width."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from harmony_core.architecture import Architecture
from harmony_core.architecture.presets import load_preset, preset_names
from harmony_core.cli.candidate import SearchOption, find_candidate
from harmony_core.errors import UserError
from harmony_core.scaling import width
from harmony_core.scaling.extrapolate import deepened
from harmony_core.scaling.pattern import is_pattern, pattern_text, read_pattern, with_blocks_of
from harmony_core.scaling.resize import body_params
from harmony_core.terminal.format import count

console = Console(highlight=False, soft_wrap=True)

# Composer fixes its two primitives to this model's.
LIKE = "llama-3.2-1b"
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_NUMBER = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)([KMBT]?)", re.IGNORECASE)
_READING = "our reading of Composer (arXiv:2510.00379), whose code was never released"


def grow_architecture(
    arch: Annotated[str, typer.Argument(help="A pattern such as 2A+4M, a preset, a YAML file, or a candidate's id.")],
    by: Annotated[str | None, typer.Option(help="How its blocks become more: stack or stretch.")] = None,
    blocks: Annotated[int | None, typer.Option(min=1, max=10_000, help="How many blocks it shall have.")] = None,
    to_params: Annotated[
        str | None,
        typer.Option(
            help="Solve the width for so many active parameters without embeddings: 1B, or an architecture's."
        ),
    ] = None,
    to_state: Annotated[
        int | None, typer.Option(min=1, max=10**15, help="Solve token mixers' states for so many elements a sequence.")
    ] = None,
    context: Annotated[int, typer.Option(min=1, max=2**24, help="Tokens in the cache, for --to-state.")] = 2048,
    like: Annotated[
        str | None, typer.Option(help=f"Whose width, vocabulary and blocks it has; {LIKE} for a pattern.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Also write it to this YAML file.")] = None,
    search: SearchOption = None,
) -> None:
    """A small design as a large one: stacked or stretched to a depth, its width solved for parameters or state."""
    small = _small(arch, like, search)
    if (by is None) != (blocks is None):
        raise UserError("by", by or "missing", "a new depth has a way and a number of blocks; give --by and --blocks")
    grown = small if by is None or blocks is None else deepened(small, by, blocks)
    if to_params is not None:
        grown = width.to_params(grown, _params(to_params))
    if to_state is not None:
        grown = width.to_state(grown, to_state, context)
    console.print(f"[bold]{grown.id}[/]  {pattern_text(grown)}")
    console.print(f"{len(grown.blocks)} blocks ({grown.num_mixers} token mixers) at width {grown.d_model}")
    size = body_params(grown)
    console.print(f"{size:,} active parameters without embeddings ({count(size)}), {count(grown.num_params())} in all")
    if like is not None or is_pattern(arch):
        name = like or LIKE
        share = size / body_params(load_preset(name)) - 1
        console.print(f"without embeddings {share:+.1%} beside {name}")
    if by is not None:
        console.print(f"{by}: {_READING}")
    if out is not None:
        grown.to_yaml(out)


def _small(arch: str, like: str | None, search: Path | None) -> Architecture:
    if is_pattern(arch):
        return with_blocks_of(read_pattern(arch), load_preset(like or LIKE), like or LIKE)
    is_file = arch.endswith((".yaml", ".yml"))
    found = load_preset(arch) if is_file or arch in preset_names() else _candidate(arch, search)
    if like is None:
        return found
    return with_blocks_of([block.kind for block in found.blocks], load_preset(like), like)


def _candidate(arch: str, search: Path | None) -> Architecture:
    _, row = find_candidate(arch, search)
    return Architecture.from_json(row["architecture"])


def _params(text: str) -> int:
    """A number with a suffix, or what an architecture has."""
    number = _NUMBER.fullmatch(text)
    if number is None:
        return body_params(load_preset(text))
    found = round(float(number[1]) * _UNITS[number[2].upper()])
    if found < 1:
        raise UserError("to_params", text, "use a positive number, such as 1B, or a preset's name")
    return found
