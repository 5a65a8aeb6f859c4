"""What a finished generation came to, in one file: rows, what is told beside them, and of which files it is true.

A search's files are whole and stay as they are; where one is made again it is another file. So a summary names the
state of each file that it was read from: size, inode, and the times of its content and of its entry, the last of
which no program can set. Git's index trusts no more. A summary of other files than there are now, made by another
HARMONY, or damaged, counts for nothing and is made anew. Its own pages have checksums. What it cannot see is a disk
that loses bits of a file after it was read: then the summary is the better copy.
"""

from __future__ import annotations

import json
import os
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

import harmony_core
from harmony_core.atomic import replacing
from harmony_core.base import digest
from harmony_core.errors import UserError
from harmony_core.store.table import frame

# The rules by which a summary is made; another number is another summary.
_VERSION = 2
# Of a front of a hundred some groups are read; more groups are more work where all are.
_ROWS_OF_GROUP = 4096
_STATE, _TOLD, _CHECKSUM = b"state", b"told", b"checksum"

State = str


def state_of(paths: Sequence[Path], settings: Any) -> State:
    """What a summary of these files is true of.

    Args:
        paths: the files.
        settings: JSON of what else their summary follows from.

    Raises:
        OSError: one is not there.
    """
    stats = [os.stat(path) for path in paths]
    files = [
        [f"{path.parent.name}/{path.name}", one.st_size, one.st_ino, one.st_mtime_ns, one.st_ctime_ns]
        for path, one in zip(paths, stats, strict=True)
    ]
    return digest([_VERSION, harmony_core.__version__, settings, files])


def read(
    path: Path, state: State, columns: Sequence[str] | None = None, candidates: Collection[int] | None = None
) -> tuple[pl.DataFrame, Any] | None:
    """Rows of a summary and what is told beside them; None where there is none of these files, or it is damaged.

    Args:
        path: its file.
        state: of the files that it must be true of.
        columns: those that are read, the candidate among them; None is all.
        candidates: whose rows are needed, at least; None is all.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            told = _told(file.schema_arrow, state)
            if told is None:
                return None
            wanted = file.schema_arrow.names if columns is None else list(columns)
            found = range(file.num_row_groups) if candidates is None else _groups_of(file, candidates)
            # Generations are read at once; threads for the columns of each would wait for one another.
            content = file.read_row_groups(found, wanted, use_threads=False).select(wanted)
            whole = len(content) == sum(file.metadata.row_group(number).num_rows for number in found)
            whole = whole and (candidates is not None or len(content) == file.metadata.num_rows)
        content.validate(full=True)
    except (OSError, pa.ArrowException, ValueError, LookupError, OverflowError, MemoryError):
        # Nothing is lost: the files that it was read from say the same, or raise.
        return None
    rows = frame(content)
    # No checksum covers where rows are; a candidate that is not there is another sign of damage.
    whole = whole and (candidates is None or set(candidates) <= set(rows["candidate"]))
    return (rows, json.loads(told)) if whole else None


def _groups_of(file: pq.ParquetFile, candidates: Collection[int]) -> list[int]:
    """The row groups in which these candidates can be."""
    place = file.schema_arrow.names.index("candidate")
    wanted = sorted(candidates)
    found = []
    for number in range(file.num_row_groups):
        bounds = file.metadata.row_group(number).column(place).statistics
        if bounds is None or bisect_left(wanted, bounds.min) < bisect_right(wanted, bounds.max):
            found.append(number)
    return found


def keep(path: Path, state: State, rows: pl.DataFrame, told: Any = None) -> UserError | OSError | None:
    """Writes a summary; what the file system says where it may not be written, which loses nothing.

    Args:
        path: its file.
        state: of the files that it is true of, before and after they were read.
        rows: of its candidates, in their order.
        told: JSON of what is told beside them.
    """
    content = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
    text = json.dumps(told)
    metadata = {_STATE: state, _TOLD: text, _CHECKSUM: digest([state, text])}
    try:
        with replacing(path) as temporary:
            pq.write_table(
                content.replace_schema_metadata(metadata),
                temporary,
                row_group_size=_ROWS_OF_GROUP,
                compression="lz4",
                write_page_checksum=True,
            )
    except (UserError, OSError) as error:
        return error
    return None


def _told(schema: pa.Schema, state: State) -> str | None:
    """What a summary's metadata, which Parquet has no checksum of, tells; None where it is not of this state."""
    found = {key: value.decode("utf-8", "replace") for key, value in (schema.metadata or {}).items()}
    content = found.get(_TOLD, "")
    return content if found.get(_STATE) == state and found.get(_CHECKSUM) == digest([state, content]) else None
