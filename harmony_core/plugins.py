"""What other installed distributions add: blocks, evaluators, metrics, mutations, algorithms, families, machines.

A distribution names its modules in its metadata, in groups such as `harmony.blocks`. They are imported where a name is
met that HARMONY itself has not, all of a group, once a process: a file says which name it wants, and never what is
imported.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, PackageNotFoundError, entry_points, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from harmony_core.errors import UserError

GROUPS = ("blocks", "evaluators", "metrics", "mutations", "algorithms", "families", "machines")

_T = TypeVar("_T")
_loaded: set[str] = set()
# For each group and name that another distribution registered: which distribution did, and which names were asked for.
_origins: dict[tuple[str, str], Distribution] = {}
_used: set[tuple[str, str]] = set()


@dataclass(frozen=True)
class Plugin:
    """A distribution that adds something.

    Args:
        distribution: its name.
        version: its version.
        sha256: of its list of files and their hashes; empty where its installer left none.
        adds: what of it is used, each name after its group.
    """

    distribution: str
    version: str
    sha256: str
    adds: tuple[str, ...]


def find(group: str, name: str, registry: Mapping[str, _T]) -> _T | None:
    """What a registry has under a name, once the group's modules are imported if it must be; None for nothing.

    Args:
        group: of `GROUPS`.
        name: what is asked for.
        registry: of all that is known of the kind.

    Raises:
        UserError: a module of the group cannot be imported, or registers a name that is taken.
    """
    if name not in registry:
        load(group, registry)
    if (group, name) in _origins:
        _used.add((group, name))
    return registry.get(name)


def load(group: str, registry: Mapping[str, object]) -> None:
    """Imports a group's modules, once a process, and notes which names each registers; raises as `find`."""
    if group in _loaded:
        return
    # This comes before the imports, since they may look for names themselves.
    _loaded.add(group)
    try:
        for point in _points(group).values():
            before = set(registry)
            try:
                point.load()
            except Exception as error:
                raise _refused(group, point, f"{type(error).__name__}: {error}") from error
            _note(group, set(registry) - before, point)
    except BaseException:
        _loaded.discard(group)
        raise


def _note(group: str, names: Iterable[str], point: EntryPoint) -> None:
    assert point.dist is not None, "entry points are read from distributions"
    _origins.update({(group, name): point.dist for name in names})


def distribution_of(group: str, name: str) -> str | None:
    """Name and version of the distribution that registered a name; None for HARMONY's own."""
    found = _origins.get((group, name))
    return None if found is None else f"{found.name} {found.version}"


def used() -> tuple[Plugin, ...]:
    """The distributions of which this process has asked for something, by name."""
    adds: dict[str, list[str]] = {}
    found = {}
    for group, name in sorted(_used):
        distribution = _origins[group, name]
        adds.setdefault(distribution.name, []).append(f"{group}.{name}")
        found[distribution.name] = distribution
    return tuple(
        Plugin(name, found[name].version, _hash(found[name].read_text("RECORD")), tuple(adds[name]))
        for name in sorted(adds)
    )


def check_installed(recorded: Iterable[Mapping[str, Any]]) -> list[str]:
    """Refuses to go on without what a search was begun with.

    Args:
        recorded: `used` of then, as JSON.

    Returns:
        A line for each distribution of another version than then.

    Raises:
        UserError: one is not installed.
    """
    told = []
    for one in recorded:
        name, begun = str(one["distribution"]), str(one["version"])
        try:
            now = version(name)
        except PackageNotFoundError:
            fix = f"not installed, and the search was begun with it ({', '.join(one['adds'])}); install it again"
            raise UserError("plugins", f"{name} {begun}", fix) from None
        if now != begun:
            told.append(f"{name} is {now} now, and was {begun} when the search was begun")
    return told


def machine_file(name: str) -> Path | None:
    """The YAML file that a distribution has for a machine, beside the module that the entry point names."""
    point = _points("machines").get(name)
    spec = None if point is None else find_spec(point.module)
    if point is None or spec is None or spec.origin is None:
        return None
    _note("machines", [name], point)
    _used.add(("machines", name))
    return Path(spec.origin).parent / f"{name}.yaml"


def machine_names() -> list[str]:
    """Machines of other distributions."""
    return list(_points("machines"))


def _points(group: str) -> dict[str, EntryPoint]:
    """A group's entry points, sorted by name."""
    points: dict[str, EntryPoint] = {}
    for point in sorted(entry_points(group=f"harmony.{group}"), key=lambda point: point.name):
        if point.name in points:
            raise _refused(group, point, f"{point.name!r} is also what {_distribution(points[point.name])} adds")
        points[point.name] = point
    return points


def _refused(group: str, point: EntryPoint, why: str) -> UserError:
    fix = f"{' '.join(why.split())}; mend or uninstall {_distribution(point)}"
    return UserError(f"harmony.{group}", f"{point.name} = {point.value}", fix)


def _distribution(point: EntryPoint) -> str:
    return "another distribution" if point.dist is None else f"{point.dist.name} {point.dist.version}"


def _hash(record: str | None) -> str:
    return "" if record is None else hashlib.sha256(record.encode()).hexdigest()
