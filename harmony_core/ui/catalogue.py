"""Every candidate of a search by now, its front, and what each generation has come to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from harmony_core.progress import UnderWay
from harmony_core.results import constrained, front
from harmony_core.results.framing import read_frame
from harmony_core.results.hypervolume import hypervolume
from harmony_core.search.frame import Frame
from harmony_core.store import Manifest, SearchFolder
from harmony_core.store.evaluators import tables_of
from harmony_core.ui.generation_rows import Columns, GenerationRows, Problem
from harmony_core.ui.open_shard import OpenShard

# So many generations that are over are looked at again in each refresh, in turns.
_LOOKED_AT_AGAIN = 8


@dataclass(frozen=True)
class Generation:
    """What a generation has come to.

    Args:
        number: its.
        bred: candidates.
        ok: those with a result.
        failed: those that failed.
        is_over: whether it was selected from.
        best: least loss of its own, whose other objectives may not be known yet [bits/byte]; None before the first.
        hypervolume: of the front of everybody up to it; None while there is no frame.
    """

    number: int
    bred: int
    ok: int
    failed: int
    is_over: bool
    best: float | None
    hypervolume: float | None


@dataclass(frozen=True)
class Attempt:
    """An attempt that has begun and not ended.

    Args:
        generation: None is promotion.
        stage: the evaluator.
        task: whose it is, and how far.
    """

    generation: int | None
    stage: str
    task: UnderWay


@dataclass(frozen=True)
class Snapshot:
    """A search's candidates at one moment.

    Args:
        version: another one means other rows.
        rows: `Columns.schema`, by generation and candidate.
        front: those rows that no other beats in all objectives.
        generations: in order.
        problems: files that are damaged or gone.
        read: generations read, and how many there are.
    """

    version: int
    rows: pl.DataFrame
    front: pl.DataFrame
    generations: tuple[Generation, ...] = ()
    problems: tuple[Problem, ...] = ()
    read: tuple[int, int] = (0, 0)
    _counts: dict[str, dict[str | None, int]] = field(default_factory=dict, repr=False)

    def counts(self, column: str) -> dict[str | None, int]:
        """How many rows have each value of a column of names; counted once."""
        if column not in self._counts:
            self._counts[column] = dict(self.rows.group_by(column).len().iter_rows())
        return self._counts[column]


@dataclass
class _Over:
    """Generations that are over, added up: what newcomers are added to."""

    rows: pl.DataFrame
    front: pl.DataFrame
    generations: list[Generation] = field(default_factory=list)


class Catalogue:
    """Reads a search's candidates again and again, each time only what is new; writes nothing.

    Args:
        folder: the search's.
        manifest: what it is.
        columns: what every candidate has.
    """

    def __init__(self, folder: SearchFolder, manifest: Manifest, columns: Columns) -> None:
        self.columns = columns
        self._folder, self._manifest = folder, manifest
        self._constrained = constrained(manifest.config["search"])
        self._parts: dict[int, GenerationRows] = {}
        self._promotion: dict[str, OpenShard] = {}
        self._over = _Over(columns.empty(), columns.empty())
        self._frame: Frame | None = None
        self._last: Snapshot | None = None
        self._version, self._turn = 0, 0

    def refresh(self, publish: Callable[[Snapshot], None]) -> None:
        """Takes in what is new, and publishes what is known: at the end, and while much is read also before.

        Args:
            publish: is given each snapshot.

        Raises:
            UserError: the frame of the hypervolume is damaged.
        """
        numbers = self._folder.generations()
        if self._frame is None:
            self._frame = read_frame(self._folder, self._manifest)
        changed = self._look_again(numbers)
        first = len(self._over.generations)
        told = len(self._over.rows)
        for index, number in enumerate(numbers[first:], start=first):
            part = self._parts.setdefault(number, GenerationRows(self._folder, number, self.columns))
            changed |= part.read()
            # Only what no earlier open generation stands before is added up: sums go in order.
            if part.is_settled and index == len(self._over.generations):
                self._add(part)
                if len(self._over.rows) > 2 * told + 10_000:
                    told = len(self._over.rows)
                    publish(self._snapshot(numbers, index + 1))
        if changed or self._last is None:
            self._version += 1
            self._last = self._snapshot(numbers, len(numbers))
        publish(self._last)

    def under_way(self, most: int) -> list[Attempt]:
        """Attempts that have begun and not ended, promotion's last, `most` at most."""
        shards = [(part.generation, shard) for part in self._parts.values() for shard in part.open_shards]
        found: list[Attempt] = []
        for generation, shard in (*shards, *((None, shard) for shard in self._promoting())):
            attempts = shard.journal.under_way(most - len(found))
            found += [Attempt(generation, shard.table.name, one) for one in attempts]
        return found

    def _promoting(self) -> Iterator[OpenShard]:
        """Promotion has one shard, whose tables come when all of it is over."""
        for table in tables_of(self.columns.settings):
            if self._folder.shard(None, table.name, 0).is_file() or not self._folder.population(None).is_file():
                self._promotion.pop(table.name, None)
                continue
            journal = self._folder.work(table.name, self._folder.generation(None).name, "shard=000", "journal.jsonl")
            shard = self._promotion.setdefault(table.name, OpenShard(table, journal, self.columns.settings))
            shard.read()
            yield shard

    def _look_again(self, numbers: list[int]) -> bool:
        """Looks at some generations that were over, in turns; where one has changed, all are added up anew."""
        over = [one.number for one in self._over.generations]
        if not over:
            return False
        picked = {over[(self._turn + step) % len(over)] for step in range(min(_LOOKED_AT_AGAIN, len(over)))}
        self._turn = (self._turn + _LOOKED_AT_AGAIN) % len(over)
        # All are looked at, since each remembers what it has seen.
        seen = [self._parts[number].read() for number in sorted(picked)]
        if not any(seen) and over == numbers[: len(over)]:
            return False
        # The rows of the others are not kept apart, so all are read again, which is rare.
        self._over, self._parts = _Over(self.columns.empty(), self.columns.empty()), {}
        return True

    def _add(self, part: GenerationRows) -> None:
        over = self._over
        members = self._front([over.front, part.rows])
        over.generations.append(self._told(part, members))
        over.rows, over.front = over.rows.vstack(part.rows), members
        # The rows are in one place from here on.
        part.rows = self.columns.empty()
        if len(over.generations) % 64 == 0:
            over.rows = over.rows.rechunk()

    def _front(self, rows: list[pl.DataFrame]) -> pl.DataFrame:
        """The front of a front and newcomers, which is the front of everybody."""
        names = self.columns.objectives
        alive = pl.concat(rows).filter(pl.col("status") == "ok", *(pl.col(name).is_not_null() for name in names))
        return front(alive, names, self._constrained)

    def _told(self, part: GenerationRows, members: pl.DataFrame) -> Generation:
        rows, names = part.rows, self.columns.objectives
        ok = rows.filter(pl.col("status") == "ok")
        best = rows["val_bits_per_byte"].min()
        assert best is None or isinstance(best, float)
        return Generation(
            number=part.generation,
            bred=len(rows),
            ok=len(ok),
            failed=int(rows["status"].count()) - len(ok),
            is_over=part.is_settled,
            best=best,
            hypervolume=None if self._frame is None else hypervolume(members, names, self._frame),
        )

    def _snapshot(self, numbers: list[int], read: int) -> Snapshot:
        over = self._over
        still_open = [self._parts[number] for number in numbers[len(over.generations) :] if number in self._parts]
        generations, members = list(over.generations), over.front
        for part in still_open:
            members = self._front([members, part.rows])
            generations.append(self._told(part, members))
        if over.rows.n_chunks() > 64:
            over.rows = over.rows.rechunk()
        return Snapshot(
            # While much is read each snapshot is another one.
            self._version * 1_000_000 + read,
            pl.concat([over.rows, *(part.rows for part in still_open)]),
            members,
            tuple(generations),
            tuple(problem for part in self._parts.values() for problem in part.problems),
            (read, len(numbers)),
        )


def facts(found: Generation) -> dict[str, Any]:
    """A generation as JSON."""
    return {
        "number": found.number,
        "bred": found.bred,
        "ok": found.ok,
        "failed": found.failed,
        "over": found.is_over,
        "best": found.best,
        "hypervolume": found.hypervolume,
    }
