"""The rows of each part as text, for the terminal and for the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from harmony_core.report.tables import Table

Row = dict[str, Any]
NONE = "-"


def table(part: str, rows: Sequence[Row]) -> Table:
    """A part's table; a row without figures has the reason in their place."""
    headers, identity, cells = _PARTS[part]
    names = headers.split("|")
    body = []
    for row in rows:
        known = [str(row[key]) for key in identity]
        if "error" in row:
            blank = [NONE] * (len(names) - len(identity) - 1)
            body.append((*known, *blank, f"not measured: {row['error']}"))
        else:
            body.append((*known, *cells(row), *_judged(row)))
    return Table(tuple(names), tuple(body))


def _judged(row: Row) -> tuple[str, str]:
    word = {True: "kept", False: "BROKEN", None: NONE}[row["kept"]]
    return (NONE if row["promise"] is None else str(row["promise"]), word)


def _range(found: dict[str, float], text: str = "{:.2f}") -> str:
    """Median (min to max)."""
    median, low, high = (text.format(found[name]) for name in ("median", "min", "max"))
    return f"{median} ({low} to {high})"


def _speeds(row: Row) -> tuple[str, ...]:
    return tuple(_range(each, "{:,.0f}") for each in row["tokens_per_second"].values())


def _training(row: Row) -> tuple[str, ...]:
    return (*_speeds(row), f"{row['loss_relative_difference']:.0e}", _range(row["ratio"]))


def _decode(row: Row) -> tuple[str, ...]:
    return (*_speeds(row), _range(row["prompt_ratio"]), f"{row['last_logits_difference']:.0e}", _range(row["ratio"]))


def _memory(row: Row) -> tuple[str, ...]:
    peaks = tuple(f"{value:,.1f}" for value in row["peak_mib"].values())
    resident = tuple(f"{value:,.1f}" for value in row["resident_peak_mib"].values())
    return (*peaks, *resident, f"{row['resident_ratio']:.2f}", f"{row['ratio']:.3f}")


def _window(row: Row) -> tuple[str, ...]:
    return (*(_range(row["milliseconds"][kind], "{:.1f}") for kind in ("swa", "gqa")), _range(row["ratio"]))


def _convolution(row: Row) -> tuple[str, ...]:
    times = row["milliseconds"]
    both = (" + ".join(f"{times[way][name]['median']:.2f}" for name in ("forward", "backward")) for way in times)
    direct = " + ".join(f"{found['median']:.2f}" for found in row["ratio"]["direct"].values())
    return (*both, direct, *(_range(found) for found in row["ratio"]["blocked"].values()))


def _operator(row: Row) -> tuple[str, ...]:
    return (*(_range(each, "{:.1f}") for each in row["milliseconds"].values()), _range(row["ratio"]))


def _cost(row: Row) -> tuple[str, ...]:
    curve = ", ".join(f"{each['median']:.3g}" for each in row["milliseconds"].values())
    found = row["exponent"]
    return (curve, f"{found['fitted']:.2f} ({found['min']:.2f} to {found['max']:.2f})")


_SIDES = "ours [tokens/s]|transformers [tokens/s]"
_OPERATOR = (
    "kind|what|setting|ours, forward and backward [ms]|transformers|ratio (range)|promised at least|verdict",
    ("kind", "what", "setting"),
    _operator,
)
# Headers, the fields that say what a row is of, and the cells of its figures.
_PARTS: dict[str, tuple[str, tuple[str, ...], Callable[[Row], tuple[str, ...]]]] = {
    "training": (
        f"family|setting|{_SIDES}|loss difference|ratio (range)|promised at least|verdict",
        ("family", "setting"),
        _training,
    ),
    "decode": (
        f"family|d|prompt|{_SIDES}|ratio of the prompt's time|last logits' difference|ratio (range)"
        "|promised at least|verdict",
        ("family", "d_model", "prompt_tokens"),
        _decode,
    ),
    "memory": (
        "family|setting|ours [MiB]|transformers [MiB]|resident, ours|resident, theirs|resident ratio|ratio"
        "|promised at most|verdict",
        ("family", "setting"),
        _memory,
    ),
    "window": (
        "d|window alone [ms]|full attention alone [ms]|ratio (range)|promised at least|verdict",
        ("d_model",),
        _window,
    ),
    "convolution": (
        "kind|d|T|blocked, forward + backward [ms]|FFT|direct|FFT / direct|FFT / blocked, forward|backward"
        "|promised above|verdict",
        ("kind", "d_model", "sequence_length"),
        _convolution,
    ),
    "delta": _OPERATOR,
    "short_conv": _OPERATOR,
    "cost": ("kind|d|milliseconds a sequence, by length|exponent (range)|promised|verdict", ("kind", "d_model"), _cost),
}
