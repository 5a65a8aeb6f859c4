"""What a file is, by its name: text, JSON or a table, plain or compressed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

from harmony_core.data.compression import COMPRESSIONS, Compression

Form = Literal["text", "jsonl", "json", "csv", "tsv", "parquet", "arrow"]
# Suffixes are in small letters.
FORMS: dict[str, Form] = {".txt": "text", ".md": "text", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json"}
# In a folder that has text too these are left out, as they were when nothing read them.
DELIMITED: dict[str, Form] = {".csv": "csv", ".tsv": "tsv"}
# These have compressions of their own.
COLUMNAR: dict[str, Form] = {".parquet": "parquet", ".arrow": "arrow", ".feather": "arrow"}
READABLE = f"{', '.join([*FORMS, *DELIMITED])}, plain or with {', '.join(COMPRESSIONS)}, or {', '.join(COLUMNAR)}"
_UNKNOWN_COMPRESSIONS = {".7z", ".br", ".lz4", ".lzma", ".rar", ".sz", ".z", ".zip"}


class Kind(NamedTuple):
    """How a file is read; its name decides.

    Args:
        form: `text` is one document, of the others a record is one.
        compression: what is undone first.
    """

    form: Form
    compression: Compression | None = None

    @property
    def is_table(self) -> bool:
        """Whether it has columns."""
        return self.form in {*DELIMITED.values(), *COLUMNAR.values()}


def kind_of(path: Path) -> Kind | None:
    """The kind of a name (`a.txt`, `b.JSONL.zst`); None if it is not known to be text."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = COMPRESSIONS.get(suffixes[-1]) if suffixes else None
    if compression:
        suffixes.pop()
    known = FORMS | DELIMITED if compression else FORMS | DELIMITED | COLUMNAR
    form = known.get(suffixes[-1]) if suffixes else None
    return Kind(form, compression) if form else None


def is_unknown_compression(path: Path) -> bool:
    """Whether the name says text under a compression that is not known here (`a.txt.lz4`)."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    return len(suffixes) == 2 and suffixes[0] in FORMS and suffixes[1] in _UNKNOWN_COMPRESSIONS
