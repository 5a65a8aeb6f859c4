"""Tables that fit, JSON that says what it is, CSV with a line a row; text that does nothing, whatever it holds."""

from __future__ import annotations

import csv
import io
import json

import polars as pl
import pytest
from rich.console import Console

from benchmarks.made_up_search import HOSTILE
from harmony_core.terminal.frame import JSON_VERSION, Column, column, plain, table, to_csv, to_json

ROWS = pl.DataFrame(
    {
        "who": ["found 99566e5e", "<script>alert(1)</script>"],
        "loss": [2.05, 1.0],
        "time": ["10 ms", "1 us"],
        "runs": [1, 2],
        "blocks": ["yes no maybe", "gqa-mlp mamba2-moe 2x(mamba2-mlp) " * 3],
    }
)
COLUMNS = [
    Column("who", "who", is_text=True),
    Column("loss", "test bits/byte"),
    Column("time", "time"),
    Column("runs", "runs"),
    Column("blocks", "blocks", is_text=True, wraps=True),
]
WORDS = [
    ["99566e5e", "<script>alert(1)</script>"],
    ["2.05", "1"],
    ["ms", "us"],
    ["1", "2"],
    ["maybe", "2x(mamba2-mlp)"],
]


def printed(rows: pl.DataFrame, columns: list[Column], width: int) -> tuple[str, list[str]]:
    made, left_out = table(rows, columns, width)
    output = io.StringIO()
    Console(file=output, width=width).print(made)
    return output.getvalue(), left_out


def test_a_narrow_terminal_gets_fewer_columns_and_whole_words() -> None:
    counts = []
    for width in range(25, 180):
        text, left_out = printed(ROWS, COLUMNS, width)
        shown = len(COLUMNS) - len(left_out)
        counts.append(shown)
        assert left_out == [one.heading for one in COLUMNS[shown:]]
        assert max(map(len, text.splitlines())) <= width
        assert {word for words in WORDS[:shown] for word in words} <= set(text.split()), width
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (1, len(COLUMNS))


@pytest.mark.parametrize("attack", HOSTILE)
def test_text_does_nothing(attack: str) -> None:
    rows = pl.DataFrame({"name": [attack], "list": [[attack]]})
    text, _ = printed(rows, [column(name, kind) for name, kind in rows.schema.items()], 400)
    # Markup is shown as it is, control characters as Python writes them.
    assert plain(attack) in text
    assert "\x1b" not in text + to_csv(rows) + to_json("x", rows)
    assert "\u202e" not in text + to_csv(rows) + to_json("x", rows)
    assert json.loads(to_json("x", rows))["rows"] == [{"name": attack, "list": [attack]}]
    assert list(csv.reader(io.StringIO(to_csv(rows)))) == [["name", "list"], [plain(attack)] * 2]


def test_json_says_what_it_is_and_has_no_other_numbers() -> None:
    rows = pl.DataFrame({"a": [1.5, float("nan"), float("inf"), None], "b": [{"c": 1}] * 4})
    found = json.loads(to_json("top", rows, search={"name": "nano"}), parse_constant=lambda one: pytest.fail(one))
    assert (found["schema"], found["version"]) == ("harmony.top", JSON_VERSION)
    assert found["search"] == {"name": "nano"}
    assert [row["a"] for row in found["rows"]] == [1.5, None, None, None]
    assert found["columns"] == ["a", "b"]
    assert to_csv(rows.select("b")).splitlines()[1] == '"{""c"": 1}"'
