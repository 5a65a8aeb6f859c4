"""One generation of 48 candidates over space nano: every kind of block is sampled, trained and measured, none fails.

About half an hour on two cores. `--population N` and `--space NAME` ask for others.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from benchmarks.common import ROOT, run_search, write_result
from harmony_core.architecture import Architecture
from harmony_core.space import Space
from harmony_core.store import latency, population, training

NAME, CONFIG = "every_mixer", ROOT / "config" / "nano.yaml"


def configuration(size: int, space: str) -> dict[str, Any]:
    """The demo's, with one large generation and no promotion."""
    config: dict[str, Any] = yaml.safe_load(CONFIG.read_text())
    config["search"] |= {"name": NAME, "generations": 1, "population": size}
    return {**config, "space": space, "promote": {"top_k": 0}}


def outcomes(search: Path) -> pl.DataFrame:
    """A row a candidate: its architecture, and in what its training and its latency ended, `absent` without a row."""
    key = ["generation", "candidate"]
    found = population(search).select(*key, "architecture")
    for name, rows in (("training", training), ("latency", latency)):
        ended = rows(search).group_by(key).agg(pl.col("status").unique().sort().str.join(", ").alias(name))
        found = found.join(ended, key, how="left").with_columns(pl.col(name).fill_null("absent"))
    return found.sort(key).collect()


def by_kind(rows: pl.DataFrame, space: Space) -> dict[str, dict[str, int]]:
    """For each kind that the space has, candidates that have it, and those of them that ended well in everything."""
    found = {kind: {"candidates": 0, "ok": 0} for kind in space.blocks}
    for row in rows.iter_rows(named=True):
        for kind in {block.kind for block in Architecture.from_json(row["architecture"]).blocks}:
            found[kind]["candidates"] += 1
            found[kind]["ok"] += row["training"] == row["latency"] == "ok"
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.every_mixer", description=__doc__)
    parser.add_argument("--population", type=int, default=48)
    parser.add_argument("--space", default="nano")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        path = folder / "config.yaml"
        path.write_text(yaml.safe_dump(configuration(asked.population, asked.space)))
        run_search(folder, path)
        rows = outcomes(folder / "results" / NAME)
    kinds = by_kind(rows, Space.from_yaml(asked.space))
    failed = rows.filter((pl.col("training") != "ok") | (pl.col("latency") != "ok"))
    failures = failed.select("candidate", "training", "latency").to_dicts()
    write_result(NAME, {"space": asked.space, "population": len(rows), "kinds": kinds, "failures": failures})
    for kind, counts in kinds.items():
        print(f"{kind:16} {counts['candidates']:3} candidates, {counts['ok']:3} trained and measured")
    absent = [kind for kind, counts in kinds.items() if not counts["ok"]]
    lacking = ", ".join(absent) or "none"
    print(
        f"{len(rows)} candidates, {len(failures)} failed (promise 0); kinds without a result: {lacking} (promise none)"
    )
    return 0 if not failures and not absent else 1


if __name__ == "__main__":
    sys.exit(main())
