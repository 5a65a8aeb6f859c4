"""SQL asks; it reads no files, changes nothing, and its mistakes are one line."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from benchmarks.made_up_search import Size, write_search
from harmony_core.errors import UserError
from harmony_core.results.expression import filtered, read_columns, read_sort, read_where
from harmony_core.results.sql import select
from harmony_core.results.sql_words import FUNCTIONS
from harmony_core.results.summaries import Summaries
from harmony_core.store import SearchFolder, training

SCHEMA = pl.Schema({"a": pl.Int64(), "b": pl.String(), "c": pl.Float64(), "l": pl.List(pl.String())})


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Summaries:
    folder = SearchFolder(tmp_path_factory.mktemp("made") / "search")
    write_search(folder, Size(60, generations=2, shards=1, curve_points=2))
    return Summaries(folder)


def test_tables_are_joined_and_counted(search: Summaries) -> None:
    query = (
        "select c.origin, count(*) as n, round(avg(t.tokens), 0) as tokens from candidates c "
        "join training t using (generation, candidate) group by c.origin order by n desc;"
    )
    found = select(search, query)
    assert found["n"].sum() == training(search.folder).collect().height == 60
    assert select(search, "select count(*) as n from curves")["n"].to_list() == [120]
    assert select(search, "select * from front").height > 0
    assert select(search, "with f as (select parent_id from lineage) select count(*) as n from f")["n"][0] > 0
    assert set(select(search, "select distinct role from promoted")["role"]) == {"front", "baseline"}
    assert select(search, "select status from latency limit 1").columns == ["status"]
    assert select(search, "select task, value from task_scores").columns == ["task", "value"]


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("select * from read_csv('{}')", "no function that is allowed here"),
        ("select * from READ_PARQUET ('{}')", "no function that is allowed here"),
        ("select * from \"read_csv\"('{}')", "no function that is allowed here"),
        ("select * from `read_csv`('{}')", "use names, numbers"),
        ("select * from read_csv/**/('{}')", "use names, numbers"),
        ("select a from front where a in (select x from read_ipc('{}'))", "no function that is allowed here"),
        ("with q as (select * from read_json('{}')) select * from q", "no function that is allowed here"),
        ("select * from '{}'", "was not found"),
        ('select * from "{}"', "was not found"),
        ("from read_csv('{}')", "give one SELECT"),
        ("copy candidates to '{}'", "give one SELECT"),
        ("create table t as select * from candidates", "give one SELECT"),
        ("with q as (select 1) insert into q select 1", "give one SELECT"),
        ("select 1; drop table candidates", "give one SELECT"),
        ("explain select * from candidates", "give one SELECT"),
        ("show tables", "give one SELECT"),
        ("select 1 -- '", "use names, numbers"),
        ("select E'\\'' || read_csv('{}')", "use names, numbers"),
        ("select $$a$$", "use names, numbers"),
        ("select 'a", "use names, numbers"),
        ("", "give one SELECT"),
        ("select", "parser error"),
        ("select nope from candidates", "candidates has search, generation"),
        ("select * from nowhere", "the tables are candidates, front"),
        ("select " + "(" * 5000 + "1" + ")" * 5000, "recursion limit"),
        ("select " + "1," * 20000 + "1", "use at most"),
    ],
)
def test_everything_else_is_refused_in_one_line(search: Summaries, query: str, told: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("x\nhidden\n")
    with pytest.raises(UserError) as refused:
        select(search, query.replace("{}", str(secret)))
    assert told in str(refused.value)
    assert "hidden" not in str(refused.value)
    assert "\n" not in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["secret.csv"]


def test_every_function_that_is_allowed_is_one_of_polars() -> None:
    context = pl.SQLContext({"t": pl.DataFrame(schema=SCHEMA)}, register_globals=False)
    # These have words between their brackets.
    for name in FUNCTIONS - {"cast", "extract", "substring", "try_cast"}:
        with pytest.raises(pl.exceptions.PolarsError) as refused:
            context.execute(f"select {name}(1,2,3,4,5,6,7,8,9,nope) from t").collect()
        assert "unsupported function" not in str(refused.value), name


def test_conditions_are_checked() -> None:
    rows = pl.DataFrame({"a": [1, 2, 3], "b": ["x", "y", None], "c": [0.5, None, 2.0], "l": [["p"], [], ["q"]]})
    where = read_where("a > 1 and (b like 'y%' or c between 1 and 1e3)", SCHEMA)
    assert filtered(rows, where, "")["a"].to_list() == [2, 3]
    for text, told in {
        "nope > 1": "no such column; there are a, b, c, l",
        "a": "is Int64 and not true or false",
        "a >": "unable to parse",
        "": "unable to parse",
        "a > 1; b = 'x'": "unexpected token",
        "a in (select a from t)": "use an expression of one row's columns",
        "read_csv('x') = 1": "no function that is allowed here",
        "a > 'x'": "cannot compare",
        "a = 1 # b": "use names, numbers",
        "a = 1\x1b[31m": "use names, numbers",
        "(" * 3000: "parse",
    }.items():
        with pytest.raises(UserError, match=r"^--where") as refused:
            filtered(rows, read_where(text, SCHEMA), text)
        assert told in str(refused.value)
    with pytest.raises(UserError, match="regex"):
        filtered(rows, read_where("b ~ '('", SCHEMA), "b ~ '('")


def test_columns_and_orders_are_checked() -> None:
    assert read_columns("c, a,c", SCHEMA) == ["c", "a"]
    assert read_sort("-c,a", SCHEMA) == [("c", True), ("a", False)]
    for call, told in ((read_columns, "d"), (read_sort, "-d"), (read_sort, "l"), (read_columns, "")):
        with pytest.raises(UserError):
            call(told, SCHEMA)
