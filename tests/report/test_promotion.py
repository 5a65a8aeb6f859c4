"""What is concluded of the test split: intervals by hand, and verdicts from differences seed by seed."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from harmony_core.report import conclusions
from harmony_core.report.findings import gather
from harmony_core.store import POPULATION, TRAINING, SearchFolder, write_table
from tests.report.conftest import GENERATIONS, begin, write_generation


def promoted(root: Path, member: list[float], baseline: list[float]) -> SearchFolder:
    """A search that promoted one of its front and a baseline, with these test losses by replicate."""
    folder = begin(root)
    write_generation(folder, 0, GENERATIONS[0])
    write_generation(folder, None, (("mixtral-nano", 2.3, 0.06), ("llama-nano", 2.4, 0.04)))
    people = pl.read_parquet(folder.population(None)).to_dicts()
    people[0] |= {"role": "front", "operator": "promoted from the front"}
    people[1] |= {"role": "baseline", "name": "llama-nano", "operator": "preset llama-nano"}
    write_table(folder.population(None), people, POPULATION)
    path = folder.shard(None, "training", 0)
    rows = [
        {**row, "replicate": number, "test_bits_per_byte": value, "test_standard_error": 0.1}
        for row, values in zip(pl.read_parquet(path).to_dicts(), (member, baseline), strict=True)
        for number, value in enumerate(values)
    ]
    write_table(path, rows, TRAINING)
    return folder


def test_intervals_by_hand_and_a_verdict_that_pairs_seeds(tmp_path: Path) -> None:
    # The two intervals overlap; seed by seed the member is better by 0.1, 0.1 and 0.1.
    findings = gather(promoted(tmp_path, [2.3, 2.4, 2.5], [2.4, 2.5, 2.6]))
    first = findings.promoted.row(0, named=True)
    # Student's t with two degrees of freedom is 4.3027, the standard error 0.1 / sqrt(3).
    assert (first["test_low"], first["test_high"]) == pytest.approx((2.4 - 0.24841, 2.4 + 0.24841), abs=1e-5)
    assert first["interval_of"] == "seeds"
    assert findings.verdict is not None
    assert findings.verdict.interval == pytest.approx((-0.1, -0.1))
    assert "0.1000 bits/byte below the best baseline, llama-nano" in conclusions.test_split(findings)
    assert conclusions.test_split(findings).endswith("better beyond the chance of seeds.")


def test_what_runs_do_not_tell_is_not_told(tmp_path: Path) -> None:
    findings = gather(promoted(tmp_path, [2.3, 2.6], [2.4, 2.55]))
    assert conclusions.test_split(findings).endswith("these runs do not tell which is better.")


def test_one_seed_has_the_texts_interval_and_no_verdict(tmp_path: Path) -> None:
    findings = gather(promoted(tmp_path, [2.3], [2.4]))
    first = findings.promoted.row(0, named=True)
    assert (first["test_low"], first["test_high"]) == pytest.approx((2.3 - 0.196, 2.3 + 0.196))
    assert first["interval_of"] == "text"
    assert "on one seed: no interval" in conclusions.test_split(findings)
