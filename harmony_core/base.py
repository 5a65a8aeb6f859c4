"""What every configuration object shares: frozen, unknown keys refused by name, errors in one line."""

from __future__ import annotations

import difflib
import hashlib
import inspect
import json
import re
import reprlib
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    GetJsonSchemaHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from harmony_core.errors import UserError


def _folder_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ValueError("use letters, digits, '.', '_' and '-', starting with a letter or digit")
    return name


# The name of a folder under results/.
FolderName = Annotated[str, AfterValidator(_folder_name)]


class Frozen(BaseModel):
    """An immutable, hashable value; a key that is not one of its fields is an error, and so is a truth for a number."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # Names of the fields that take numbers and no booleans.
    _numbers: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        cls._numbers = frozenset(name for name, field in cls.model_fields.items() if takes_numbers(field.annotation))

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        # Python, and pydantic after it, take True for 1; in a configuration it is a mistake in another field's value.
        if info.field_name in cls._numbers:
            for one in value if isinstance(value, list | tuple) else (value,):
                if isinstance(one, bool):
                    raise ValueError("use a number")
        return value

    @classmethod
    def variant(cls, data: Any) -> type[Frozen]:
        """The class that reads `data`, where one of several does, by what the data says."""
        return cls

    @classmethod
    def known_keys(cls) -> list[str]:
        """What may be written here."""
        return list(cls.model_fields)

    @classmethod
    def meanings(cls) -> dict[str, str]:
        """What each field means: its entry under `Args:` of the class, or what the section is that it holds."""
        found: dict[str, str] = {}
        for name, field in cls.model_fields.items():
            sections = [one for one in _leaves(field.annotation) if isinstance(one, type) and issubclass(one, Frozen)]
            if sections:
                found[name] = _summary(sections[0])
        for base in reversed(cls.__mro__):
            entries = _ARGS.search(inspect.cleandoc(base.__doc__ or "") + "\n")
            told = _ENTRY.findall(entries[1]) if entries else []
            found |= {name: " ".join(text.split()) for name, text in told if name in cls.model_fields}
        return found

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        written = handler(core_schema)
        cls.describe(handler.resolve_ref_schema(written))
        return written

    @classmethod
    def describe(cls, schema: dict[str, Any]) -> None:
        """Says in a JSON schema of this class what it and its fields mean, for editors."""
        schema["description"], told = _summary(cls), cls.meanings()
        for name, field in schema.get("properties", {}).items():
            if name in told:
                field["description"] = told[name]

    @classmethod
    def parse(cls, data: Any, where: str = "") -> Self:
        """Validates `data`, turning pydantic's report into one `UserError` for the first mistake."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise _mistakes(cls, data, error, where)[0] from None

    @classmethod
    def mistakes(cls, data: Any, where: str = "") -> list[UserError]:
        """Every mistake in `data` that its own fields tell, the one that `parse` raises first; none if it is valid."""
        try:
            cls.model_validate(data)
        except ValidationError as error:
            return _mistakes(cls, data, error, where)
        return []


# The section of a docstring, and its entries, whose further lines stand deeper.
_ARGS = re.compile(r"^Args:\n((?:    .*\n|\n(?=    ))*)", re.MULTILINE)
_ENTRY = re.compile(r"^    (\w+): (.*(?:\n {8,}.*)*)", re.MULTILINE)


def _summary(cls: type) -> str:
    """The first paragraph of a class's docstring."""
    return " ".join(inspect.cleandoc(cls.__doc__ or "").partition("\n\n")[0].split())


def takes_numbers(annotation: Any) -> bool:
    """Whether a value of this type may be a number, and may not be a truth."""
    kinds = set(_leaves(annotation))
    return bool(kinds & {int, float}) and bool not in kinds


def _leaves(annotation: Any) -> Iterator[Any]:
    """The types that an annotation is made of."""
    parts = () if typing.get_origin(annotation) is typing.Literal else typing.get_args(annotation)
    if not parts:
        yield annotation
    for part in parts:
        yield from _leaves(part)


class _UniqueKeys(yaml.SafeLoader):
    """The safe loader, which keeps the last of two equal keys, refusing them instead; its errors are all YAML's."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            # PyYAML lets Python's own errors through: a date that does not exist, `!!bool maybe`, a number of thousands
            # of digits.
            text = f"not what a value of {node.tag} looks like ({error})"
            raise yaml.constructor.ConstructorError(None, None, text, node.start_mark) from None

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # This looks at the keys as the text has them: those that `<<` merges in may be overridden.
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
    except (OSError, ValueError) as error:
        known = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
        reason = getattr(error, "strerror", None) or known
        raise UserError("file", path, f"{reason}; name a readable YAML file") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise UserError("file", path, f"not valid YAML ({error}); correct it") from None


def yaml_line(path: Path | str, keys: Sequence[str]) -> int:
    """The line, from 1, of a key in a readable YAML file; of one that is not there, that of what is around it.

    Args:
        path: the file.
        keys: the way to it from the top; an entry of a list by its number.
    """
    node = yaml.compose(Path(path).read_text(encoding="utf-8"), Loader=_UniqueKeys)
    line = 0 if node is None else int(node.start_mark.line)
    for key in keys:
        inner: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        if isinstance(node, yaml.MappingNode):
            inner = {one.value: (one, value) for one, value in node.value if isinstance(one, yaml.ScalarNode)}
        elif isinstance(node, yaml.SequenceNode):
            inner = {str(number): (one, one) for number, one in enumerate(node.value)}
        if key not in inner:
            break
        told, node = inner[key]
        line = told.start_mark.line
    return line + 1


def canonical_json(value: Any) -> str:
    """Compact JSON with sorted keys: the same text for the same value, on every machine."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """The first 16 hex digits of the SHA-256 of the value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]


