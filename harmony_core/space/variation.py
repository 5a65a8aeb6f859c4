"""A new architecture and how it came about; drawing again until the constraints hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field

from harmony_core.architecture import Architecture, Block
from harmony_core.errors import UserError
from harmony_core.space.repair import Edit, repair
from harmony_core.space.space import Space

Unit = tuple[Block, ...]
Reasons = Mapping[tuple[str, str], int]


@dataclass(frozen=True)
class Variation:
    """A valid architecture of the space.

    Args:
        architecture: the result.
        operator: what was done, for people: `replace block 3: gqa -> mamba2`.
        rejected: draws thrown away on the way, counted by (stage, reason); one that breaks two
            constraints counts under both.
    """

    architecture: Architecture
    operator: str
    rejected: Reasons = field(default_factory=dict)


class DeadEnd(Exception):
    """No draw was accepted; `propose` counts it and goes on with another parent.

    Args:
        stage: `sample`, `mutation` or `crossover`.
        tries: how many draws were made.
        rejected: why they were thrown away, as in `Variation`.
    """

    def __init__(self, stage: str, tries: int, rejected: Reasons) -> None:
        self.stage, self.tries, self.rejected = stage, tries, rejected
        super().__init__(f"{stage}: none of {tries} draws was accepted")


def draw_until_accepted(
    stage: str, space: Space, draw: Callable[[], Edit | None], tries: int, unlike: Container[str] = ()
) -> Variation:
    """The first draw that can be repaired to meet the constraints and is new.

    Args:
        stage: under which the rejected are counted: `sample`, `mutation` or `crossover`.
        space: its constraints are met.
        draw: makes an edit; None is an operator that did not apply here, which is a try and not a rejection.
        tries: at most so many draws.
        unlike: ids that the result must not have.

    Raises:
        DeadEnd: no draw was accepted.
    """
    rejected: Counter[tuple[str, str]] = Counter()
    for _ in range(tries):
        drawn = draw()
        if drawn is None:
            continue
        architecture, reasons = accept(space, drawn, unlike)
        if not reasons:
            return Variation(architecture, drawn.operator, rejected)
        rejected.update((stage, reason) for reason in reasons)
    raise DeadEnd(stage, tries, rejected)


def accept(space: Space, edit: Edit, unlike: Container[str] = ()) -> tuple[Architecture, list[str]]:
    """The edited architecture, repaired if it can be, and why it is no variation; no reasons if it is one.

    Args:
        space: its constraints are checked.
        edit: what an operator made.
        unlike: ids that are no variation, such as the parent's.
    """
    architecture = repair(space, edit) or edit.architecture
    reasons = [reason for reason, _ in space.constraints.broken(architecture)]
    if not reasons and architecture.id in unlike:
        reasons = ["same as a parent"]
    return architecture, reasons


def require_member(space: Space, parent: Architecture) -> None:
    """Refuses a parent whose structure is not the space's: its children could not be in it either."""
    reasons = space.structure_violations(parent)
    if reasons:
        fix = f"not in the search space ({reasons[0]}); start from members, or widen the space"
        raise UserError("parent", f"{parent.id} {parent.pattern()}", fix)


def units_of(space: Space, architecture: Architecture) -> list[Unit]:
    """The blocks, cut into units of depth."""
    size = space.unit_size
    return [architecture.blocks[start : start + size] for start in range(0, len(architecture.blocks), size)]


def with_units(parent: Architecture, units: list[Unit]) -> Architecture:
    """The parent with other units; all else stays."""
    return parent.replace(blocks=tuple(block for unit in units for block in unit))


def with_block(parent: Architecture, index: int, block: Block) -> Architecture:
    """The parent with another block in one place; all else stays.

    Args:
        parent: is not changed.
        index: the place, from 0.
        block: what stands there in the result.
    """
    return parent.replace(blocks=(*parent.blocks[:index], block, *parent.blocks[index + 1 :]))


def near_block(space: Space, index: int) -> tuple[int, ...]:
    """A block, and the others of its unit."""
    start = index - index % space.unit_size
    return (index, *(other for other in range(start, start + space.unit_size) if other != index))


def kinds_text(unit: Unit) -> str:
    """The kinds of a unit's blocks, for people."""
    return " ".join(block.kind for block in unit)
