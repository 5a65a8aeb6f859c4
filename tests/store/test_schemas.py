import pyarrow as pa
import pytest

from harmony_core.store import schemas

TABLES = [
    schemas.POPULATION,
    schemas.LEDGER,
    schemas.TRAINING,
    schemas.CURVES,
    schemas.LATENCY,
    schemas.SELECTION,
]


@pytest.mark.parametrize("schema", TABLES, ids=lambda schema: schema.metadata[b"table"].decode())
def test_every_column_is_described(schema: pa.Schema) -> None:
    for field in schema:
        description = field.metadata[b"description"].decode()
        assert len(description) > 5
        if field.nullable and field.name not in ("gradient_norm",):
            assert "null" in description, field.name


@pytest.mark.parametrize("schema", TABLES, ids=lambda schema: schema.metadata[b"table"].decode())
def test_measures_have_units(schema: pa.Schema) -> None:
    for field in schema:
        unit = field.metadata.get(b"unit", b"").decode()
        if "seconds" in field.name:
            assert unit == "s", field.name
        if "bytes" in field.name and field.type != pa.string():
            assert "byte" in unit, field.name


def test_a_status_that_is_not_final_has_no_place() -> None:
    for schema in (schemas.TRAINING, schemas.LATENCY, schemas.SELECTION):
        values = schema.field("status").metadata[b"values"].decode().split("|")
        assert values == ["ok", "diverged", "out_of_memory", "timed_out", "crashed", "invalid"]


def test_generation_and_shard_are_numbers_in_the_files() -> None:
    for schema in (schemas.TRAINING, schemas.CURVES, schemas.LATENCY):
        assert schema.field("generation").type == pa.int32()
        assert schema.field("shard").type == pa.int32()
