"""What every configuration object shares: frozen, unknown keys refused by name, errors in one line."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from harmony_core.errors import UserError


class Frozen(BaseModel):
    """An immutable, hashable value; a key that is not one of its fields is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def parse(cls, data: Any, where: str = "") -> Self:
        """Validates `data`, turning pydantic's report into one `UserError` for the first mistake."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise _first_mistake(cls, data, error, where) from None


class _UniqueKeys(yaml.SafeLoader):
    """The safe loader, which keeps the last of two equal keys, refusing them instead."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # As the text has it: keys merged in (`<<`) are there to be overridden.
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.composer.ComposerError(None, None, f"{key.value!r} is there twice", key.start_mark)
                seen.add(key.value)
        return node


def read_yaml(path: Path | str) -> Any:
    """Reads one YAML document with the safe loader; one that cannot be read, or has a key twice, is a `UserError`."""
    try:
        return yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_UniqueKeys)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise UserError("file", path, f"{reason}; name a readable YAML file") from None
    except yaml.YAMLError as error:
        raise UserError("file", path, f"not valid YAML ({error}); correct it") from None


def canonical_json(value: Any) -> str:
    """Compact JSON with sorted keys: the same text for the same value, on every machine."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """The first 16 hex digits of the SHA-256 of the value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]


# What pydantic says in its own words of a value of the wrong kind.
_WANTED = {"model_type": "use a mapping of keys", "tuple_type": "use a list", "string_type": "use text, in quotes"}


def _first_mistake(cls: type[BaseModel], data: Any, error: ValidationError, where: str) -> UserError:
    mistakes = error.errors(include_url=False)
    # A misspelt required key is both unknown and missing: the unknown one tells more.
    detail = next((mistake for mistake in mistakes if mistake["type"] == "extra_forbidden"), mistakes[0])
    parts = detail["loc"] if detail["type"] == "missing" else _parts_within(data, detail["loc"])
    location = ".".join(str(part) for part in (where, *parts) if str(part)) or cls.__name__
    nested = detail.get("ctx", {}).get("error")
    if isinstance(nested, UserError):
        return UserError(f"{location}.{nested.field}", nested.value, nested.fix)
    if detail["type"] == "extra_forbidden":
        known = _fields_at(cls, detail["loc"][:-1])
        near = difflib.get_close_matches(str(detail["loc"][-1]), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the keys here are {', '.join(sorted(known))}"
        return UserError(location, detail["input"], f"unknown key; {hint}")
    if detail["type"] == "missing":
        return UserError(location, "missing", "this field is required; add it")
    message = _WANTED.get(detail["type"], detail["msg"].removeprefix("Value error, "))
    value = detail["input"]
    if isinstance(value, Mapping | list | tuple) and len(str(value)) > 80:
        value = f"{type(value).__name__} of {len(value)}"
    return UserError(location, value, message[0].lower() + message[1:])


def _parts_within(data: Any, location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """The parts of a location that lead somewhere in the data; pydantic adds names of a union's members."""
    found: list[int | str] = []
    for part in location:
        data = dict(data) if isinstance(data, BaseModel) else data
        held = part in data if isinstance(data, Mapping) else isinstance(data, list | tuple) and isinstance(part, int)
        if held:
            data = data[part]
            found.append(part)
    return tuple(found)


def _fields_at(cls: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Field names of the model that `location` leads to, as far as annotations tell."""
    for part in location:
        field = cls.model_fields.get(str(part))
        if field is None:
            continue
        candidates = [field.annotation, *getattr(field.annotation, "__args__", ())]
        models = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        if models:
            cls = models[0]
    return list(cls.model_fields)
