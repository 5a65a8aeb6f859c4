"""Names beside each other in a folder of checkpoints, and which of them stay."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Collection
from pathlib import Path

from harmony_core.atomic import sync
from harmony_core.training.checkpoint.manifest import Damaged, Manifest

_COMMITTED = re.compile(r"step=(\d{8,})")
_WRITING = ".writing"
_REPLACED = ".replaced"
_DELETED = ".deleted"


def committed_path(folder: Path, step: int) -> Path:
    """Where the checkpoint of `step` lies once it is committed."""
    return folder / f"step={step:08d}"


def writing_path(folder: Path, step: int, save: str) -> Path:
    """Where the checkpoint of a step lies before it is committed.

    Args:
        folder: of the training's checkpoints.
        step: optimiser steps done.
        save: tells this save from every other one.
    """
    return folder / f"step={step:08d}.{save}{_WRITING}"


def committed(folder: Path) -> dict[int, Path]:
    """Committed checkpoints by step, the newest first; whether they are whole is not looked at."""
    if not folder.is_dir():
        return {}
    found = {int(match[1]): path for path in folder.iterdir() if (match := _COMMITTED.fullmatch(path.name))}
    return dict(sorted(found.items(), reverse=True))


def commit(writing: Path, target: Path) -> None:
    """Makes `writing` the checkpoint `target`, durably; one that stood there makes room."""
    replaced = target.with_name(writing.name.removesuffix(_WRITING) + _REPLACED)
    if target.exists():
        target.rename(replaced)
    writing.rename(target)
    sync(target.parent)
    if replaced.exists():
        shutil.rmtree(replaced)


def clear_leftovers(folder: Path, keep: Path | None = None) -> None:
    """Ends what a kill interrupted: a replaced checkpoint without successor comes back, all else but `keep` goes."""
    for path in sorted(folder.glob(f"step=*{_REPLACED}")):
        target = folder / path.name.split(".")[0]
        if target.exists():
            shutil.rmtree(path)
        else:
            path.rename(target)
    for path in sorted([*folder.glob(f"step=*{_WRITING}"), *folder.glob(f"step=*{_DELETED}")]):
        if path != keep:
            # A rank of a dying run may still write there. What stays now counts for nothing, and the next call removes
            # it.
            shutil.rmtree(path, ignore_errors=True)


def retain(folder: Path, keep_last: int, keep_best: bool, also: Collection[int] = ()) -> None:
    """Deletes the checkpoints that nobody needs any more.

    One whose manifest cannot be read is not counted and goes in its turn.

    Args:
        folder: of the training's checkpoints.
        keep_last: so many of the newest stay.
        keep_best: whether the one of the lowest score stays, the newest of equal ones.
        also: steps whose checkpoints stay too.
    """
    found = committed(folder)
    scores = {step: score for step, path in found.items() if (score := _score(path)) is not None}
    if not scores:
        return
    last = list(scores)[:keep_last]
    # The first of the lowest is the newest of them, also where no score was measured.
    kept = {*last, min(scores, key=scores.__getitem__)} if keep_best else set(last)
    for step, path in found.items():
        if step < last[-1] and step not in kept and step not in also:
            delete(path)


def delete(path: Path) -> None:
    """Deletes a committed checkpoint; a kill on the way leaves nothing that looks like one."""
    going = path.with_name(path.name + _DELETED)
    path.rename(going)
    shutil.rmtree(going)


def _score(path: Path) -> float | None:
    """Its score, infinite if it has none; None if the manifest cannot be read."""
    try:
        score = Manifest.read(path).score
    except Damaged:
        return None
    return math.inf if score is None else score
