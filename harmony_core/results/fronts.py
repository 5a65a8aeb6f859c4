"""What the trade-off is, by the search's own objectives and its algorithm's word on targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from harmony_core.metrics import LOSS
from harmony_core.results.summaries import LEFT_OUT, Summaries
from harmony_core.results.views import ended_well, front, promoted_latency
from harmony_core.store.evaluators import KEY
from harmony_core.store.queries import Search
from harmony_core.store.schemas import POPULATION


def constrained(settings: Mapping[str, Any]) -> bool:
    """Whether a recorded section `search` takes targets as constraints, as its algorithm says."""
    # Importing the algorithms takes as long as all that is asked of most searches, which have no targets.
    from harmony_core.evolution.algorithms import read_algorithm

    algorithm = settings.get("algorithm")
    # A single training has none, and nobody was selected there.
    return algorithm is None or read_algorithm(algorithm).targets_are_constraints


def pareto_front(search: Search | Summaries) -> pl.LazyFrame:
    """The rows of `leaderboard` that no other row beats in one objective without losing in another.

    Targets are constraints here as they are in the selection: where any candidate meets them all,
    only such candidates are on the front. To an algorithm such as `fitness` they are no constraints.
    """
    summaries = search if isinstance(search, Summaries) else Summaries(search)
    rows = summaries.completed(front_of(summaries), [*summaries.schema, *LEFT_OUT])
    first = [name for name in POPULATION.names if name in rows.columns]
    return rows.select(*first, pl.exclude(first)).lazy()


def front_of(summaries: Summaries) -> pl.DataFrame:
    """The front's rows in the leaderboard's order, of which `Summaries.completed` has the other columns."""
    rows = ended_well(summaries, summaries.objectives)
    has_targets = any(one["target"] is not None for one in summaries.config["search"]["objectives"])
    return front(rows, summaries.objectives, has_targets and constrained(summaries.config["search"])).sort(LOSS, *KEY)


def again_on(rows: pl.DataFrame, summaries: Summaries) -> pl.DataFrame:
    """A front's rows with `latency_again_seconds` and `confirmed`, as `front_again` has them.

    Args:
        rows: of the front, with architecture_id, the key and the objectives.
        summaries: their search's.
    """
    mode = summaries.config["latency"]["objective"]
    times = promoted_latency(summaries.folder, mode).filter(pl.col("source") == "measured")
    first = times.unique("architecture_id", keep="first")
    again = first.select("architecture_id", latency_again_seconds="latency_seconds").collect()
    rows = rows.join(again, on="architecture_id", how="left", maintain_order="left")
    measured_again = rows.filter(pl.col("latency_again_seconds").is_not_null())
    measured_again = measured_again.with_columns(latency_seconds="latency_again_seconds")
    kept = front(measured_again, summaries.objectives, constrained=False).select(*KEY, confirmed=pl.lit(True))
    confirmed = pl.when(pl.col("latency_again_seconds").is_not_null()).then(pl.col("confirmed").fill_null(False))
    return rows.join(kept, on=KEY, how="left", maintain_order="left").with_columns(confirmed=confirmed)


def front_again(search: Search) -> pl.LazyFrame:
    """`pareto_front` beside what promotion measured again, the whole front in turns.

    Two more columns: latency_again_seconds, and `confirmed`, whether the row is on the front of all these with the
    latencies measured again. Both are null where it was not measured again, or failed.
    """
    summaries = Summaries(search)
    return again_on(pareto_front(summaries).collect(), summaries).lazy()
