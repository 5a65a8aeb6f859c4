"""What a search is, written once at its start: configuration, versions, data, machine."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import Field

from harmony_core.atomic import atomic_write, refusal
from harmony_core.base import Frozen, canonical_json, digest
from harmony_core.errors import UserError
from harmony_core.metrics.declaration import recall_all
from harmony_core.store.schemas import FORMAT_VERSION
from harmony_core.store.versions import NEWER

# `harmony migrate` reads these formats.
MIGRATED_VERSIONS = (2,)

Json = dict[str, Any]

_ABSENT = "absent"
_CHECKSUM = "checksum"
_RESTORE = "restore the file, or use another search.name"


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
        hypervolume: the frame (`evolution.frame.Frame`) that the search began with; None where its first generation
            makes one, which then lies in `frame.yaml`.
        reference_latency: what one call of `latency.reference` took when the search was started [s], by mode.
        created_at: when the search was started, UTC.
        plugins: distributions that add something to it (`plugins.Plugin`).
        metrics: declarations of its metrics that are not HARMONY's own, so that they can be shown without those.
        migrated_from: the manifest that the search began with, whole, where that was of an older format
            (`harmony migrate`); nothing more is measured in such a search.
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
    hypervolume: Json | None = None
    reference_latency: dict[str, float] = Field(default_factory=dict)
    created_at: datetime
    plugins: list[Json] = Field(default_factory=list)
    metrics: list[Json] = Field(default_factory=list)
    migrated_from: Json | None = None

    @property
    def has_relative_latency(self) -> bool:
        """Whether latencies are relative to the reference's, and not what was measured itself, as in version 2."""
        return self.migrated_from is None

    def check_may_measure(self, path: Path | str) -> None:
        """Refuses to go on with a migrated search (`why_it_ends`).

        Args:
            path: the search's folder.

        Raises:
            UserError: it says why, and what to do instead.
        """
        why = self.why_it_ends(path)
        if why is not None:
            raise why

    def why_it_ends(self, path: Path | str) -> UserError | None:
        """Why nothing more is measured in a search: it would not compare with what was; None where it would."""
        if self.migrated_from is None:
            return None
        commit = self.git_commit or "the commit that began it"
        value = f"began in format version {self.migrated_from.get('format_version')}, and is read but not gone on with"
        fix = (
            "losses were of the validation split's beginning, latencies not relative to a reference; "
            f"finish the original with HARMONY {commit} and migrate that, or begin a new search"
        )
        return UserError(str(path), value, fix)


def write_manifest(path: Path | str, manifest: Manifest) -> None:
    """Writes a manifest as indented JSON with a checksum, atomically."""
    data = manifest.model_dump(mode="json")
    content = json.dumps({**data, _CHECKSUM: digest(data)}, indent=2, sort_keys=True, allow_nan=False)
    atomic_write(path, content.encode() + b"\n")


def read_manifest(path: Path | str) -> Manifest:
    """Reads a manifest.

    Raises:
        UserError: the file is missing, damaged, or of another format version.
    """
    data = stored_manifest(path)
    if data.get("format_version") != FORMAT_VERSION:
        raise version_refused(path, data.get("format_version"))
    # Manifests of earlier versions have no checksum.
    written = data.pop(_CHECKSUM, None)
    if written is not None and written != _digest(data):
        raise UserError(str(path), "its content is not what was written", _RESTORE)
    manifest = Manifest.parse(data, str(path))
    recall_all(manifest.metrics)
    return manifest


def _digest(data: Json) -> str | None:
    """The checksum of a manifest's content; None for what no manifest can hold."""
    try:
        return digest(data)
    except (ValueError, RecursionError):
        return None


def stored_manifest(path: Path | str) -> Json:
    """What a manifest of any format version holds, unchecked.

    Raises:
        UserError: the file is missing, or no manifest.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(str(path), "no such file", "start the search first, or name another folder") from None
    except OSError as error:
        raise refusal(error) from None
    except (ValueError, RecursionError) as error:
        raise UserError(str(path), str(error), _RESTORE) from None
    if not isinstance(data, dict):
        raise UserError(str(path), "no manifest", _RESTORE)
    return data


def version_refused(path: Path | str, version: Any) -> UserError:
    """What is told of a manifest of another format version than this one's."""
    if version in MIGRATED_VERSIONS:
        fix = f"`harmony migrate {Path(path).parent} NEW` writes it so to a new folder"
    elif isinstance(version, int) and version > FORMAT_VERSION:
        fix = NEWER
    else:
        fix = "use the one that wrote it, or another search.name"
    return UserError(f"{path}: format_version", version, f"this HARMONY reads {FORMAT_VERSION}; {fix}")


def check_unchanged(name: str, old: Json, new: Json) -> None:
    """Refuses a configuration that is not the one the search was started with.

    Args:
        name: of the search.
        old: `Config.identity()` of the manifest's configuration.
        new: `Config.identity()` now.

    Raises:
        UserError: names every key that changed, came or went, with its old and new value.
    """
    # Both go through JSON, so that tuples and lists are the same.
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
