"""Tables that may appear, and vanish, while somebody looks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa

from harmony_core.errors import UserError
from harmony_core.store import read_table


def read_if_there(path: Path, schema: pa.Schema, columns: Sequence[str]) -> pl.DataFrame | None:
    """Some columns of a table; None where there is no such file.

    Args:
        path: the Parquet file.
        schema: the one that it should have, one of `schemas`.
        columns: those that are read.

    Raises:
        UserError: the file is damaged, or of another schema.
    """
    if not path.is_file():
        return None
    try:
        return read_table(path, schema, columns)
    except UserError:
        # Snakemake removes the outputs of a job that it is about to run again.
        if not path.is_file():
            return None
        raise
