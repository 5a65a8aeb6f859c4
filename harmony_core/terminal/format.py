"""Numbers as people read them."""

from __future__ import annotations

from harmony_core.metrics import Metric


def count(value: float) -> str:
    """Three significant digits with a metric suffix: 771K, 1.24B."""
    for limit, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{suffix}" if value < 999.5 * limit else f"{value / limit:.0f}{suffix}"
    return f"{value:g}"


def seconds(value: float | None) -> str:
    """Three significant digits in s, ms or us; a dash where nothing was measured."""
    if value is None:
        return "-"
    for limit, suffix in ((1.0, "s"), (1e-3, "ms")):
        # A value that rounds to a thousand of the next smaller unit is shown as one of this.
        if value >= 0.9995 * limit:
            return f"{value / limit:.3g} {suffix}" if value < 999.5 * limit else f"{value / limit:.0f} {suffix}"
    return f"{value * 1e6:.3g} us"


def latency_cell(value: float | None, marked: bool | None) -> str:
    """A latency, with a `~` where its reference would not keep still."""
    return f"~{seconds(value)}" if marked else seconds(value)


def value_text(declared: Metric, value: float | None) -> str:
    """A value as its metric's format says; a dash where nothing was measured."""
    if value is None or declared.format == "seconds":
        return seconds(value)
    return f"{value:.3f}" if declared.format == "decimal" else count(value)
