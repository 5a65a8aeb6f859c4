"""Reads one column of Parquet and Arrow files, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from harmony_core.data.corpus import Document
from harmony_core.data.records import Reading, column_number
from harmony_core.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

# Rows that are held as Python's objects at once.
_ROWS = 64
_BUFFER_BYTES = 2**20


def table_documents(path: Path, form: Literal["parquet", "arrow"], reading: Reading) -> Iterator[Document]:
    """The texts of a column, one row after another.

    Arrow files are in either form, that of files and that of streams (as `datasets` writes them).

    Args:
        path: the file.
        form: what it is.
        reading: of the file.

    Raises:
        UserError: it is damaged, is no such file or has no such column, or (from `reading.bad`) a row has no text.
    """
    with _faults(form, reading), path.open("rb") as file:
        row = 0
        for column in _parquet(file, reading) if form == "parquet" else _arrow(file, reading):
            # Offsets that lead out of the buffers are found here, and so is what is not UTF-8.
            column.validate(full=True)
            for first in range(0, len(column), _ROWS):
                for text in column[first : first + _ROWS].to_pylist():
                    row += 1
                    if text is None:
                        fix = f"text is needed in the column {reading.text_key!r}; fill it, or take the row away"
                        reading.bad(UserError(f"{reading.where}:{row}", "null", fix))
                    else:
                        yield Document(f"{reading.name}:{row}", text.encode())


@contextmanager
def _faults(form: str, reading: Reading) -> Iterator[None]:
    """What Arrow says of a damaged file, in one line."""
    import pyarrow as pa

    try:
        yield
    except UserError:
        raise
    except (pa.ArrowException, OSError, MemoryError, ValueError) as error:
        fix = f"this is no {form.capitalize()} file, or it is damaged; copy it again"
        raise UserError(reading.where, str(error)[:200] or type(error).__name__, fix) from None


def _parquet(file: IO[bytes], reading: Reading) -> Iterator[pa.Array]:
    import pyarrow.parquet as pq

    table = pq.ParquetFile(file, buffer_size=_BUFFER_BYTES)
    _find(table.schema_arrow, reading)
    for batch in table.iter_batches(_ROWS, columns=[reading.text_key], use_threads=False):
        yield batch.column(reading.text_key)


def _arrow(file: IO[bytes], reading: Reading) -> Iterator[pa.Array]:
    from pyarrow import ipc

    is_file = file.read(6) == b"ARROW1"
    file.seek(0)
    opener = ipc.open_file if is_file else ipc.open_stream
    place = _find(opener(file).schema, reading)
    file.seek(0)
    batches = opener(file, options=ipc.IpcReadOptions(included_fields=[place], use_threads=False))
    numbers = range(batches.num_record_batches) if is_file else None
    for batch in batches if numbers is None else map(batches.get_batch, numbers):
        yield batch.column(0)


def _find(schema: pa.Schema, reading: Reading) -> int:
    return column_number(schema.names, [field.name for field in schema if _is_text(field.type)], reading)


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))
