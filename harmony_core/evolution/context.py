"""What an algorithm may think about: the space, and everything that the search has recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from harmony_core.architecture import Architecture
from harmony_core.errors import UserError
from harmony_core.space import Space


@dataclass(frozen=True)
class Trial:
    """A candidate of an earlier generation.

    Args:
        generation: that it was made in.
        candidate: its number there.
        architecture_id: its architecture's id.
        text: its architecture, as `Architecture.to_json` wrote it.
        status: `ok`, or how it failed; None where its result is not waited for, as with `search.lag: 1`.
        metrics: value by metric name; None where nothing was measured.
    """

    generation: int
    candidate: int
    architecture_id: str
    text: str
    status: str | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether it was evaluated and has not failed."""
        return self.status == "ok"

    @cached_property
    def architecture(self) -> Architecture:
        """Its architecture, read when it is first asked for: most algorithms look at few."""
        return Architecture.from_json(self.text)


@dataclass(frozen=True)
class Context:
    """What is known when a generation is bred: a function of the configuration and of recorded rows alone.

    Args:
        space: what is searched.
        vocab_size: the tokenizer's, which every architecture has.
        generation: number of the one that is bred.
        history: everybody of earlier generations, in order of generation and candidate.
    """

    space: Space
    vocab_size: int
    generation: int = 0
    history: Sequence[Trial] = ()

    @cached_property
    def trials(self) -> dict[str, Trial]:
        """The history by architecture id; of equal ones, of which a search has none by itself, the first."""
        return {trial.architecture_id: trial for trial in reversed(self.history)}

    def architecture(self, architecture_id: str) -> Architecture:
        """The architecture of an id.

        Raises:
            UserError: the history has no such id: a mistake of the algorithm that asks for it.
        """
        if architecture_id not in self.trials:
            fix = "the algorithm asks for a parent that the search never had; correct it, or use another one"
            raise UserError("search.algorithm", architecture_id, fix)
        return self.trials[architecture_id].architecture
