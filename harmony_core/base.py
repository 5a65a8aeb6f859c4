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
            raise _first_mistake(cls, error, where) from None


def read_yaml(path: Path | str) -> Any:
    """Reads one YAML document with the safe loader; a file that cannot be read is a `UserError`."""
    try:
        return yaml.safe_load(Path(path).read_text(encoding="utf-8"))
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


def _first_mistake(cls: type[BaseModel], error: ValidationError, where: str) -> UserError:
    mistakes = error.errors(include_url=False)
    # A misspelt required key is both unknown and missing: the unknown one tells more.
    detail = next((mistake for mistake in mistakes if mistake["type"] == "extra_forbidden"), mistakes[0])
    location = ".".join(str(part) for part in (where, *detail["loc"]) if str(part)) or cls.__name__
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
    message = detail["msg"].removeprefix("Value error, ")
    value = detail["input"]
    if isinstance(value, Mapping | list | tuple) and len(str(value)) > 80:
        value = f"{type(value).__name__} of {len(value)}"
    return UserError(location, value, message[0].lower() + message[1:])


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
