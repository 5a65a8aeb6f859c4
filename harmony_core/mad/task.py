"""What every synthetic task is, and the tasks by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self, TypeVar

from pydantic import Field, model_validator

from harmony_core import bounds
from harmony_core.base import Frozen
from harmony_core.errors import UserError
from harmony_core.mad.draws import Numbers
from harmony_core.mad.examples import Examples, Split

Mode = Literal["faithful", "fixed"]
# The paper's largest task has 8,192 tokens; beyond this no synthetic task is a quick one.
MAX_VOCABULARY = 2**20
MAX_EXAMPLES = 10**9


class MadTask(Frozen, ABC):
    """A task in one setting; the defaults are the paper's baseline.

    Args:
        vocab_size: tokens, special ones included.
        length: tokens of a sequence.
        num_train: examples that are trained on, again and again.
        mode: `faithful` is equal in distribution to the authors' generator; in `fixed` whoever knows the rules can
            answer every test example from what it shows (memorisation aside).
    """

    name: ClassVar[str]
    # As the paper's tables abbreviate it.
    short: ClassVar[str]
    # What its seeds are made of; never given to another task.
    number: ClassVar[int]
    # Whether it is learnt through an auto-encoder's bottleneck instead of token by token.
    encodes: ClassVar[bool] = False
    # Values that the paper gives each field, one field at a time.
    changes: ClassVar[Mapping[str, tuple[Any, ...]]]

    vocab_size: int = Field(ge=2, le=MAX_VOCABULARY)
    length: int = Field(ge=2, le=bounds.SEQUENCE)
    num_train: int = Field(default=12_800, ge=1, le=MAX_EXAMPLES)
    mode: Mode = "fixed"

    @model_validator(mode="after")
    def _checked(self) -> Self:
        self.check()
        return self

    def check(self) -> None:
        """Refuses settings in which the task has nothing to ask.

        Raises:
            UserError: names the field.
        """

    @property
    @abstractmethod
    def num_draws(self) -> int:
        """Uniform numbers that an example is made of."""

    @property
    def num_tokens(self) -> int:
        """Tokens that a model reads of an example."""
        return self.length

    @abstractmethod
    def make(self, numbers_NK: Numbers, split: Split, seed: int) -> Examples:
        """Examples from their numbers.

        Args:
            numbers_NK: in [0, 1), `num_draws` an example.
            split: says what is asked.
            seed: of rules that all examples share.
        """

    def settings(self) -> list[MadTask]:
        """This one, then each of the paper's changes alone."""
        data = dict(self)
        changed = [{**data, field: value} for field, values in self.changes.items() for value in values]
        return [self, *(type(self).parse(one) for one in changed)]

    def require(self, field: str, least: int, why: str) -> None:
        """Refuses a field that is below what the task needs.

        Args:
            field: its name.
            least: the least value that will do.
            why: what needs it.

        Raises:
            UserError: it is below.
        """
        if getattr(self, field) < least:
            raise self.wrong(field, f"{why}; use at least {least}")

    def wrong(self, field: str, fix: str) -> UserError:
        """That a field cannot be what it is."""
        return UserError(f"{self.name}.{field}", getattr(self, field), fix)


_TASKS: dict[str, type[MadTask]] = {}
_T = TypeVar("_T", bound=type[MadTask])


def register(cls: _T) -> _T:
    """Makes a task known under its name; ValueError where name or number is taken."""
    if any(cls.name == one.name or cls.number == one.number for one in _TASKS.values()):
        raise ValueError(f"task {cls.name!r} is registered twice")
    _TASKS[cls.name] = cls
    return cls


def task_names() -> list[str]:
    """The tasks in the paper's order."""
    return sorted(_TASKS, key=lambda name: _TASKS[name].number)


def task_class(name: str) -> type[MadTask]:
    """The task of a name; UserError names those there are."""
    if name not in _TASKS:
        raise UserError("task", name, f"no such task; use {', '.join(task_names())}")
    return _TASKS[name]
