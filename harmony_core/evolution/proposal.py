"""What an algorithm may ask for: how the next candidate is to be made."""

from __future__ import annotations

from dataclasses import dataclass

from harmony_core.architecture import Architecture


@dataclass(frozen=True)
class Sample:
    """A draw from the space."""


@dataclass(frozen=True)
class Mutate:
    """A mutation of one known architecture.

    Args:
        parent: its id.
    """

    parent: str


@dataclass(frozen=True)
class Cross:
    """A crossover of two known architectures.

    Args:
        first: id of the one whose upper part the child has.
        second: id of the other.
    """

    first: str
    second: str


@dataclass(frozen=True)
class Take:
    """This architecture, which the algorithm made itself.

    One that is not in the space, or that the search has had, is counted in the ledger and not taken.

    Args:
        architecture: what is to be evaluated.
        operator: how it was found, for people; a column of the population.
        parents: ids of what it was made from, where there are any.
    """

    architecture: Architecture
    operator: str = "proposed"
    parents: tuple[str, ...] = ()


Proposal = Sample | Mutate | Cross | Take


def parents(proposal: Proposal) -> tuple[str, ...]:
    """Ids of the architectures that the candidate will come from."""
    match proposal:
        case Mutate(parent):
            return (parent,)
        case Cross(first, second):
            return first, second
        case Take(parents=ids):
            return ids
    return ()