# These are pydantic's types of error where a value is of the wrong kind.
_WANTED = {
    "model_type": "use a mapping of keys",
    "tuple_type": "use a list",
    "string_type": "use text, in quotes",
    "int_parsing": "use a whole number, in digits",
    "int_parsing_size": "use a whole number of fewer digits",
    "int_type": "use a whole number",
    "float_parsing": "use a number",
    "float_type": "use a number",
}
# A message shows longer values by their kind and length.
_SHOWN = 80
_ABSENT = object()
_brief = reprlib.Repr()
_brief.maxlevel, _brief.maxdict, _brief.maxlist, _brief.maxtuple, _brief.maxstring = 6, 20, 20, 20, _SHOWN


def _mistakes(cls: type[BaseModel], data: Any, error: ValidationError, where: str) -> list[UserError]:
    mistakes = error.errors(include_url=False)
    # A misspelt required key is both unknown and missing. The unknown one says more, so it comes first.
    mistakes.sort(key=lambda mistake: mistake["type"] != "extra_forbidden")
    told: dict[str, UserError] = {}
    for mistake in mistakes:
        # Each member of a union says why it does not take the value; the first one of a field is told.
        one = _told(cls, data, mistake, where)
        told.setdefault(one.field, one)
    return list(told.values())


def _told(cls: type[BaseModel], data: Any, detail: Mapping[str, Any], where: str) -> UserError:
    parts = detail["loc"] if detail["type"] == "missing" else _parts_within(data, detail["loc"])
    location = ".".join(str(part) for part in (where, *parts) if str(part)) or cls.__name__
    nested = detail.get("ctx", {}).get("error")
    if isinstance(nested, UserError):
        return UserError(f"{location}.{nested.field}", nested.value, nested.fix)
    if detail["type"] == "extra_forbidden":
        known = _fields_at(cls, data, detail["loc"][:-1])
        near = difflib.get_close_matches(str(detail["loc"][-1]), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the keys here are {', '.join(sorted(known))}"
        return UserError(location, _shown(detail["input"]), f"unknown key; {hint}")
    if detail["type"] == "missing":
        return UserError(location, "missing", "this field is required; add it")
    message = _WANTED.get(detail["type"], detail["msg"].removeprefix("Value error, "))
    return UserError(location, _shown(detail["input"]), message[0].lower() + message[1:])


def _shown(value: Any) -> Any:
    """A value as it is told in one line: a long or deep one by its kind and length."""
    if isinstance(value, Mapping | list | tuple | set):
        # `repr` of the whole value could be huge: with references, a few lines of YAML may stand for gigabytes.
        short = _brief.repr(value)
        return f"{type(value).__name__} of {len(value)}" if len(short) > _SHOWN or "..." in short else value
    if isinstance(value, str | bytes) and len(value) > _SHOWN:
        return f"{value[:_SHOWN]!r}... ({len(value)} characters)"
    return value


def _parts_within(data: Any, location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """The parts of a location that lead somewhere in the data; pydantic adds names of a union's members."""
    found: list[int | str] = []
    for part in location:
        inner = _within(data, part, _ABSENT)
        if inner is not _ABSENT:
            data = inner
            found.append(part)
    return tuple(found)


def _within(data: Any, part: int | str, otherwise: Any = None) -> Any:
    """What a part of a location leads to in the data."""
    data = dict(data) if isinstance(data, BaseModel) else data
    held = part in data if isinstance(data, Mapping) else isinstance(data, list | tuple) and isinstance(part, int)
    return data[part] if held else otherwise


def _fields_at(cls: type[BaseModel], data: Any, location: tuple[int | str, ...]) -> list[str]:
    """Keys of the model that `location` leads to, as far as annotations tell, and the data at a variant."""
    for part in location:
        data = _within(data, part)
        field = cls.model_fields.get(str(part))
        if field is None:
            continue
        candidates = [field.annotation, *getattr(field.annotation, "__args__", ())]
        models = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        if models:
            cls = models[0].variant(data) if issubclass(models[0], Frozen) else models[0]
    return cls.known_keys() if issubclass(cls, Frozen) else list(cls.model_fields)
