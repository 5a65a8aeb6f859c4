"""What is told of a search is what its files hold, at every moment between its start and its end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from harmony_core.errors import UserError
from harmony_core.evolution.generation import GenerationSummary, select_generation
from harmony_core.progress import GenerationProgress, ProgressReader
from harmony_core.store import LATENCY, read_table, write_table
from harmony_core.terminal.progress_lines import stage
from tests.progress.searches import PER_SHARD, MadeUpSearch

VALUES: dict[int, tuple[float | None, float]] = {
    0: (3.0, 0.030),
    1: (2.5, 0.050),
    2: (None, 0.020),
    3: (2.8, 0.010),
    4: (3.5, 0.005),
    5: (2.6, 0.060),
    6: (None, 0.001),
    7: (3.1, 0.040),
}
BETTER = {number: (bits and bits - 0.5, seconds * 0.9) for number, (bits, seconds) in VALUES.items()}


def only(reader: ProgressReader) -> GenerationProgress:
    (generation,) = reader.read().generations
    return generation


def counts(progress: GenerationProgress) -> tuple[int, int, int | None, int | None, int]:
    return progress.total, progress.done, progress.running, progress.queued, progress.failed


def assert_told(progress: GenerationProgress, summary: GenerationSummary) -> None:
    assert progress.generation == summary.generation
    assert progress.done - progress.failed == summary.evaluated
    assert progress.failed == summary.failed
    assert progress.standing.best["val_bits_per_byte"] == summary.best_val_bits_per_byte
    assert progress.standing.front_size == summary.front_size
    assert progress.standing.hypervolume == pytest.approx(summary.hypervolume, rel=1e-12)


def test_before_the_data_is_prepared_there_is_nothing(tmp_path: Path) -> None:
    progress = ProgressReader(MadeUpSearch(tmp_path).folder).read()
    assert (progress.manifest, progress.generations, progress.finished) == (None, (), False)


def test_a_generation_from_its_birth_to_its_selection(search: MadeUpSearch) -> None:
    reader = ProgressReader(search.folder)
    assert reader.read().generations == ()
    search.breed(0)
    assert counts(only(reader)) == (8, 0, 0, 8, 0)
    search.open(0)
    for candidate in range(2):
        search.begin(0, candidate)
    assert counts(only(reader)) == (8, 0, 2, 6, 0)
    search.train(0, 0, 3.0)
    search.train(0, 1, None)
    search.begin(0, 2)
    now = only(reader)
    assert counts(now) == (8, 2, 1, 5, 1)
    assert now.standing.best == {}
    search.measure(0, 0, 0.03)
    now = only(reader)
    assert now.measured == 1
    assert now.standing.best["val_bits_per_byte"] == 3.0
    assert now.standing.best["latency_seconds"] == 0.03
    assert now.standing.front_size == 1
    for shard in range(2):
        search.close(0, {number: VALUES[number] for number in range(4 * shard, 4 * shard + 4)}, shard)
    now = only(reader)
    assert (counts(now), now.finished) == ((8, 8, 0, 0, 2), False)
    summary = select_generation(search.folder, 0)
    assert now.standing.hypervolume == pytest.approx(summary.hypervolume, rel=1e-12)
    now = only(reader)
    assert now.finished
    assert_told(now, summary)


@pytest.mark.parametrize(
    ("kind", "target"), [(k, t) for k in ("nsga2", "fitness") for t in (None, 0.02, 1e-9) if k == "nsga2" or t]
)
@pytest.mark.parametrize("followed", [True, False])
def test_what_is_told_is_what_the_selection_tells(
    tmp_path: Path, kind: str, target: float | None, followed: bool
) -> None:
    cost = {"name": "num_params"} if kind != "fitness" else {"name": "num_params", "target": 1e5}
    objectives = [{"name": "val_bits_per_byte"}, {"name": "latency_seconds", "target": target}, cost]
    search = MadeUpSearch(tmp_path, objectives=objectives, algorithm={"kind": kind})
    search.prepare()
    reader, summaries = ProgressReader(search.folder), []
    for generation, values in enumerate((VALUES, BETTER)):
        summaries.append(search.finish(generation, values))
        if followed:
            reader.read()
    found = reader.read().generations
    assert len(found) == 2
    for progress, summary in zip(found, summaries, strict=True):
        assert_told(progress, summary)


@pytest.mark.parametrize("followed", [True, False])
def test_hypervolume_is_told_once_the_first_generation_has_made_a_frame(tmp_path: Path, followed: bool) -> None:
    search = MadeUpSearch(tmp_path, generations=3)
    search.prepare(framed=False)
    reader, summaries = ProgressReader(search.folder), []
    failing: dict[int, tuple[float | None, float]] = dict.fromkeys(VALUES, (None, 0.1))
    for generation, values in enumerate((failing, VALUES, BETTER)):
        search.breed(generation)
        for shard in range(2):
            search.close(generation, {n: values[n] for n in range(4 * shard, 4 * shard + 4)}, shard)
        if followed:
            now = reader.read().generations[-1]
            assert (now.standing.hypervolume is None) == (generation == 1)
            assert ("hypervolume" in stage(now)) == (generation == 2)
        summaries.append(select_generation(search.folder, generation))
    told = [progress.standing.hypervolume for progress in reader.read().generations]
    assert told == pytest.approx([summary.hypervolume for summary in summaries], rel=1e-12)
    assert 0 == summaries[0].hypervolume < summaries[1].hypervolume < summaries[2].hypervolume


def test_with_a_lag_two_generations_are_open(tmp_path: Path) -> None:
    search = MadeUpSearch(tmp_path, lag=1, generations=3)
    search.prepare()
    for generation in range(2):
        search.breed(generation)
        search.open(generation)
        search.begin(generation, 0)
    reader = ProgressReader(search.folder)
    progress = reader.read()
    assert [one.running for one in progress.generations] == [1, 1]
    assert progress.running == 2
    search.train(1, 0, 2.0)
    search.measure(1, 0, 0.1)
    first, second = reader.read().generations
    assert first.standing.best == {}
    assert second.standing.best["val_bits_per_byte"] == 2.0
    search.train(0, 0, 1.0)
    search.measure(0, 0, 0.1)
    assert [one.standing.best["val_bits_per_byte"] for one in reader.read().generations] == [1.0, 1.0]
    search.end()


def test_what_ended_without_an_answer_runs_no_more_and_is_queued_again(search: MadeUpSearch) -> None:
    search.breed(0)
    search.open(0)
    for candidate in range(3):
        search.begin(0, candidate)
    search.lose(0, 0, "death")
    search.lose(0, 1, "interruption")
    assert counts(only(ProgressReader(search.folder))) == (8, 0, 1, 7, 0)


def test_a_shard_that_is_opened_again_runs_nothing_of_before(search: MadeUpSearch) -> None:
    search.breed(0)
    reader = ProgressReader(search.folder)
    search.open(0)
    search.begin(0, 0)
    search.begin(0, 1)
    assert only(reader).running == 2
    search.open(0)
    search.begin(0, 1)
    assert only(reader).running == 1


def test_a_journal_that_does_not_say_who_began(search: MadeUpSearch) -> None:
    search.breed(0)
    search.train(0, 0, 3.0)
    reader = ProgressReader(search.folder)
    assert counts(only(reader)) == (8, 1, None, None, 0)
    assert reader.read().running is None
    search.open(0)
    search.begin(0, 1)
    assert counts(only(reader)) == (8, 1, 1, 6, 0)


def test_each_failure_is_told_once(search: MadeUpSearch) -> None:
    reader = ProgressReader(search.folder)
    search.breed(0)
    reader.read()
    search.train(0, 2, None)
    (failure,) = reader.read().failures
    assert (failure.stage, failure.result.candidate, failure.result.error) == ("training", 2, "loss is nan")
    assert reader.read().failures == ()
    search.close(0, {number: VALUES[number] for number in range(PER_SHARD)})
    assert reader.read().failures == ()


def test_who_fails_last_is_told_with_the_end(search: MadeUpSearch) -> None:
    reader = ProgressReader(search.folder)
    reader.read()
    search.finish(0, VALUES)
    assert sorted(one.result.candidate for one in reader.read().failures) == [2, 6]


def test_of_what_was_finished_before_anybody_looked_no_failure_is_told(search: MadeUpSearch) -> None:
    search.finish(0, VALUES)
    assert ProgressReader(search.folder).read().failures == ()


def test_what_is_old_can_be_said(search: MadeUpSearch) -> None:
    search.finish(0, VALUES)
    old = frozenset(search.folder.path.glob("generation=*/selection.parquet"))
    search.finish(1, BETTER)
    failures = ProgressReader(search.folder, old).read().failures
    assert sorted((one.generation, one.result.candidate) for one in failures) == [(1, 2), (1, 6)]


def test_the_first_final_record_counts(search: MadeUpSearch) -> None:
    search.breed(0)
    search.train(0, 0, 2.0)
    search.train(0, 0, 1.0)
    search.measure(0, 0, 0.1)
    now = only(ProgressReader(search.folder))
    assert (now.done, now.standing.best["val_bits_per_byte"]) == (1, 2.0)


def test_a_journal_that_outlived_another_search_counts_for_nothing(search: MadeUpSearch) -> None:
    search.breed(0)
    search.train(0, 0, 2.0, architecture_id="0" * 16)
    assert only(ProgressReader(search.folder)).done == 0


def test_a_half_written_search_is_told(search: MadeUpSearch) -> None:
    search.breed(0)
    search.open(0)
    search.train(0, 0, 3.0)
    path = search.journal("training", 0, 0).path
    with path.open("ab") as file:
        file.write(b'{"answer":{"curve":[{"step"')
    assert only(ProgressReader(search.folder)).done == 1


def test_a_table_that_vanishes_while_it_is_read_is_not_there(
    search: MadeUpSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    search.breed(0)
    search.close(0, {number: VALUES[number] for number in range(PER_SHARD)})
    reader = ProgressReader(search.folder)

    def too_late(path: Path, *arguments: Any) -> object:
        if path == search.folder.shard(0, "training", 0):
            path.unlink()
        return read_table(path, *arguments)

    monkeypatch.setattr("harmony_core.progress.tables.read_table", too_late)
    assert only(reader).done == 0


def test_a_damaged_table_is_named(search: MadeUpSearch) -> None:
    search.finish(0, VALUES)
    path = search.folder.selection(0)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"selection\.parquet"):
        ProgressReader(search.folder).read()


def test_what_is_finished_is_read_once(search: MadeUpSearch) -> None:
    reader = ProgressReader(search.folder)
    search.finish(0, VALUES)
    before = reader.read().generations
    shutil.rmtree(search.folder.generation(0))
    assert reader.read().generations == before


def test_a_search_may_be_given_more_generations(search: MadeUpSearch) -> None:
    reader = ProgressReader(search.folder)
    for generation, values in enumerate((VALUES, BETTER)):
        search.finish(generation, values)
    search.folder.report.mkdir()
    (search.folder.report / "index.html").touch()
    assert reader.read().finished
    search.record_start()
    data = json.loads(search.folder.config.read_text())
    # The default is not written there.
    del data["search"]["generations"]
    search.folder.config.write_text(json.dumps(data))
    progress = reader.read()
    assert (progress.finished, progress.work_done, progress.work_left) == (False, 16, (8 - 2) * 8)


def promoting(tmp_path: Path, **promote: Any) -> MadeUpSearch:
    search = MadeUpSearch(tmp_path, {"promote": {"top_k": 1, **promote}}, generations=1)
    search.prepare()
    return search


def test_a_search_ends_with_its_promotion_and_report(tmp_path: Path) -> None:
    search = promoting(tmp_path)
    reader = ProgressReader(search.folder)
    search.finish(0, VALUES)
    progress = reader.read()
    assert (progress.promotion, progress.finished) == (None, False)
    search.promote()
    search.open(None)
    search.begin(None, 0)
    promotion = reader.read().promotion
    assert promotion is not None
    assert counts(promotion) == (1, 0, 1, 0, 0)
    # The rest of the front is measured too, but not trained again.
    search.close(None, {0: (2.0, 0.1)})
    beside = read_table(search.folder.shard(None, "latency", 0), LATENCY).to_dicts()
    rest = [{**row, "candidate": 1, "architecture_id": "of-the-front"} for row in beside]
    write_table(search.folder.shard(None, "latency", 0), [*beside, *rest], LATENCY)
    promotion = reader.read().promotion
    assert promotion is not None
    assert (promotion.finished, promotion.measured) == (True, 1)
    assert not reader.read().finished
    search.folder.report.mkdir()
    (search.folder.report / "index.html").touch()
    assert reader.read().finished
    assert reader.read().work_left == 0
    search.end()


def test_promoted_trainings_weigh_as_much_as_they_are_longer(tmp_path: Path) -> None:
    recipe = {"tokens": 40960, "batch_size": 8, "sequence_length": 64, "validation_tokens": 1024}
    search = MadeUpSearch(
        tmp_path, {"promote": {"top_k": 2, "replicates": 3, "tokens": 81920}, "recipe": recipe}, generations=1
    )
    search.prepare()
    assert ProgressReader(search.folder).read().work_left == 8 + 2 * 3 * 2
