"""Everything the report shows, read once from a search's tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from harmony_core.architecture import Architecture
from harmony_core.errors import UserError
from harmony_core.metrics import LOSS
from harmony_core.report.damage import Gap, WithoutDamage, damaged_gaps, missing_gaps
from harmony_core.report.device_time import device_time
from harmony_core.report.family import family_of_pattern
from harmony_core.report.printable import printable
from harmony_core.report.promotion import OWN_SIZE, Verdict, test_results, verdict
from harmony_core.results import front, leaderboard, reference_latency
from harmony_core.results.budget import spending
from harmony_core.results.framing import read_frame
from harmony_core.results.fronts import constrained, front_again
from harmony_core.results.hypervolume import hypervolume
from harmony_core.space import Composition, Space, composition, space_prior
from harmony_core.store import (
    LEDGER,
    Manifest,
    SearchFolder,
    curves,
    latency,
    ledger,
    population,
    read_manifest,
    selection,
)
from harmony_core.store.queries import scan

# So many members of the front have their training curves and diagrams shown; more lines cannot be told apart.
MAX_SHOWN = 8

# Curves are reduced to so many points, which is more than a figure's pixels can show.
MAX_CURVE_POINTS = 120


# Text of candidates that figures show, which a file or a plug-in may have brought.
_OF_STRANGERS = ("name", "operator", "pattern")


@dataclass(frozen=True)
class Findings:
    """A search's results as the report's figures and tables need them.

    Args:
        name: the search's.
        manifest: what was searched, and on what.
        candidates: all that are ok, lowest validation bits per byte first, with `place` in that order from 1, `family`,
            `on_front`, and of the front what was measured again (`evolution.fronts`).
        baselines: presets that were trained on as many tokens as the candidates, by the search or by promotion: name
            and the columns of `candidates` that both have.
        shown: the first members of the front, at most `MAX_SHOWN`.
        curves: architecture_id, tokens and mean training loss of `shown`, reduced to windows.
        progress: a row a generation: bred, ok, best validation bits per byte so far, hypervolume so far.
        failures: draws thrown away and candidates that failed (`store.ledger`), summed over generations.
        promoted: what was trained again and read on the test split (`promotion.test_results`), with `family`; no rows
            before promotion.
        verdict: the best of them beside the best baseline; None where one is not there.
        left_out: how many the budget kept from promotion, and why; empty where it kept none.
        spending: what was spent of the budget; None without one.
        devices: on which latencies were measured.
        gaps: files of the search that are gone or damaged, and what is not told for that reason.
        device_time: what was taken of devices (`device_time.device_time`).
        generations: how many have been selected from.
        prior: what samples of the space are made of; None of a migrated search, which was sampled otherwise.
        survived: what the survivors of the last selection are made of; None before one.
        reference: the least and the most that the reference took beside them [s]; None where none was measured.
    """

    name: str
    manifest: Manifest
    candidates: pl.DataFrame
    baselines: pl.DataFrame
    shown: pl.DataFrame
    curves: pl.DataFrame
    progress: pl.DataFrame
    failures: pl.DataFrame
    promoted: pl.DataFrame
    verdict: Verdict | None
    left_out: str
    spending: str | None
    devices: tuple[str, ...]
    prior: Composition | None
    survived: Composition | None
    reference: tuple[float, float] | None
    gaps: tuple[Gap, ...]
    device_time: pl.DataFrame
    generations: int

    @property
    def objectives(self) -> list[str]:
        """Names of what was searched for."""
        return [objective["name"] for objective in self.manifest.config["search"]["objectives"]]

    @property
    def latency_setting(self) -> str:
        """What `latency_seconds` is of: mode, batch and context, and what was measured or predicted."""
        latency = self.manifest.config["latency"]
        sizes = f"batch {latency['batch_size']}, context {latency['context']}"
        is_relative = latency["source"] == "measured" and self.manifest.has_relative_latency
        beside = f" relative to {latency['reference']}" if is_relative else ""
        return f"{latency['objective']}, {sizes}, {latency['source']}{beside}"

    @property
    def latency_told(self) -> str:
        """`latency_setting`, and on which devices."""
        return " on ".join([self.latency_setting, *([", ".join(self.devices)] if self.devices else [])])


def gather(folder: SearchFolder, whole: bool = False) -> Findings:
    """Reads a search, finished or not.

    Args:
        folder: the search's.
        whole: whether a damaged table is an error, and not a gap that the report tells of.

    Raises:
        UserError: a table is damaged, where all of it is asked for; the manifest is, in any case.
    """
    gaps = missing_gaps(folder)
    try:
        return _gather(folder, gaps)
    except UserError:
        # What is damaged is looked for where something is, since that reads every table once more.
        damaged = [] if whole else damaged_gaps(folder)
        if not damaged:
            raise
    return _gather(WithoutDamage(folder.path, frozenset(gap.path for gap in damaged)), [*damaged, *gaps])


def _gather(folder: SearchFolder, gaps: Sequence[Gap]) -> Findings:
    manifest = read_manifest(folder.manifest)
    candidates = _candidates(folder)
    shown = candidates.filter("on_front").head(MAX_SHOWN)
    is_shown = pl.col("architecture_id").is_in(shown["architecture_id"].to_list())
    failures = ledger(folder).group_by("stage", "reason").agg(pl.col("count").sum()).sort("stage", "reason")
    promoted = _with_family(test_results(folder))
    return Findings(
        name=folder.name,
        manifest=manifest,
        candidates=candidates,
        baselines=_baselines(manifest, candidates, promoted),
        shown=shown,
        curves=_reduced_curves(curves(folder, keep=is_shown), shown),
        progress=_progress(folder, manifest, candidates),
        failures=failures.collect(),
        promoted=promoted,
        verdict=verdict(folder, promoted),
        left_out=_left_out(folder),
        spending=spending(folder),
        devices=_devices(folder),
        prior=_prior(manifest),
        survived=_survived(folder),
        reference=reference_latency(folder),
        gaps=tuple(gaps),
        device_time=device_time(folder),
        generations=sum(folder.selection(generation).is_file() for generation in folder.generations()),
    )


def _candidates(folder: SearchFolder) -> pl.DataFrame:
    kept = ("generation", "candidate", "latency_again_seconds", "confirmed")
    on_front = front_again(folder).select(*kept, on_front=pl.lit(True)).collect()
    rows = leaderboard(folder).collect().with_row_index("place", 1)
    rows = rows.join(on_front, on=["generation", "candidate"], how="left", maintain_order="left")
    return _with_family(rows.with_columns(pl.col("on_front").fill_null(False)))


def _with_family(rows: pl.DataFrame) -> pl.DataFrame:
    families = [family_of_pattern(pattern).name for pattern in rows["pattern"]]
    told = [pl.Series(name, [text and printable(text) for text in rows[name]], pl.String) for name in _OF_STRANGERS]
    return rows.with_columns(pl.Series("family", families, pl.String), *told)


def _baselines(manifest: Manifest, candidates: pl.DataFrame, promoted: pl.DataFrame) -> pl.DataFrame:
    """Presets whose losses compare with the candidates'; of those that both trained, promotion's fresh seeds count."""
    again = promoted.filter(
        OWN_SIZE,
        pl.col("role") == "baseline",
        pl.col("tokens") == manifest.config["recipe"]["tokens"],
        pl.col(LOSS).is_not_null(),
    )
    named = candidates.filter(pl.col("name").is_not_null())
    columns = [name for name in candidates.columns if name in promoted.columns]
    return pl.concat([again.select(columns), named.select(columns)]).unique(
        "architecture_id", keep="first", maintain_order=True
    )


def _prior(manifest: Manifest) -> Composition | None:
    if manifest.migrated_from is not None:
        return None
    return space_prior(Space.read(manifest.config["space"]), manifest.data["vocab_size"])


def _survived(folder: SearchFolder) -> Composition | None:
    selected = selection(folder)
    last = selected.filter(pl.col("survives"), pl.col("generation") == pl.col("generation").max())
    born = population(folder, columns=["architecture_id", "architecture"]).unique("architecture_id")
    texts = born.join(last, on="architecture_id", how="semi").sort("architecture_id").collect()["architecture"]
    return composition([Architecture.from_json(text) for text in texts]) if len(texts) else None


def _devices(folder: SearchFolder) -> tuple[str, ...]:
    times = latency(folder).filter(~pl.col("source").str.starts_with("predicted:"), pl.col("device") != "")
    return tuple(times.select(pl.col("device").unique().sort()).collect()["device"])


def _left_out(folder: SearchFolder) -> str:
    rows = scan([folder.ledger(None)], LEDGER).select("count", "reason").collect()
    return "; ".join(f"{count} left out: {reason}" for count, reason in rows.iter_rows())


def _progress(folder: SearchFolder, manifest: Manifest, candidates: pl.DataFrame) -> pl.DataFrame:
    settings = manifest.config["search"]
    names = [objective["name"] for objective in settings["objectives"]]
    bred = dict(population(folder).group_by("generation").len().collect().iter_rows())
    frame, rows = read_frame(folder, manifest), []
    for generation in folder.generations():
        if not folder.population(generation).is_file():
            continue
        so_far = candidates.filter(pl.col("generation") <= generation)
        best = so_far["val_bits_per_byte"].min()
        volume = None if frame is None else hypervolume(front(so_far, names, constrained(settings)), names, frame)
        ok = candidates.filter(pl.col("generation") == generation).height
        rows.append((generation, bred.get(generation, 0), ok, best, volume))
    schema = {
        "generation": pl.Int32,
        "bred": pl.Int64,
        "ok": pl.Int64,
        "best_val_bits_per_byte": pl.Float64,
        "hypervolume": pl.Float64,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def _reduced_curves(steps: pl.LazyFrame, shown: pl.DataFrame) -> pl.DataFrame:
    """Mean loss over equal windows of steps, so that noise and size do not grow with the budget."""
    keys = ["generation", "candidate", "rate"]
    chosen = steps.filter(pl.col("replicate") == 0).join(shown.lazy().select(keys), on=keys, how="semi")
    chosen = chosen.filter(pl.col("rung") == pl.col("rung").max().over(keys))
    last_step = pl.col("step").max().over(keys)
    window = ((pl.col("step") - 1) * MAX_CURVE_POINTS // last_step.clip(lower_bound=MAX_CURVE_POINTS)).alias("w")
    return (
        chosen.group_by("architecture_id", window)
        .agg(pl.col("tokens").max(), pl.col("train_loss").sort_by("step").mean())
        .drop("w")
        .sort("architecture_id", "tokens")
        .collect()
    )
