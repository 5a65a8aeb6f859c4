"""Everything the report shows, read once from a search's tables."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from harmony_core.evolution.budget import spending
from harmony_core.evolution.hypervolume import hypervolume
from harmony_core.store import (
    LEDGER,
    Manifest,
    SearchFolder,
    curves,
    front,
    latency,
    leaderboard,
    ledger,
    pareto_front,
    population,
    promoted_results,
    read_manifest,
    reference_latency,
)
from harmony_core.store.queries import scan

# Members of the front whose training curves and diagrams are shown; more lines cannot be told apart.
MAX_SHOWN = 8

# Points a curve is reduced to: more than a figure's pixels can show.
MAX_CURVE_POINTS = 120


@dataclass(frozen=True)
class Findings:
    """A search's results as the report's figures and tables need them.

    Args:
        name: the search's.
        manifest: what was searched, and on what.
        candidates: all that are ok, lowest validation bits per byte first, with `on_front`.
        shown: the first members of the front, at most `MAX_SHOWN`.
        curves: architecture_id, tokens and mean training loss of `shown`, reduced to windows.
        progress: a row a generation: bred, ok, best validation bits per byte so far, hypervolume so far.
        failures: draws thrown away and candidates that failed (`store.ledger`), summed over generations.
        promoted: what was trained again and read on the test split; no rows before promotion.
        left_out: how many the budget kept from promotion, and why; empty where it kept none.
        spending: what was spent of the budget; None without one.
        devices: on which latencies were measured.
        reference: the least and the most that the reference took beside them [s]; None where none was measured.
    """

    name: str
    manifest: Manifest
    candidates: pl.DataFrame
    shown: pl.DataFrame
    curves: pl.DataFrame
    progress: pl.DataFrame
    failures: pl.DataFrame
    promoted: pl.DataFrame
    left_out: str
    spending: str | None
    devices: tuple[str, ...]
    reference: tuple[float, float] | None

    @property
    def latency_setting(self) -> str:
        """Which run `latency_seconds` times: mode, batch and context, and whether it was measured."""
        latency = self.manifest.config["latency"]
        sizes = f"batch {latency['batch_size']}, context {latency['context']}"
        return f"{latency['objective']}, {sizes}, {latency['source']}"

    @property
    def latency_told(self) -> str:
        """`latency_setting`, and on which devices."""
        return " on ".join([self.latency_setting, *([", ".join(self.devices)] if self.devices else [])])


def gather(folder: SearchFolder) -> Findings:
    """Reads a search, finished or not.

    Raises:
        UserError: a file of the search is damaged.
    """
    manifest = read_manifest(folder.manifest)
    on_front = pareto_front(folder).select("generation", "candidate").with_columns(on_front=True).collect()
    candidates = (
        leaderboard(folder)
        .collect()
        .join(on_front, on=["generation", "candidate"], how="left", maintain_order="left")
        .with_columns(pl.col("on_front").fill_null(False))
    )
    shown = candidates.filter("on_front").head(MAX_SHOWN)
    failures = ledger(folder).group_by("stage", "reason").agg(pl.col("count").sum()).sort("stage", "reason")
    return Findings(
        name=folder.name,
        manifest=manifest,
        candidates=candidates,
        shown=shown,
        curves=_reduced_curves(curves(folder), shown),
        progress=_progress(folder, manifest, candidates),
        failures=failures.collect(),
        promoted=promoted_results(folder).collect(),
        left_out=_left_out(folder),
        spending=spending(folder),
        devices=_devices(folder),
        reference=reference_latency(folder),
    )


def _devices(folder: SearchFolder) -> tuple[str, ...]:
    times = latency(folder).filter(~pl.col("source").str.starts_with("predicted:"), pl.col("device") != "")
    return tuple(times.select(pl.col("device").unique().sort()).collect()["device"])


def _left_out(folder: SearchFolder) -> str:
    rows = scan([folder.ledger(None)], LEDGER).select("count", "reason").collect()
    return "; ".join(f"{count} left out: {reason}" for count, reason in rows.iter_rows())


def _progress(folder: SearchFolder, manifest: Manifest, candidates: pl.DataFrame) -> pl.DataFrame:
    settings = manifest.config["search"]
    names = [objective["name"] for objective in settings["objectives"]]
    constrained = settings["algorithm"]["kind"] != "fitness"
    bred = dict(population(folder).group_by("generation").len().collect().iter_rows())
    rows = []
    for generation in folder.generations():
        if not folder.population(generation).is_file():
            continue
        so_far = candidates.filter(pl.col("generation") <= generation)
        best = so_far["val_bits_per_byte"].min()
        volume = hypervolume(front(so_far, names, constrained), names, manifest.hypervolume)
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
    keys = ["generation", "candidate"]
    chosen = steps.filter(pl.col("replicate") == 0).join(shown.lazy().select(keys), on=keys, how="semi")
    last_step = pl.col("step").max().over(keys)
    window = ((pl.col("step") - 1) * MAX_CURVE_POINTS // last_step.clip(lower_bound=MAX_CURVE_POINTS)).alias("w")
    return (
        chosen.group_by("architecture_id", window)
        .agg(pl.col("tokens").max(), pl.col("train_loss").sort_by("step").mean())
        .drop("w")
        .sort("architecture_id", "tokens")
        .collect()
    )
