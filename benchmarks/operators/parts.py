"""What each part measures, row by row; a row that cannot be measured says why."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from benchmarks.operators import convolution, cost, decode, delta, memory, short_conv, training, window
from benchmarks.operators.families import training_setting
from benchmarks.operators.isolation import fresh
from benchmarks.operators.mixers import configurations
from benchmarks.operators.settings import COST_WIDTH, MEMORY_PROMISE, PROMPT_LENGTHS, SIDES, Setting
from benchmarks.operators.timing import verdict

Row = dict[str, Any]
# How memory is measured: what tensors take is published, what is resident stands beside it.
METHODS = ("tensors", "resident")
# The fields that say what a row is of.
IDENTITY = ("family", "kind", "what", "setting", "d_model", "prompt_tokens", "sequence_length")


@dataclass(frozen=True)
class Choice:
    """What a run was asked for."""

    families: Sequence[str]
    settings: Sequence[Setting]
    lengths: Sequence[int]
    attention: str
    rounds: int


def training_rows(choice: Choice) -> Iterator[Row]:
    """Families at both settings."""
    for family in choice.families:
        for setting in (training_setting(family, setting) for setting in choice.settings):
            found = fresh(training.measure, family, setting, choice.attention, choice.rounds)
            yield {"family": family, "setting": str(setting), **found}


def decode_rows(choice: Choice) -> Iterator[Row]:
    """Families at both settings' widths after each prompt."""
    for family in choice.families:
        for setting in choice.settings:
            for prompt in PROMPT_LENGTHS:
                found = fresh(decode.measure, family, setting, prompt, choice.attention, choice.rounds)
                yield {"family": family, "d_model": setting.d_model, "prompt_tokens": prompt, **found}


def memory_rows(choice: Choice) -> Iterator[Row]:
    """Families at both settings: what tensors took, beside what the process did."""
    for family in choice.families:
        for setting in (training_setting(family, setting) for setting in choice.settings):
            # Nothing is timed here, so two may run at once.
            with ThreadPoolExecutor(2) as pool:
                asked = {
                    (method, side): pool.submit(fresh, memory.measure, side, family, setting, choice.attention, method)
                    for method in METHODS
                    for side in SIDES
                }
            yield {
                "family": family,
                "setting": str(setting),
                **memory_row({key: future.result() for key, future in asked.items()}),
            }


def memory_row(found: dict[tuple[str, str], Row]) -> Row:
    """One row from four processes: two methods, two sides. The promise is to be kept by both methods."""
    errors = [one["error"] for one in found.values() if "error" in one]
    if errors:
        return {"error": errors[0]}
    peaks = {method: {side: round(sum(found[method, side].values()), 2) for side in SIDES} for method in METHODS}
    ratio = {method: round(peak["harmony"] / peak["transformers"], 3) for method, peak in peaks.items()}
    return {
        "weights_mib": {side: found["tensors", side]["weights_mib"] for side in SIDES},
        "peak_mib": peaks["tensors"],
        "ratio": ratio["tensors"],
        **verdict(max(ratio.values()), MEMORY_PROMISE, at_most=True),
        "resident_peak_mib": peaks["resident"],
        "resident_ratio": ratio["resident"],
    }


def window_rows(choice: Choice) -> Iterator[Row]:
    """Both widths."""
    for setting in choice.settings:
        yield {"d_model": setting.d_model, **fresh(window.measure, setting.d_model, choice.rounds)}


def convolution_rows(choice: Choice) -> Iterator[Row]:
    """Short and medium filters at both widths and every length."""
    for kind in convolution.KINDS:
        for setting in choice.settings:
            for length in choice.lengths:
                found = fresh(convolution.measure, kind, setting.d_model, length, choice.rounds)
                yield {"kind": kind, "d_model": setting.d_model, "sequence_length": length, **found}


def delta_rows(choice: Choice) -> Iterator[Row]:
    """Every delta rule, alone and in its block, at both settings."""
    for kind in delta.FAMILY:
        for what in delta.WHATS:
            for setting in choice.settings:
                found = fresh(delta.measure, kind, what, setting, choice.rounds)
                yield {"kind": kind, "what": what, "setting": str(setting), **found}


def short_conv_rows(choice: Choice) -> Iterator[Row]:
    """Each kernel size, alone and in its block, at both settings."""
    for taps in short_conv.KERNEL_SIZES:
        for what in short_conv.WHATS:
            for setting in choice.settings:
                found = fresh(short_conv.measure, what, taps, setting, choice.rounds)
                yield {"kind": f"short_conv {taps}", "what": what, "setting": str(setting), **found}


def cost_rows(choice: Choice) -> Iterator[Row]:
    """Every kind of mixer."""
    for kind in configurations(COST_WIDTH):
        yield {"kind": kind, "d_model": COST_WIDTH, **fresh(cost.measure, kind, choice.lengths, choice.rounds)}


ROWS: dict[str, Callable[[Choice], Iterator[Row]]] = {
    "training": training_rows,
    "decode": decode_rows,
    "memory": memory_rows,
    "window": window_rows,
    "convolution": convolution_rows,
    "delta": delta_rows,
    "short_conv": short_conv_rows,
    "cost": cost_rows,
}


def run(part: str, choice: Choice) -> list[Row]:
    """All rows of a part; each is told on standard error when it is done."""
    rows = []
    for row in ROWS[part](choice):
        what = ", ".join(str(row[key]) for key in IDENTITY if key in row)
        print(f"{part}: {what}: {row.get('error', 'done')}", file=sys.stderr, flush=True)
        rows.append(row)
    return rows


def broken(rows: Sequence[Row]) -> list[Row]:
    """Rows that break their promise, or were not measured."""
    return [row for row in rows if "error" in row or row["kept"] is False]
