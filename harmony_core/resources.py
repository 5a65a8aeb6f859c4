"""Where the files are that are no code: beside the packages in a clone, `installed/` of this package in a wheel."""

from __future__ import annotations

import difflib
from pathlib import Path

from harmony_core.errors import UserError
from harmony_core.plugins import machine_file, machine_names

# Files in these folders can be named without a path.
FOLDERS = ("architectures", "frames", "machines", "sites", "spaces")

# A wheel is laid out in there as a clone is (hatch_build.py).
INSTALLED = "harmony_core/installed"
_CLONE = Path(__file__).parents[1]
ROOT = _CLONE / INSTALLED if (_CLONE / INSTALLED).is_dir() else _CLONE


def shipped(path: str) -> Path:
    """`Snakefile`, or what is below `workflow/`, `profiles/`, `config/` and `resources/`.

    Raises:
        UserError: it is not there.
    """
    if not (ROOT / path).exists():
        raise UserError("file", path, "not part of this installation; install harmony-search again")
    return ROOT / path


def resource(path: str) -> Path:
    """The file or folder `path` below `resources/`; a `UserError` when it is not there."""
    return shipped(f"resources/{path}")


def resource_names(folder: str) -> list[str]:
    """Names (without `.yaml`) of the YAML files in a folder of `resources/` and of other distributions, sorted."""
    return sorted(_own_names(folder).union(machine_names() if folder == "machines" else ()))


def _own_names(folder: str) -> set[str]:
    return {path.name.removesuffix(".yaml") for path in resource(folder).glob("*.yaml")}


def named_yaml(folder: str, name_or_path: str | Path) -> Path:
    """The path itself when it is a YAML file's, otherwise the file of that name in `resources/<folder>`.

    Args:
        folder: `architectures`, `spaces`, ...
        name_or_path: a name without a suffix, or a path that ends in `.yaml` or `.yml`.

    Raises:
        UserError: there is no such name; the nearest one is offered.
    """
    if Path(name_or_path).suffix in (".yaml", ".yml"):
        return Path(name_or_path)
    name = str(name_or_path)
    # HARMONY's own files come first, so that no distribution gives their names another meaning.
    if name in _own_names(folder):
        return resource(f"{folder}/{name}.yaml")
    if folder == "machines" and (added := machine_file(name)) is not None:
        return added
    names = resource_names(folder)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(names)}"
    raise UserError(folder, name_or_path, f"no such name; {hint} (a file's path ends in .yaml)")
