"""What a search is, written once at its start: configuration, versions, data, machine."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from harmony_core.atomic import atomic_write
from harmony_core.base import Frozen, canonical_json
from harmony_core.errors import UserError
from harmony_core.store.schemas import FORMAT_VERSION

Json = dict[str, Any]

_ABSENT = "absent"


class Manifest(Frozen):
    """The identity of a search and where it came from.

    Args:
        format_version: of the store's files.
        config: the whole configuration, as `Config.model_dump(mode="json")`.
        config_hash: digest of the part that must not change (`Config.hash`).
        seed: the root of every random number.
        precision: what `precision: auto` was resolved to.
        packages: versions of the packages that results depend on.
        git_commit: of the code; None outside a checkout.
        data: `id`, `source`, `checksum`, `tokenizer_checksum` and `vocab_size` of the prepared corpus.
        machine: where the search was started.
        hypervolume: `reference` and `ideal`, each a value per objective, fixed for the whole search.
        created_at: when the search was started, UTC.
    """

    format_version: int = FORMAT_VERSION
    config: Json
    config_hash: str
    seed: int
    precision: str
    packages: dict[str, str]
    git_commit: str | None = None
    data: Json
    machine: Json
    hypervolume: dict[str, dict[str, float]]
    created_at: datetime


def write_manifest(path: Path | str, manifest: Manifest) -> None:
    """Writes a manifest as indented JSON, atomically."""
    content = json.dumps(manifest.model_dump(mode="json"), indent=2, sort_keys=True, allow_nan=False)
    atomic_write(path, content.encode() + b"\n")


def read_manifest(path: Path | str) -> Manifest:
    """Reads a manifest.

    Raises:
        UserError: the file is missing, damaged, or of another format version.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(str(path), "no such file", "start the search first, or name another folder") from None
    except (OSError, ValueError) as error:
        raise UserError(str(path), str(error), "restore the file, or use another search.name") from None
    version = data.get("format_version") if isinstance(data, dict) else None
    if version != FORMAT_VERSION:
        fix = f"this version reads {FORMAT_VERSION}; use the one that wrote it, or another search.name"
        raise UserError(f"{path}: format_version", version, fix)
    return Manifest.parse(data, str(path))


def check_unchanged(name: str, old: Json, new: Json) -> None:
    """Refuses a configuration that is not the one the search was started with.

    Args:
        name: of the search.
        old: `Config.identity()` of the manifest's configuration.
        new: `Config.identity()` now.

    Raises:
        UserError: names every key that changed, came or went, with its old and new value.
    """
    # Through JSON, so that tuples and lists are the same.
    changes = _changes(json.loads(canonical_json(old)), json.loads(canonical_json(new)), "")
    if changes:
        fix = "restore them, or give the new search another search.name"
        raise UserError(f"config of search {name!r}", "changed: " + "; ".join(changes), fix)


def _changes(old: Any, new: Any, where: str) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for key in sorted(old.keys() | new.keys()):
            path = f"{where}.{key}" if where else key
            found += _changes(old.get(key, _ABSENT), new.get(key, _ABSENT), path)
        return found
    return [] if old == new else [f"{where} {_text(old)} -> {_text(new)}"]


def _text(value: Any) -> str:
    return _ABSENT if value is _ABSENT else canonical_json(value)
