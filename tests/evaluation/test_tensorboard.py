"""Curves as TensorBoard reads them back: all of them, the same bytes for the same rows, and no reason to fail."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from harmony_core.architecture.presets import load_preset
from harmony_core.errors import UserError
from harmony_core.evaluation.run_config import run_config
from harmony_core.evaluation.single_run import SingleRun
from harmony_core.evaluation.tensorboard import log_curves
from harmony_core.machines import Layout
from harmony_core.search.config import Config
from harmony_core.store import SearchFolder, curves, training
from tests.evaluation.conftest import CONFIG
from tests.evaluation.test_single_run import ended

LOG = {"log": {"to": ["tensorboard"]}}


def trained(path: Path, **sections: Any) -> SearchFolder:
    """A training by hand of two rungs."""
    asked = {"recipe": {**CONFIG["recipe"], "rungs": [512]}, "data": CONFIG["data"], **sections}
    run = SingleRun.open(
        path, load_preset("llama-nano"), "llama-nano", run_config("mine", 0, asked, Layout(), "cpu"), print
    )
    result = ended(4)
    result.val_bits_per_byte = 2.5
    result.earlier = [ended(2)]
    run.write(result, Layout())
    return SearchFolder(path)


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> SearchFolder:
    return trained(tmp_path_factory.mktemp("logged") / "results" / "mine", **LOG)


def event_files(folder: SearchFolder) -> list[Path]:
    return sorted((folder.path / "tensorboard").rglob("*tfevents*"))


def scalars(path: Path) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for event in EventFileLoader(str(path)).Load():
        for value in event.summary.value:
            number = value.tensor.float_val[0] if value.HasField("tensor") else value.simple_value
            found.setdefault(value.tag, []).append((event.step, number))
    return found


def test_tensorboard_reads_every_point_of_every_rung(logged: SearchFolder) -> None:
    first, second = event_files(logged)
    assert first.parent.name.endswith("-r0")
    assert second.parent.name == f"{first.parent.name}-b1"
    for path, rung in ((first, 0), (second, 1)):
        recorded = curves(logged).collect().filter(rung=rung).sort("step")
        read = scalars(path)
        assert [step for step, _ in read["loss/train"]] == recorded["step"].to_list()
        assert [loss for _, loss in read["loss/train"]] == recorded["train_loss"].to_list()
        assert len(read["learning_rate"]) == len(read["gradient_norm"]) == recorded.height
    assert scalars(second)["bits_per_byte/validation"] == [(4, 2.5)]


def test_the_same_rows_give_the_same_bytes(logged: SearchFolder, tmp_path: Path) -> None:
    again = SearchFolder(tmp_path / "results" / "mine")
    log_curves(again, 0, training(logged).collect().to_dicts(), curves(logged).collect().to_dicts())
    assert [path.read_bytes() for path in event_files(again)] == [path.read_bytes() for path in event_files(logged)]


def test_what_cannot_be_written_is_said_and_costs_nothing_else(
    logged: SearchFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = SearchFolder(tmp_path)
    (tmp_path / "tensorboard").write_text("in the way")
    with caplog.at_level(logging.WARNING):
        log_curves(other, 0, training(logged).collect().to_dicts(), [])
    assert "TensorBoard's files of this shard are not all there" in caplog.text


def test_it_is_no_part_of_what_a_search_is(logged: SearchFolder, tmp_path: Path) -> None:
    plain, with_log = Config.parse({}), Config.parse(LOG)
    assert (plain.hash, plain.recorded()) == (with_log.hash, with_log.recorded())
    assert plain.renewed(with_log).log.to == ("tensorboard",)
    without = trained(tmp_path / "results" / "mine")
    assert event_files(without) == []
    columns = [
        name for name in training(logged).collect_schema().names() if name not in ("started_at", "device_seconds")
    ]
    assert training(without).select(columns).collect().equals(training(logged).select(columns).collect())


def test_without_the_package_it_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"log.to: tensorboard: pip install 'harmony-search\[tensorboard\]'"):
        Config.parse(LOG).check_names()
