"""What each part of the report says, in words: its captions, and the lines above everything."""

from __future__ import annotations

import math
from collections.abc import Iterator

import polars as pl

from harmony_core.metrics import LOSS
from harmony_core.report.findings import Findings

HOUR = 3600.0
# What moves a reference by more than this share is told above everything (`latency.marked` takes the same).
_DRIFT = 0.1


def headline(findings: Findings) -> str:
    """The search in a sentence or two."""
    if findings.candidates.is_empty():
        return "No candidate has ended well yet."
    best = findings.candidates.row(0, named=True)
    who = f"{best['architecture_id'][:8]} ({best['family']})"
    told = (
        f"The best of {findings.candidates.height:,} candidates, {who}, reaches "
        f"{best[LOSS]:.4f} validation bits per byte; {findings.candidates['on_front'].sum()} are on the Pareto front."
    )
    return told if findings.verdict is None else f"{told} {test_split(findings)}"


def banners(findings: Findings) -> Iterator[str]:
    """What a reader must know before any number: what is not over, and what the machine did meanwhile."""
    planned = findings.manifest.config["search"]["generations"]
    if findings.generations < planned:
        yield f"Not over: {findings.generations} of {planned} generations have been selected from."
    if findings.manifest.migrated_from is not None:
        version = findings.manifest.migrated_from.get("format_version")
        yield f"Migrated from format version {version}: its losses and latencies do not compare with newer searches'."
    drift = _drift(findings)
    if drift:
        yield drift


def test_split(findings: Findings) -> str:
    """Whether what was found beats the best baseline on fresh seeds and unseen text."""
    verdict = findings.verdict
    if verdict is None:
        return "There is no member of the front beside a baseline that was trained on as many tokens."
    names = verdict.member["architecture_id"][:8], verdict.baseline["name"]
    amount = f"{abs(verdict.difference):.4f} bits/byte {'below' if verdict.difference < 0 else 'above'}"
    said = f"On the test split, {names[0]} is {amount} the best baseline, {names[1]}"
    if verdict.interval is None:
        return f"{said}, on one seed: no interval, so chance is not excluded."
    low, high = verdict.interval
    between = f"95% interval of the difference {low:+.4f} to {high:+.4f}, {verdict.runs} paired seeds"
    if low <= 0 <= high:
        return f"{said} ({between}): these runs do not tell which is better."
    return f"{said} ({between}): {'better' if high < 0 else 'worse'} beyond the chance of seeds."


def training_curves(findings: Findings) -> str:
    """Who ends lowest, and whether training was over."""
    if findings.curves.is_empty():
        return "No curve of the front is recorded yet."
    places = dict(findings.shown.select("architecture_id", "place").iter_rows())
    ends = findings.curves.group_by("architecture_id", maintain_order=True).last().sort("train_loss")
    name, end = ends.row(0, named=True)["architecture_id"], ends["train_loss"][0]
    curve = findings.curves.filter(pl.col("architecture_id") == name)
    earlier = curve.filter(pl.col("tokens") <= 0.8 * pl.col("tokens").max())["train_loss"]
    about = "From a twentieth of the tokens on; numbers are places in the leaderboard."
    said = f"{about} {places[name]} ends lowest, at {end:.3f} nats/token"
    if earlier.is_empty():
        return f"{said}."
    return f"{said}; over the last fifth of its tokens it fell by {earlier[-1] - end:.3f}. Means over windows of steps."


def best_loss(findings: Findings) -> str:
    """When the best was found."""
    best = findings.progress.drop_nulls("best_val_bits_per_byte")
    if best.is_empty():
        return "Nothing has ended well yet."
    values = best["best_val_bits_per_byte"]
    found = best.filter(values == values[-1])["generation"][0]
    return f"From {values[0]:.4f} to {values[-1]:.4f}; the best was found in generation {found} of {best.height}."


def hypervolume(findings: Findings) -> str:
    """How much the front still grew at the end."""
    volume = findings.progress["hypervolume"].drop_nulls()
    if volume.len() < 2:
        return "The share of the objective space that the front dominates; one generation shows no growth."
    grown, quarter = volume[-1] - volume[0], max(1, volume.len() // 4)
    late = volume[-1] - volume[-1 - quarter]
    said = f"The share of the objective space that the front dominates: from {volume[0]:.4f} to {volume[-1]:.4f}."
    if grown <= 0:
        return f"{said} No generation after the first added anything."
    rest = "; more generations may find more" if late / grown > 0.1 else "; the search had levelled off"
    return f"{said} The last {quarter} of {volume.len()} generations brought {late / grown:.0%} of the growth{rest}."


def device_time(findings: Findings) -> str:
    """What it took, and what was lost."""
    total = math.fsum(findings.device_time["seconds"])
    if not total:
        return "No device time is recorded yet."
    first = findings.device_time.row(0, named=True)
    lost = math.fsum(findings.device_time["failed_seconds"]) / total
    share = f"{first['seconds'] / total:.0%} of them in {first['stage']}"
    return (
        f"{total / HOUR:.3g} device-hours (of GPUs, or where there are none of CPU slots), {share}; {lost:.1%} went to "
        "candidates that failed."
    )


def _drift(findings: Findings) -> str:
    if findings.reference is None:
        return ""
    low, high = findings.reference
    marked = findings.candidates["latency_marked"].sum()
    if not marked and high <= (1 + _DRIFT) * low:
        return ""
    said = (
        f"The machine drifted: its reference took {1e3 * low:.3g} to {1e3 * high:.3g} ms, a factor of {high / low:.2f}."
    )
    if not findings.manifest.has_relative_latency:
        return f"{said} Latencies are raw, so differences below that factor mean nothing."
    during = f" {marked} latencies marked ~ were taken while it moved by more than 10%." if marked else ""
    return f"{said} Latencies are relative to it, which takes out what both share.{during}"
