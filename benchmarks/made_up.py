"""A search whose measurements are made up, by a formula or a test: what breeding and selection need of it, no more."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from harmony_core.search.config import Config
from harmony_core.search.frame import Frame
from harmony_core.store import Manifest, SearchFolder, schemas, write_manifest

NEVER = datetime(2026, 1, 1, tzinfo=UTC)


def prepare(folder: SearchFolder, config: Config, vocab_size: int, frame: Frame | None = None, **values: Any) -> None:
    """Writes the manifest of a search, with other `values` if given; without a frame its first generation makes one."""
    manifest = Manifest(
        config=config.model_dump(mode="json"),
        config_hash=config.hash,
        seed=config.search.seed,
        precision="fp32",
        packages={},
        data={"vocab_size": vocab_size, "source": "made up", "checksum": "made up"},
        machine={},
        hypervolume=None if frame is None else frame.model_dump(mode="json"),
        created_at=NEVER,
        **values,
    )
    write_manifest(folder.manifest, manifest)


def result(schema: pa.Schema, member: Mapping[str, Any], **values: Any) -> dict[str, Any]:
    """A row of training or latency for a row of the population, blank but for `values`."""
    key = {name: member[name] for name in ("search", "generation", "candidate", "architecture_id")}
    return {**blank(schema), **key, **values}


def blank(schema: pa.Schema) -> dict[str, Any]:
    """A row of values that nobody looks at: nothing where that is allowed, else the first or the least."""
    values = {pa.int32(): 0, pa.int64(): 0, pa.float64(): 0.0, pa.string(): "", schemas.TIME: NEVER}
    allowed = {field.name: (field.metadata or {}).get(b"values", b"").decode().split("|")[0] for field in schema}
    return {field.name: None if field.nullable else allowed[field.name] or values[field.type] for field in schema}
