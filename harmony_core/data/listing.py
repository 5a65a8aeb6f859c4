"""Which files are read: those named, and those of the folders named, each once, in sorted order."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from harmony_core.data.encoding import first_names, shown
from harmony_core.data.kinds import READABLE, Kind, is_unknown_compression, kind_of
from harmony_core.data.saved import descriptions
from harmony_core.errors import UserError


class TextFile(NamedTuple):
    """A file to read.

    Args:
        path: where it is.
        name: how it is called in the manifest, relative to the folder that was named.
        kind: how it is read.
    """

    path: Path
    name: str
    kind: Kind


class Listing(NamedTuple):
    """What lies under the paths.

    Args:
        files: those that are read.
        others: names of what is there and is not read; of a hidden folder, its own name alone.
    """

    files: list[TextFile]
    others: list[str]


def list_files(paths: Sequence[str]) -> Listing:
    """The files of `paths`, in their order and sorted within each folder; a file with two names is read once.

    Links are followed, to files and to folders. What is hidden (begins with a dot) is not read.

    Raises:
        UserError: a path is missing, unreadable or no file, is not known to be text, or matches nothing; a folder has
            no text, text under a compression that is not known here, or text beside larger tables.
    """
    listing, seen = Listing([], []), set[tuple[int, int]]()
    for top in (path for pattern in paths for path in expand(pattern, kind_of)):
        if stat.S_ISDIR(_status(top).st_mode):
            found = _under(top, listing.others)
        elif kind := kind_of(top):
            found = [TextFile(top, shown(top.name), kind)]
        else:
            raise UserError("data.paths", shown(top), f"unknown kind of file; use {READABLE}")
        for file in found:
            status = _status(file.path)
            if not stat.S_ISREG(status.st_mode):
                raise UserError(shown(file.path), "not a regular file", "write its text to a file, and name that")
            if (identity := (status.st_dev, status.st_ino)) not in seen:
                seen.add(identity)
                listing.files.append(file)
    return listing


def expand(path: str, known: Callable[[Path], object] = bool) -> list[Path]:
    """What a path of a configuration stands for: itself where it is there, else by `~` and as a pattern, sorted.

    `*`, `?` and `[...]` match within a name, and `**` any folders, of which it then gives the known files; what is
    hidden they do not match. `known` says which files are.

    Raises:
        UserError: it is a pattern that nothing matches, or `~` of nobody.
    """
    if not path:
        raise UserError("data.paths", path, "name a file or folder")
    try:
        if os.path.lexists(path):
            return [Path(path)]
        whole = os.path.expanduser(path)
        if whole.startswith("~"):
            raise UserError("data.paths", shown(path), "there is no such user; name a folder")
        if not glob.has_magic(whole) or os.path.lexists(whole):
            return [Path(whole)]
        found = sorted(map(Path, glob.glob(whole, recursive=True)), key=lambda one: one.parts)
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise UserError("data.paths", shown(path), f"no name of a file ({error}); correct it") from None
    files = [one for one in found if known(one) and not one.is_dir()] if "**" in path else found
    if not files:
        raise UserError("data.paths", shown(path), "no file matches this pattern; correct it")
    return files


def _status(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise UserError(shown(path), error.strerror, "name a file that exists and is readable") from None
    except ValueError as error:
        raise UserError("data.paths", shown(path), f"no name of a file ({error}); correct it") from None


def _under(top: Path, others: list[str]) -> list[TextFile]:
    """The text files under a folder, or its tables, sorted by path; what else is there is added to `others`."""
    found: list[TextFile] = []
    left = len(others)
    for path in sorted(_walk(top), key=lambda path: path.relative_to(top).parts):
        name = shown(path.relative_to(top).as_posix())
        if path.name.startswith("."):
            others.append(name)
        elif is_unknown_compression(path):
            raise UserError(shown(path), path.suffix, f"unknown compression; use {READABLE}")
        elif kind := kind_of(path):
            found.append(TextFile(path, name, kind))
        else:
            others.append(name)
    described = descriptions([file.path for file in found])
    found = _of_one_kind(top, [file for file in found if file.path not in described], others)
    if not found:
        there = f"; it has {first_names(others[left:])}" if others[left:] else ""
        raise UserError("data.paths", shown(top), f"no text in this folder; it needs files in {READABLE}{there}")
    return found


def _of_one_kind(top: Path, found: list[TextFile], others: list[str]) -> list[TextFile]:
    """Text alone where there is any: a table beside it is left out, and must be named by itself."""
    tables = [file for file in found if file.kind.is_table]
    texts = [file for file in found if not file.kind.is_table]
    if not texts or not tables:
        return found
    if sum(map(_size, tables)) > sum(map(_size, texts)):
        mixed = f"text ({first_names([file.name for file in texts])}) beside larger tables"
        names = first_names([file.name for file in tables])
        fix = f"name what is meant, for example '{shown(top)}/**/*{texts[0].path.suffix}'"
        raise UserError("data.paths", f"{shown(top)}: {mixed} ({names})", fix)
    others.extend(file.name for file in tables)
    others.sort()
    return texts


def _size(file: TextFile) -> int:
    return _status(file.path).st_size


def _walk(top: Path) -> Iterator[Path]:
    """Every file under a folder, and every hidden folder instead of what it holds."""

    def refuse(error: OSError) -> None:
        raise UserError(shown(error.filename), error.strerror, "make this folder readable, or name another")

    # A link may lead to a folder that was walked already, or to one that holds the link.
    seen = {_identity(top)}
    for folder, children, files in os.walk(top, onerror=refuse, followlinks=True):
        hidden = [child for child in children if child.startswith(".")]
        yield from (Path(folder, name) for name in [*files, *hidden])
        children[:] = list(_new(folder, sorted(set(children) - set(hidden)), seen))


def _new(folder: str, children: Iterable[str], seen: set[tuple[int, int]]) -> Iterator[str]:
    for child in children:
        if (identity := _identity(Path(folder, child))) not in seen:
            seen.add(identity)
            yield child


def _identity(path: Path) -> tuple[int, int]:
    status = _status(path)
    return status.st_dev, status.st_ino
