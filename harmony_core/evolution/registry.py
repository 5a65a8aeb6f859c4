"""Search algorithms by the name that `search.algorithm.kind` has for them, each read by its own configuration."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import (
    BeforeValidator,
    GetJsonSchemaHandler,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from harmony_core.base import Frozen
from harmony_core.errors import UserError
from harmony_core.evolution.algorithm import Algorithm
from harmony_core.plugins import find
from harmony_core.search.objective import Objective
from harmony_core.space import Space

DEFAULT_KIND = "nsga2"


class AlgorithmConfig(Frozen, ABC):
    """What every algorithm's configuration has; a subclass stands beside its algorithm and is `register`ed.

    Args:
        kind: the algorithm.
    """

    kind: str

    # Whether candidates above a target come after all others. If not, the algorithm takes targets as something else,
    # such as where a price begins, and no target keeps a candidate off a front.
    targets_are_constraints: ClassVar[bool] = True

    @abstractmethod
    def make(self, objectives: Sequence[Objective], population: int) -> Algorithm:
        """The algorithm.

        Args:
            objectives: what is minimised.
            population: candidates a generation.
        """

    def check(self, objectives: Sequence[Objective], population: int) -> None:
        """Refuses what does not go together with the rest of `search`.

        Raises:
            UserError: its field is that within `search`.
        """

    def check_space(self, space: Space, population: int) -> None:
        """Refuses what does not go together with the space, or is not installed, before a search begins.

        Args:
            space: what will be searched.
            population: candidates a generation.

        Raises:
            UserError: its field is that within the whole configuration.
        """

    @model_serializer(mode="wrap")
    def _with_kind(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Always with its kind, which is the default of this class and not of what reads it."""
        return {"kind": self.kind, **dump(self)}

    @classmethod
    def variant(cls, data: Any) -> type[Frozen]:
        """As `Frozen.variant`: the class of the kind that the data names."""
        if cls is not AlgorithmConfig or not isinstance(data, Mapping):
            return cls
        return algorithm_config(data.get("kind", DEFAULT_KIND))


ALGORITHMS: dict[str, type[AlgorithmConfig]] = {}
_C = TypeVar("_C", bound=AlgorithmConfig)


def register(cls: type[_C]) -> type[_C]:
    """Makes an algorithm known under the default of its configuration's `kind`."""
    kind = cls.model_fields["kind"].default
    if kind in ALGORITHMS:
        raise ValueError(f"algorithm {kind!r} is registered twice")
    ALGORITHMS[kind] = cls
    return cls


def algorithm_config(kind: Any) -> type[AlgorithmConfig]:
    """The configuration class of a kind; UserError names the kinds there are."""
    found = find("algorithms", kind, ALGORITHMS) if isinstance(kind, str) else None
    if found is None:
        raise UserError("kind", kind, f"unknown algorithm; use one of {', '.join(ALGORITHMS)}")
    return found


def read_algorithm(data: Any) -> AlgorithmConfig:
    """The configuration that a mapping with a `kind` holds; one that has none is of the default's.

    Raises:
        UserError: an unknown kind.
        ValidationError: fields that the kind has not, or wrong values.
    """
    if isinstance(data, AlgorithmConfig):
        return data
    found: AlgorithmConfig = AlgorithmConfig.variant(data).model_validate(data)  # type: ignore[assignment]
    return found


class _ByKind:
    """The JSON schema: one of those registered by now; `kind` may be left out of the default's alone."""

    @staticmethod
    def __get_pydantic_json_schema__(_: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        choices = []
        for kind, cls in ALGORITHMS.items():
            choice = handler(cls.__pydantic_core_schema__)
            cls.describe(choice)
            choices.append(choice if kind == DEFAULT_KIND else {**choice, "required": ["kind"]})
        return {"anyOf": choices, "discriminator": {"propertyName": "kind"}}


AnyAlgorithm = Annotated[SerializeAsAny[AlgorithmConfig], BeforeValidator(read_algorithm), _ByKind()]
