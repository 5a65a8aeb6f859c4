"""The front of a search and every nano baseline, trained again on fresh seeds and read on the test split."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from benchmarks.common import ROOT, run_search, write_result
from harmony_core.base import read_yaml
from harmony_core.store import latency, promoted_results

# Active non-embedding parameters of the nano presets lie in this range, so that any two models of the
# table are of equal budget: within 2% of each other, and trained on equally many tokens.
BUDGET = {"min": 977_000, "max": 996_000}
BASELINES = ["llama-nano", "mixtral-nano", "jamba-nano", "samba-nano", "mamba-2-nano", "deepseek-nano"]
COUNTS = ("num_params", "num_active_params", "num_active_non_embedding_params", "flops_per_token", "kv_bytes_per_token")


def write_config(folder: Path) -> Path:
    """The demo's configuration, in a space of one budget, with a promotion of front and baselines."""
    space = read_yaml(ROOT / "resources" / "spaces" / "nano.yaml")
    space["constraints"]["num_active_non_embedding_params"] = BUDGET
    (folder / "space.yaml").write_text(yaml.safe_dump(space))
    config = read_yaml(ROOT / "config" / "nano.yaml")
    config["search"] |= {
        "name": "baselines",
        "objectives": [{"name": "val_bits_per_byte"}, {"name": "latency_seconds"}],
    }
    config["space"] = str(folder / "space.yaml")
    config["data"]["fallback"] = None
    config["latency"]["modes"] = ["prefill", "decode"]
    config["promote"] = {"top_k": 3, "replicates": 3, "baselines": BASELINES}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def table(search: Path) -> list[dict[str, Any]]:
    """A row a model, best mean test bits per byte first."""
    medians = latency(search, promoted=True).collect().pivot("mode", index="candidate", values="seconds_median")
    rows = promoted_results(search).join(medians.lazy(), on="candidate", how="left")
    named = rows.with_columns(
        model=pl.coalesce("name", pl.format("found {}", pl.col("architecture_id").str.head(8))),
    )
    columns = ["model", "role", "pattern", "runs", "failed", "test_bits_per_byte", "test_min", "test_max", "tokens"]
    table = named.select(*columns, *COUNTS, "prefill", "decode")
    return table.sort("test_bits_per_byte", nulls_last=True).collect().to_dicts()


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table as the README shows it."""
    lines = [
        "| model | test bits/byte, mean (min to max) | runs | active non-embedding | FLOPs/token, training "
        "| prefill, batch 4 x 256 | decode, batch 4 | blocks |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        test = "failed"
        if row["runs"]:
            test = f"{row['test_bits_per_byte']:.3f} ({row['test_min']:.3f} to {row['test_max']:.3f})"
        costs = f"{row['num_active_non_embedding_params'] / 1e6:.2f} M | {row['flops_per_token'] / 1e6:.1f} M"
        times = f"{row['prefill'] * 1e3:.1f} ms | {row['decode'] * 1e3:.2f} ms"
        lines.append(f"| {row['model']} | {test} | {row['runs']} | {costs} | {times} | {row['pattern']} |")
    return "\n".join(lines)


def main() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        run_search(Path(scratch), write_config(Path(scratch)))
        rows = table(Path(scratch) / "results" / "baselines")
    write_result("baselines", {"budget": BUDGET, "models": rows})
    print(markdown(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
