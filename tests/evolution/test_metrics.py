"""A static metric is one declaration: what is declared here is searched for, bounded, printed and reported."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import typer
import yaml
from rich.console import Console

from harmony_core.architecture import Architecture
from harmony_core.cli import answer, query, show
from harmony_core.errors import UserError
from harmony_core.evolution.generation import mutate_generation, select_generation
from harmony_core.evolution.ranking import ranks_and_crowding
from harmony_core.evolution.scored import Scored, violation
from harmony_core.metrics import METRICS, Metric, register
from harmony_core.metrics.reference import of_costs, of_losses
from harmony_core.progress import ProgressReader
from harmony_core.report.write import write_report
from harmony_core.results import pareto_front
from harmony_core.results.hypervolume import hypervolume
from harmony_core.search.config import Config
from harmony_core.search.frame import Frame
from harmony_core.search.objective import Objective
from harmony_core.space import Space, sample
from harmony_core.store import (
    POPULATION,
    SELECTION,
    SearchFolder,
    read_manifest,
    read_table,
    write_manifest,
    write_table,
)
from harmony_core.store.schemas import column
from harmony_core.terminal import progress_lines
from tests.evolution.conftest import SPACE

ATTENTION = Metric(
    "num_attention",
    unit="blocks",
    label="attention [blocks]",
    short="attention",
    description="attention blocks, which keep a cache",
    source=lambda architecture: sum(block.kind == "mqa" for block in architecture.blocks),
    whole=True,
)
SHARE = Metric(
    "mamba_share",
    unit="",
    label="share of Mamba",
    description="share of token mixers without a cache",
    source=lambda architecture: np.mean([block.kind == "mamba2" for block in architecture.blocks[::2]]),
    direction="maximise",
    format="decimal",
)
OBJECTIVES = [{"name": "val_bits_per_byte"}, {"name": "latency_seconds"}, {"name": "num_attention", "target": 1}]


@pytest.fixture(autouse=True)
def declared(monkeypatch: pytest.MonkeyPatch) -> None:
    for one in (ATTENTION, SHARE):
        monkeypatch.setitem(METRICS, one.name, one)


@pytest.fixture
def searched(start: Callable[..., SearchFolder], measure: Callable[..., None]) -> SearchFolder:
    """Two generations, bounded and searched by the metric; the frame is the first generation's."""
    bounded = {**yaml.safe_load(SPACE), "constraints": {"num_attention": {"min": 1, "max": 2}}}
    folder = start(space=yaml.safe_dump(bounded), objectives=OBJECTIVES, framed=False)
    for generation in range(2):
        mutate_generation(folder, generation)
        measure(folder, generation)
        select_generation(folder, generation)
    return folder


def test_it_is_recorded_selected_by_and_bounded(searched: SearchFolder) -> None:
    rows = pl.concat([read_table(searched.population(generation), POPULATION) for generation in range(2)])
    counts = [Architecture.from_json(text).pattern().count("mqa") for text in rows["architecture"]]
    assert rows["num_attention"].to_list() == [
        sum(block.kind == "mqa" for block in Architecture.from_json(text).blocks) for text in rows["architecture"]
    ]
    assert set(rows["num_attention"]) == {1, 2}
    assert min(counts) == 1
    assert rows.schema["num_attention"] == pl.Int64
    assert rows.columns[:-1] == POPULATION.names
    selected = read_table(searched.selection(1), SELECTION)
    assert selected.columns[:-1] == SELECTION.names
    alive = selected.filter(pl.col("status") == "ok")
    assert (alive["violation"] == pl.Series([max(0.0, one - 1) for one in alive["num_attention"]])).all()
    assert alive.filter(pl.col("violation") > 0)["rank"].min() > alive.filter(pl.col("violation") == 0)["rank"].max()
    # Its targets are constraints of the front as well.
    assert set(pareto_front(searched).collect()["num_attention"]) == {1}


def test_the_frame_of_a_first_generation_holds_it(searched: SearchFolder) -> None:
    frame = Frame.from_file(searched.frame)
    assert (frame.ideal["num_attention"], frame.reference["num_attention"]) == (0.5, 4.0)
    assert "num_attention" in frame.log


def printed(capsys: pytest.CaptureFixture[str], command: Callable[..., None], *arguments: Any) -> str:
    # Files of a made-up search are missing, which is told and is exit code 1.
    with suppress(typer.Exit):
        command(*arguments)
    return capsys.readouterr().out


