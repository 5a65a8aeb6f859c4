"""Questions: conditions, orders, columns, JSON and CSV of every command that answers one."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer

import harmony_core
from benchmarks.made_up_search import HOSTILE, Size, write_search
from harmony_core.cli import candidate as candidates
from harmony_core.cli.commands import COMMANDS
from harmony_core.cli.compare import compare
from harmony_core.cli.failures import failures
from harmony_core.cli.lineage import lineage
from harmony_core.cli.ls import ls
from harmony_core.cli.query import pareto, top
from harmony_core.cli.show import show
from harmony_core.cli.sql import sql
from harmony_core.errors import UserError
from harmony_core.results import leaderboard
from harmony_core.results.changes import changes
from harmony_core.store import SearchFolder

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two equal searches but for their texts, of which one's attack."""
    root = tmp_path_factory.mktemp("asked")
    for name in ("plain", "attack"):
        size = Size(90, generations=3, shards=1, curve_points=1)
        write_search(SearchFolder(root / "results" / name), size, hostile=name == "attack")
    return root


@pytest.fixture
def ask(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Runs a command and reads what it printed: JSON, unless it was not asked for."""
    monkeypatch.chdir(root)

    def run(command: Callable[..., None], *arguments: Any, **options: Any) -> Any:
        options.setdefault("as_json", True)
        command(*arguments, **options)
        told = capsys.readouterr()
        assert told.err == ""
        return json.loads(told.out) if options["as_json"] else told.out

    return run


def best(name: str = "plain") -> dict[str, Any]:
    return leaderboard(f"results/{name}").collect().row(0, named=True)


def test_top_is_filtered_sorted_and_cut(ask: Ask) -> None:
    every = ask(top, "plain", limit=1000)
    assert (every["schema"], every["version"]) == ("harmony.top", "1.1")
    assert every["search"]["begun"] == 3
    assert sum(one["count"] for one in every["failed"]) == 90 - len(every["rows"])
    assert every["rows"][0]["architecture_id"] == best()["architecture_id"]
    asked = {"where": "generation = 1 and num_params < 2e6", "sort": "-num_params", "columns": "num_params,parents"}
    some = ask(top, "plain", limit=1000, **asked)
    expected = [row["num_params"] for row in every["rows"] if row["generation"] == 1 and row["num_params"] < 2e6]
    assert [row["num_params"] for row in some["rows"]] == sorted(expected, reverse=True)
    assert some["columns"] == ["num_params", "parents"]
    assert all(row["parents"] for row in some["rows"])
    table = ask(top, "plain", limit=2, columns="num_params,operator", as_json=False)
    assert table.splitlines()[1].split() == ["params", "operator"]


def test_top_has_what_was_trained_again(ask: Ask, root: Path) -> None:
    found = ask(top, "plain", limit=1, where="num_params < 0")
    assert found["rows"] == []
    expected = harmony_core.open_search("plain").promoted()
    assert [row["architecture_id"] for row in found["promoted"]] == expected["architecture_id"].to_list()
    assert len(found["promoted"]) == 5
    names = ", ".join(found["promoted"][0])
    assert found["promoted"] == ask(sql, "plain", f"select {names} from promoted")["rows"]
    assert set(expected.columns) - set(found["promoted"][0]) == {"architecture"}


def test_pareto_is_a_front_before_it_is_filtered(ask: Ask) -> None:
    every = ask(pareto, "plain")["rows"]
    some = ask(pareto, "plain", where="generation = 2")["rows"]
    assert some == [row for row in every if row["generation"] == 2]
    assert 0 < len(some) < len(every)


def test_show_has_costs_blocks_results_and_what_mutations_did(ask: Ask) -> None:
    one = next(row for row in ask(top, "plain", limit=99)["rows"] if row["generation"] == 2)
    found = ask(show, ["plain", one["architecture_id"]])
    assert found["rows"][0]["val_bits_per_byte"] == one["val_bits_per_byte"]
    assert len(found["blocks"]) == one["num_blocks"]
    assert found["training"][0]["tokens"] == 2_000_000
    assert len(found["latency"]) == 3
    child, *ancestors = found["lineage"]
    parent = next(row for row in ancestors if row["architecture_id"] == child["parents"][0])
    assert child["changed"]
    assert child["num_params_change"] == child["num_params"] - parent["num_params"]
    text = ask(show, [f"plain/{one['architecture_id']}"], as_json=False)
    for told in ("FLOP/token", "cache: ", "state: ", "changed: ", "bits/byte"):
        assert told in text
    rows = ask(lineage, ["plain", one["architecture_id"]], where="depth > 0")["rows"]
    assert rows == ancestors


def test_presets_have_names(ask: Ask, root: Path) -> None:
    of_search = ask(show, ["plain", "llama-nano"])
    assert of_search["rows"][0]["role"] == "baseline"
    assert of_search["training"][0]["test_bits_per_byte"] == 2.05
    # The other search's has another name, but the preset is there for all.
    assert ask(show, ["attack", "llama-nano"])["training"] == []
    assert candidates.find_promoted("plain/llama-nano", None)[1]["name"] == "llama-nano"
    assert ask(compare, "plain/llama-nano", "jamba-nano")["changed"]


def test_two_candidates_and_two_searches_are_compared(ask: Ask) -> None:
    a = f"plain/{best()['architecture_id']}"
    rows = {row["metric"]: row for row in ask(compare, a, "plain/llama-nano")["rows"]}
    params = rows["num_params"]
    assert params["difference"] == params["b"] - params["a"]
    assert params["ratio"] == pytest.approx(params["b"] / params["a"])
    both = ask(compare, "plain", "attack")
    assert {row["val_bits_per_byte_difference"] for row in both["rows"]} == {0.0}
    assert len(both["rows"]) == len(ask(top, "plain", limit=1000)["rows"])
    with pytest.raises(UserError, match="two of a kind"):
        compare("plain", a)


def test_searches_and_failures_are_listed(ask: Ask, root: Path) -> None:
    rows = ask(ls, sort="name")["rows"]
    assert [(row["name"], row["state"], row["finished"]) for row in rows] == [
        ("attack", "finished", 3),
        ("plain", "finished", 3),
    ]
    found = ask(failures, "plain", where="status = 'diverged'")
    assert {row["error"] for row in found["rows"]} == {"loss is nan"}
    assert len(ask(failures, "plain")["rows"]) == rows[1]["failed"]
    broken = root / "results" / "broken"
    broken.mkdir()
    (broken / "manifest.json").write_text("{")
    try:
        rows = ask(ls, where="state = 'unreadable'")["rows"]
    finally:
        (broken / "manifest.json").unlink()
        broken.rmdir()
    assert [row["name"] for row in rows] == ["broken"]


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (top, ["attack"]),
        (pareto, ["attack"]),
        (failures, ["attack"]),
        (ls, []),
        (sql, ["attack", "select * from candidates"]),
    ],
)
def test_hostile_texts_are_text(ask: Ask, command: Callable[..., None], arguments: list[str]) -> None:
    for options in ({}, {"as_csv": True}):
        text = ask(command, *arguments, as_json=False, **options)
        assert not [one for one in text if not one.isprintable() and one != "\n"]
    shown = ask(show, ["attack", best("attack")["architecture_id"]], as_json=False)
    assert not [one for one in shown if not one.isprintable() and one != "\n"]
    assert any(one in ask(failures, "attack", as_json=False, as_csv=True) for one in HOSTILE)


def test_csv_has_a_line_a_row(ask: Ask) -> None:
    text = ask(sql, "plain", "select origin, count(*) as n from candidates group by origin", as_json=False, as_csv=True)
    header, *rows = csv.reader(io.StringIO(text))
    assert header == ["origin", "n"]
    assert sum(int(row[1]) for row in rows) == 90
    with pytest.raises(UserError, match="give one of them"):
        top(Path("plain"), as_json=True, as_csv=True)


def test_what_mutations_change_is_told() -> None:
    before = '{"blocks":[{"kind":"mha","num_heads":4},{"kind":"mlp","d_ff":64},{"kind":"mlp","d_ff":32}],"d_model":64}'
    after = '{"blocks":[{"kind":"mha","num_heads":4},{"kind":"mlp","d_ff":96},{"kind":"moe","top_k":1}],"d_model":96}'
    assert changes(before, before) == []
    assert changes(before, after) == [
        "d_model 64 -> 96",
        "block 1 (mlp): d_ff 64 -> 96",
        "- block 2: mlp, d_ff 32",
        "+ block 2: moe, top_k 1",
    ]


def test_a_search_that_goes_on_says_so(
    ask: Ask, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = SearchFolder(tmp_path / "going")
    write_search(folder, Size(60, generations=2, shards=1, curve_points=1))
    folder.selection(1).unlink()
    top(folder.path, as_json=True)
    told = capsys.readouterr()
    assert json.loads(told.out)["search"]["under_way"] == [1]
    assert "generation 1: under way" in told.err
    folder.selection(0).unlink()
    with pytest.raises(typer.Exit):
        top(folder.path, as_json=True)
    assert json.loads(capsys.readouterr().out)["missing"]


def test_every_command_is_listed_as_it_helps() -> None:
    for name, (place, told) in COMMANDS.items():
        module, _, attribute = place.partition(":")
        command = getattr(import_module(f"harmony_core.cli.{module}"), attribute)
        text = command.info.help if isinstance(command, typer.Typer) else command.__doc__
        assert str(text).splitlines()[0] == told, name


def test_help_imports_no_command() -> None:
    code = (
        "import sys; from harmony_core.cli.main import main\n"
        "try: main()\nfinally: print(sorted({'polars', 'pyarrow', 'pydantic', 'numpy', 'torch'} & sys.modules.keys()))"
    )
    for arguments, told in ((["-h"], "compare"), (["--version"], harmony_core.__version__)):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0
        assert told in done.stdout
        assert done.stdout.splitlines()[-1] == "[]"
    done = subprocess.run([sys.executable, "-m", "harmony_core", "tpo"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Did you mean 'top'" in done.stderr
