"""The page of a search's tables, from the schemas that the store checks rows against."""

from __future__ import annotations

import pyarrow as pa

from harmony_core.scaling.rows import ISOFLOP
from harmony_core.store import schemas
from harmony_core.store.evaluators import tables

# Every table of HARMONY's own and where its files lie in `results/NAME/`; those of evaluators follow from the registry.
_PLACES: tuple[tuple[pa.Schema, str, str], ...] = (
    (schemas.POPULATION, "generation=000/population.parquet", "Who was bred, from whom, and how."),
    (schemas.LEDGER, "generation=000/ledger.parquet", "What was drawn and thrown away, counted by reason."),
    (schemas.SELECTION, "generation=000/selection.parquet", "Who survived, and why."),
    (schemas.SCALING, "scaling.parquet", "Runs of `harmony scale`."),
    (schemas.MAD_RUNS, "mad.parquet", "Trainings of `harmony mad`."),
    (ISOFLOP, "runs.parquet", "Trainings of `harmony isoflop`."),
)
_HEAD = f"""# Tables
Every result is a row of Parquet. This page lists the tables of search format {schemas.FORMAT_VERSION}, as the code
declares and checks them. The same text is in each file: `pyarrow.parquet.read_schema(file).field("seconds").metadata`.

`generation=000` stands for any generation, `shard=000` for any shard. What promotion trains lies in `promoted/` in the
same tables, with a null generation. [How to read the results](../how-to/read-results.md) has queries;
[Design](../design.md) says what a table's version promises.

A type with `?` may be null; the description then says what a null means.
"""


def page() -> str:
    """Markdown: a section a table, a row a column."""
    parts = [_HEAD, *(_section(schema, place, told) for schema, place, told in _PLACES)]
    for evaluator in tables():
        for name, schema in evaluator.schemas.items():
            told = f"Written by the evaluator `{evaluator.name}`."
            parts.append(_section(schema, f"generation=000/{name}/shard=000.parquet", told))
    return "\n".join(parts)


def _section(schema: pa.Schema, place: str, told: str) -> str:
    about = {key.decode(): value.decode() for key, value in schema.metadata.items()}
    lines = [f"## {about['table']}", f"{told} `{place}`, version {about['version']}.", ""]
    lines += ["| column | type | unit | meaning |", "|---|---|---|---|"]
    return "\n".join([*lines, *(_row(field) for field in schema), ""])


def _row(field: pa.Field) -> str:
    about = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
    told = about.get("description", "")
    if values := about.get("values"):
        told += "; one of " + ", ".join(f"`{value}`" for value in values.split("|"))
    if since := about.get("since"):
        told += f"; since version {since}"
    null = "?" if field.nullable else ""
    cells = (f"`{field.name}`", f"{_kind(field.type)}{null}", about.get("unit", ""), told)
    return "| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |"


def _kind(kind: pa.DataType) -> str:
    if not pa.types.is_list(kind):
        return str(kind)
    inner = kind.value_type
    fields = [f"{one.name} {one.type}" for one in inner] if pa.types.is_struct(inner) else []
    return f"list of ({', '.join(fields)})" if fields else f"list of {inner}"