def leftover(folder: SearchFolder) -> dict[str, Any]:
    """A candidate that failed: of what a training that ended well says, made-up rows have no more than the loss."""
    rows = read_table(folder.selection(1), SELECTION).filter(pl.col("status") != "ok")
    return rows.row(0, named=True)


def test_top_pareto_and_show_print_it(
    searched: SearchFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # As wide as in a file, whatever COLUMNS was when the command was imported.
    for module in (answer, query, show):
        monkeypatch.setattr(module, "console", Console(highlight=False, width=1000))
    for text in (printed(capsys, query.top, searched.path, 3), printed(capsys, query.pareto, searched.path)):
        _, header, first, *_ = text.splitlines()
        assert header.split()[-4:] == ["state", "B", "attention", "blocks"]
        place = header.index("attention") + len("attention") - 1
        assert first[place] in "12"
    failed = leftover(searched)
    text = printed(capsys, show.show, [failed["architecture_id"]], searched.path)
    assert f"\nattention: {failed['num_attention']}\n" in text


def test_the_report_has_a_column_and_a_figure(searched: SearchFolder) -> None:
    manifest = read_manifest(searched.manifest)
    data = {"vocab_size": 256, "source": "synthetic", "checksum": "c"}
    write_manifest(searched.manifest, manifest.model_copy(update={"data": data}))
    page = write_report(searched).read_text()
    assert "<th>attention [blocks]</th>" in page
    assert 'id="front_num_attention"' in page
    assert (searched.report / "figures" / "front_num_attention.svg").is_file()
    header, _, first, *_ = (
        line for line in (searched.report / "leaderboard.md").read_text().splitlines() if "|" in line
    )
    cells = dict(zip(header.split("|"), first.split("|"), strict=True))
    assert cells[" attention [blocks] "].strip() in ("1", "2")


def test_progress_tells_the_least(searched: SearchFolder) -> None:
    generation = ProgressReader(searched).read().generations[-1]
    assert ", least 1 attention, " in progress_lines.stage(generation)


def test_who_does_not_know_it_can_still_read_the_rows(searched: SearchFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(METRICS, "num_attention")
    rows = read_table(searched.population(0), POPULATION)
    assert set(rows["num_attention"]) == {1, 2}
    assert read_table(searched.population(0), POPULATION, ["candidate"]).columns == ["candidate"]


def test_a_column_that_nobody_declared_is_still_another_schema(start: Callable[..., SearchFolder]) -> None:
    folder = start()
    mutate_generation(folder, 0)
    rows = read_table(folder.population(0), POPULATION).with_columns(colour=pl.lit("red")).to_dicts()
    write_table(folder.population(0), rows, POPULATION.append(column("colour", pa.string(), "what it looks like")))
    with pytest.raises(UserError, match=r"not a population table of this version \(has .*colour: string"):
        read_table(folder.population(0), POPULATION)


def test_a_search_without_it_has_no_column_of_it(start: Callable[..., SearchFolder]) -> None:
    folder = start()
    mutate_generation(folder, 0)
    assert read_table(folder.population(0), POPULATION).columns == POPULATION.names


def test_more_may_be_better(start: Callable[..., SearchFolder], measure: Callable[..., None]) -> None:
    objectives = [{"name": "val_bits_per_byte"}, {"name": "mamba_share", "target": 0.5}]
    folder = start(objectives=objectives, framed=False, population=12)
    volumes = []
    for generation in range(3):
        mutate_generation(folder, generation)
        measure(folder, generation)
        volumes.append(select_generation(folder, generation).hypervolume)
    assert volumes == sorted(volumes)
    assert volumes[0] > 0
    front = pareto_front(folder).collect().sort("val_bits_per_byte")
    # Along a front a worse loss buys more.
    assert front["mamba_share"].to_list() == sorted(front["mamba_share"])
    assert front["mamba_share"].min() >= 0.5
    assert max(front["mamba_share"]) == read_table(folder.selection(2), SELECTION)["mamba_share"].max()
    alive = read_table(folder.selection(2), SELECTION).filter(pl.col("status") == "ok")
    assert (alive["violation"] == (1 - alive["mamba_share"] / 0.5).clip(lower_bound=0)).all()
    progress = ProgressReader(folder).read().generations[-1]
    assert progress.standing.best["mamba_share"] == alive["mamba_share"].max()
    assert progress.standing.hypervolume == pytest.approx(volumes[-1])


def test_ranks_and_excess_of_what_is_maximised_by_hand() -> None:
    def one(number: int, bits: float, share: float) -> Scored:
        return Scored(0, number, str(number), "ok", {"val_bits_per_byte": bits, "mamba_share": share})

    objectives = [Objective(name="val_bits_per_byte"), Objective(name="mamba_share", target=0.5)]
    rows = [one(0, 1.0, 0.5), one(1, 2.0, 0.9), one(2, 2.0, 0.8), one(3, 0.5, 0.25)]
    assert [rank for rank, _ in ranks_and_crowding(rows, objectives)] == [0, 0, 1, 2]
    assert violation(rows[3], objectives) == pytest.approx(0.5)


def test_spans_mirror_each_other() -> None:
    values = [1.0, 1.05, 4.0]
    assert of_losses(values, 1)[:2] == pytest.approx((0.8, 1.1))
    assert of_losses([10 - value for value in values], -1)[:2] == pytest.approx((9 + 2 * 0.9, 9 - 0.9))
    assert of_costs(values, 1)[:2] == (0.5, 8.0)
    assert of_costs(values, -1)[:2] == (8.0, 0.5)


def test_a_frame_of_what_is_maximised_has_its_ideal_above() -> None:
    frame = Frame(ideal={"mamba_share": 1.0}, reference={"mamba_share": 0.5})
    found = [hypervolume(pl.DataFrame({"mamba_share": [share]}), ["mamba_share"], frame) for share in (0.4, 0.75, 2.0)]
    assert found == pytest.approx([0.0, 0.5, 1.0])
    with pytest.raises(UserError, match=r"ideal.mamba_share: 0.5: must be above the reference \(1\)"):
        Frame.parse({"ideal": {"mamba_share": 0.5}, "reference": {"mamba_share": 1.0}})


def test_an_unknown_objective_is_refused_in_one_line() -> None:
    told = Config.mistakes({"search": {"objectives": [{"name": "colour"}]}}, "mine.yaml")
    assert str(told[0]).startswith(
        "mine.yaml.search.objectives.0.name: colour: unknown metric; use val_bits_per_byte, "
    )
    assert "num_attention" in str(told[0])


def test_the_schemas_offer_what_is_declared() -> None:
    choices = Config.model_json_schema()["$defs"]["Objective"]["properties"]["name"]["enum"]
    assert choices == list(METRICS)
    bounds = Space.model_json_schema()["$defs"]["Constraints"]["properties"]
    assert "num_attention" in bounds
    # A space has no sequence length.
    assert "flops_per_token" not in bounds


@pytest.mark.parametrize(
    ("name", "limits", "said"),
    [
        ("num_attenton", {"max": 1}, "num_attenton: {'max': 1}: unknown key; did you mean 'num_attention'?"),
        ("flops_per_token", {"max": 1}, "flops_per_token: {'max': 1}: unknown key; "),
        ("num_attention", {"min": 3, "max": 1}, "num_attention: {'min': 3, 'max': 1}: min 3 is above max 1"),
        ("num_attention", {"max": -1}, "num_attention.max: -1: input should be greater than or equal to 0"),
    ],
)
def test_a_wrong_bound_is_refused_in_one_line(name: str, limits: dict[str, int], said: str) -> None:
    told = Space.mistakes({**yaml.safe_load(SPACE), "constraints": {name: limits}}, "space.yaml")
    assert str(told[0]).startswith(f"space.yaml.constraints.{said}")


def test_a_space_that_bounds_it_is_another_space_and_survives_being_written_down() -> None:
    plain = Space.parse(yaml.safe_load(SPACE))
    bounded = Space.parse({**yaml.safe_load(SPACE), "constraints": {"num_attention": {"max": 0}}})
    assert bounded.id != plain.id
    assert Space.parse(bounded.model_dump(mode="json", exclude_defaults=True)) == bounded
    drawn = [sample(bounded, 256, np.random.default_rng(seed)).architecture for seed in range(5)]
    assert {block.kind for one in drawn for block in one.blocks} == {"mamba2", "mlp"}


def test_a_name_cannot_be_taken_twice() -> None:
    with pytest.raises(ValueError, match="'num_params' is registered twice"):
        register(METRICS["num_params"])
