"""Writes a search of an older format to a new folder; the old one is only read."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

from harmony_core.atomic import atomic_write
from harmony_core.errors import UserError
from harmony_core.migration.configuration import migrated_config
from harmony_core.migration.pieces import MANIFEST, MARKER, pieces
from harmony_core.migration.verify import verify
from harmony_core.migration.write import same_time, write_piece
from harmony_core.search.config import Config
from harmony_core.store import Manifest, SearchFolder, write_manifest
from harmony_core.store.manifest import MIGRATED_VERSIONS, stored_manifest, version_refused
from harmony_core.store.schemas import FORMAT_VERSION

Json = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Migrated:
    """What a migration did.

    Args:
        version: format version of the source.
        tables: how many tables were written anew.
        rows: how many rows they have.
        journals: how many journals were written anew.
        copied: how many other files were copied as they are.
        left_out: how many files were not taken along.
        changed: a line for each value of the configuration that is told otherwise.
    """

    version: int
    tables: int
    rows: int
    journals: int
    copied: int
    left_out: int
    changed: tuple[str, ...]


def migrate(source: SearchFolder, destination: Path) -> Migrated | None:
    """Writes a search of an older format to a new folder in this one's, and compares the two.

    It may be interrupted at any moment, and goes on when it is called again: every file is whole or absent, and the
    manifest, which makes a folder a search, comes last.

    Args:
        source: the search; nothing in it is changed.
        destination: a folder that is not there or empty, or that an interrupted migration of this search left.

    Returns:
        What was done; None where the search is of this format already, and nothing is written.

    Raises:
        UserError: a format that nobody migrates, a damaged file, a destination that holds something else.
    """
    old = stored_manifest(source.manifest)
    version = old.get("format_version")
    if version == FORMAT_VERSION:
        return None
    if version not in MIGRATED_VERSIONS:
        raise version_refused(source.manifest, version)
    manifest, changed = _manifest(source.manifest, old)
    _begin(source, destination)
    found = list(pieces(source.path))
    for piece in found:
        if piece.fate != "left out":
            write_piece(piece, source.path, destination, manifest.config)
    rows = verify(source.path, destination, found)
    write_manifest(destination / MANIFEST, manifest)
    same_time(source.manifest, destination / MANIFEST)
    _end(destination)
    fates = Counter(piece.fate for piece in found)
    return Migrated(
        version,
        fates["table"],
        rows,
        fates["journal"],
        fates["copy"],
        fates["left out"],
        tuple(changed),
    )


def _manifest(path: Path, old: Json) -> tuple[Manifest, list[str]]:
    """The manifest of the migrated search, and what its configuration tells otherwise."""
    try:
        told, changed = migrated_config(old["config"])
        config = Config.parse(told, str(path))
        today = {
            "format_version": FORMAT_VERSION,
            "config": config.recorded(),
            "config_hash": config.hash,
            "hypervolume": _frame(old["hypervolume"], config),
            "migrated_from": old,
        }
    except UserError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
        raise UserError(str(path), "not what format version 2 wrote", "restore the file") from None
    return Manifest.parse({**old, **today}, str(path)), changed


def _frame(old: dict[str, dict[str, float]], config: Config) -> Json | None:
    """The points between which the hypervolume was measured, where they have all objectives in between."""
    ideal, reference = old["ideal"], old["reference"]
    apart = [name for name in ideal if name in reference and ideal[name] < reference[name]]
    if not set(config.search.metrics) <= set(apart):
        return None
    return {"ideal": {name: ideal[name] for name in apart}, "reference": {name: reference[name] for name in apart}}


def _begin(source: SearchFolder, destination: Path) -> None:
    """Marks the destination as this migration's; refuses one that is anything else."""
    here, there = source.path.resolve(), destination.resolve()
    if there == here or here in there.parents:
        raise UserError("destination", destination, f"not within {source.path}; name a new folder")
    mark = {"source": str(here), "manifest": hashlib.sha256(source.manifest.read_bytes()).hexdigest()}
    marker = destination / MARKER
    if marker.is_file():
        try:
            is_own = json.loads(marker.read_text(encoding="utf-8"))["manifest"] == mark["manifest"]
        except (ValueError, KeyError, TypeError):
            is_own = False
        if not is_own:
            raise UserError("destination", destination, "another search is being migrated there; name a new folder")
        return
    if destination.exists() and not _is_empty(destination):
        raise UserError("destination", destination, "not empty; name a folder that is not there yet")
    atomic_write(marker, json.dumps(mark, indent=2).encode() + b"\n")


def _is_empty(destination: Path) -> bool:
    """Whether nothing lies there but the mark of a migration that was killed while it wrote that."""
    if not destination.is_dir():
        return False
    return all(path.match(f".{MARKER}.*.tmp") for path in destination.iterdir())


def _end(destination: Path) -> None:
    """The folder is a search like another; what interrupted writing has left in it goes."""
    for path in destination.rglob(".*.tmp"):
        path.unlink(missing_ok=True)
    (destination / MARKER).unlink()
