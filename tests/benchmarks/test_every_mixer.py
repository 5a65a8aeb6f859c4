"""The generation that has every kind of block, without its trainings: who is in it, and how its ends are counted."""

from __future__ import annotations

from pathlib import Path

from benchmarks.every_mixer import NAME, by_kind, configuration, outcomes
from benchmarks.made_up import prepare, result
from harmony_core.architecture import Architecture
from harmony_core.evolution.generation import mutate_generation
from harmony_core.search.config import Config
from harmony_core.space import Space
from harmony_core.store import LATENCY, POPULATION, TRAINING, SearchFolder, read_table, write_table


def test_48_candidates_have_every_kind_and_ends_are_counted(tmp_path: Path) -> None:
    root = tmp_path / "results" / NAME
    folder = SearchFolder(root)
    prepare(folder, Config.parse(configuration(48, "nano")), 257)
    mutate_generation(folder, 0)
    rows = read_table(folder.population(0), POPULATION).to_dicts()
    assert len(rows) == 48
    space = Space.from_yaml("nano")
    counts = dict.fromkeys(space.blocks, 0)
    for row in rows:
        for kind in {block.kind for block in Architecture.from_json(row["architecture"]).blocks}:
            counts[kind] += 1
    assert min(counts.values()) > 0, counts
    # The first one diverges, the second one is not measured.
    ended = {0: "diverged"}
    trained = [result(TRAINING, row, shard=0, status=ended.get(row["candidate"], "ok")) for row in rows]
    timed = [result(LATENCY, row, shard=0, status="ok", mode="prefill") for row in rows[2:]]
    write_table(folder.shard(0, "training", 0), trained, TRAINING)
    write_table(folder.shard(0, "latency", 0), timed, LATENCY)
    found = outcomes(root)
    assert found.select("training", "latency").rows()[:3] == [("diverged", "absent"), ("ok", "absent"), ("ok", "ok")]
    kinds = by_kind(found, space)
    assert {kind: one["candidates"] for kind, one in kinds.items()} == counts
    lost = [{block.kind for block in Architecture.from_json(row["architecture"]).blocks} for row in rows[:2]]
    for kind, one in kinds.items():
        assert one["candidates"] - one["ok"] == sum(kind in kinds_of for kinds_of in lost)
