"""All that can be found wrong with a configuration before anything is run, at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from pydantic import TypeAdapter

from harmony_core.base import read_yaml, yaml_line
from harmony_core.data.listing import expand
from harmony_core.data.loading import vocab_sizes
from harmony_core.errors import UserError, UserErrors
from harmony_core.resources import named_yaml
from harmony_core.search.config import Config
from harmony_core.space import Space, sample

# A space that gives one architecture in so many draws is said to hold no other.
_DRAWS = 32


def read_checked(path: Path | str, changes: Mapping[str, Any] | None = None) -> Config:
    """Reads a configuration file.

    A mistake hides no other one: the sections that are right in themselves are checked against each other and against
    the files that they name.

    Args:
        path: the file.
        changes: keys that have other values than in the file.

    Raises:
        UserErrors: all mistakes that were found.
    """
    where = Path(path).name
    data = read_yaml(path)
    data = {} if data is None else data
    if changes and isinstance(data, dict):
        data = merged(data, changes)
    found = Config.mistakes(data, where)
    if not found:
        config, sections = Config.parse(data, where), set(Config.model_fields)
    else:
        config, sections = _right_sections(data if isinstance(data, dict) else {})
    found += _mistakes(config, sections)
    if found:
        # A name may be checked twice: alone, and together with what depends on it.
        raise UserErrors(list({str(one): one for one in found}.values()))
    return config


def merged(data: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A tree with some keys changed; sections that both have are merged, as Snakemake does."""
    both = [key for key in changes if isinstance(changes[key], Mapping) and isinstance(data.get(key), Mapping)]
    return {**data, **changes, **{key: merged(data[key], changes[key]) for key in both}}


def located(mistakes: UserError, path: Path, changes: Mapping[str, Any] | None = None) -> UserErrors:
    """The same mistakes, each with its file and line in front, as compilers tell them and editors read them.

    Args:
        mistakes: what `read_checked` raises.
        path: the configuration file.
        changes: as for `read_checked`; what is wrong with them has no line.
    """
    data = read_yaml(path)
    space = merged(data, changes or {}).get("space") if isinstance(data, dict) else None
    # What is wrong in a space's own file is told by that file's name.
    spaces = [Path(space)] if isinstance(space, str) else []
    return UserErrors([_located(one, path, spaces, changes or {}) for one in mistakes.every])


def _located(mistake: UserError, path: Path, spaces: Sequence[Path], changes: Mapping[str, Any]) -> UserError:
    for file in spaces:
        if mistake.field.startswith(f"{file.name}.") and file.is_file():
            keys = mistake.field.removeprefix(f"{file.name}.").split(".")
            return UserError(f"{file.name}:{yaml_line(file, keys)}: {'.'.join(keys)}", mistake.value, mistake.fix)
    inner: Any = changes
    keys = mistake.field.removeprefix(f"{path.name}.").split(".")
    if keys[0] not in Config.model_fields:
        # It is of another file, or of the whole of this one.
        return mistake
    for key in keys:
        inner = inner.get(key) if isinstance(inner, Mapping) else inner
    place = "--set" if inner is not None else f"{path.name}:{yaml_line(path, keys)}"
    return UserError(f"{place}: {'.'.join(keys)}", mistake.value, mistake.fix)


def check_space(config: Config) -> None:
    """Refuses a space whose budgets no draw meets, or in which there is nothing to choose.

    Raises:
        UserError: as `sample`, or all draws are one architecture.
    """
    space, rng = Space.read(config.space), np.random.default_rng(0)
    sizes = vocab_sizes(config.data)
    found: set[str] = set()
    for vocab_size in sizes:
        try:
            for _ in range(_DRAWS):
                found.add(sample(space, vocab_size, rng).architecture.id)
                if len(found) > 1:
                    return
        except UserError:
            if not found and vocab_size == sizes[-1]:
                raise
    name = config.space if isinstance(config.space, str) else "given in full"
    raise UserError("space", name, "every draw is the same architecture; widen its depth, widths or domains")


def _right_sections(data: dict[str, object]) -> tuple[Config, set[str]]:
    """A configuration of the sections that are valid, the others at their defaults, and which are."""
    values = {}
    for name, field in Config.model_fields.items():
        if name not in data:
            values[name] = field.get_default()
            continue
        try:
            values[name] = TypeAdapter(cast(Any, field.annotation)).validate_python(data[name])
        except ValueError:
            # The section's mistakes are reported already.
            continue
    return Config.model_construct(**values), set(values)


def _mistakes(config: Config, sections: set[str]) -> Iterator[UserError]:
    """What is wrong between valid sections, and with what they name."""
    wrong_space = list(_in_space(config)) if "space" in sections else []
    yield from wrong_space
    if wrong_space:
        sections = sections - {"space"}
    yield from config.wrong_names(sections)
    checks: tuple[tuple[set[str], Callable[[Config], None]], ...] = (
        ({"space", "data"}, check_space),
        ({"data", "recipe"}, _check_text),
    )
    for needed, check in checks:
        if needed <= sections:
            try:
                check(config)
            except UserError as error:
                yield error
    for path in config.data.paths if "data" in sections else ():
        if not _exists(path):
            yield UserError("data.paths", path, "no such file or folder; name one that exists")


def _in_space(config: Config) -> Iterator[UserError]:
    if isinstance(config.space, dict):
        yield from Space.mistakes(config.space, "space")
        return
    try:
        path = named_yaml("spaces", config.space)
        yield from Space.mistakes(read_yaml(path), path.name)
    except UserError as error:
        yield UserError("space", error.value, error.fix)


def _check_text(config: Config) -> None:
    """Refuses so little text that no split could hold a sequence: a token is one byte at least."""
    limit, needed = config.data.max_bytes, config.recipe.sequence_length
    if limit is not None and limit < needed:
        raise UserError("data.max_bytes", limit, f"less than a sequence of {needed} tokens; use {needed + 1} or more")


def _exists(path: str) -> bool:
    try:
        return all(one.exists() for one in expand(path))
    except (OSError, ValueError):
        # A text that is too long or holds a zero byte names no file, and a pattern may match none.
        return False
