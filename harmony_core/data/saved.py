"""Folders as `save_to_disk` of Hugging Face's `datasets` leaves them, read by name and without that library."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harmony_core.data.encoding import shown
from harmony_core.errors import UserError

STATE = "state.json"
# What lies beside a data set and is no text of it.
_DESCRIPTIONS = {STATE, "dataset_info.json"}
_SPLITS = "dataset_dict.json"
# A file of names is far below this; a larger one is somebody's text.
_STATE_BYTES = 2**24


def descriptions(paths: Sequence[Path]) -> set[Path]:
    """Of the files of a folder, those that describe saved data sets, and are no data of them.

    In a data set's folder no other Arrow file is read: `datasets` keeps its caches there.

    Raises:
        UserError: a file that a data set names is not there, or it was saved as a selection of rows.
    """
    described = set[Path]()
    for state in paths:
        if state.name == STATE and (names := _data_files(state)) is not None:
            folder = state.parent
            files = {folder / name for name in names}
            if gone := sorted(files - set(paths)):
                raise UserError(
                    shown(gone[0]), "not there", f"{STATE} beside it names it; copy the folder again, whole"
                )
            described |= {path for path in paths if path.parent == folder and path.name in _DESCRIPTIONS}
            described |= {path for path in paths if path.parent == folder and path.suffix == ".arrow"} - files
            described |= {path for path in paths if path.parent == folder.parent and path.name == _SPLITS}
    return described


def _data_files(state: Path) -> list[str] | None:
    """The names that a data set's state has; None if it is another file of that name."""
    found = _parsed(state)
    if not isinstance(found, dict) or not {"_data_files", "_fingerprint"} <= found.keys():
        return None
    if found.get("_indices_files") or found.get("_indices_data_files"):
        fix = "call flatten_indices() of the data set and save it again"
        raise UserError(shown(state), "a selection of rows that lies in another file", fix)
    entries = found["_data_files"]
    names = (
        [one.get("filename") if isinstance(one, dict) else None for one in entries] if isinstance(entries, list) else []
    )
    if not names or not all(isinstance(name, str) and name and Path(name).name == name for name in names):
        raise UserError(shown(state), "its _data_files are no names of files", "save the data set again")
    return [str(name) for name in names]


def _parsed(path: Path) -> Any:
    try:
        if path.stat().st_size > _STATE_BYTES:
            return None
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        # What cannot be read is told of where it is read as text.
        return None
