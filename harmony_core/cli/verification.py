"""Whether a search is what its configuration, seeds and measurements make of it; nothing is written.

Everything but the measurements is a function of recorded rows: populations are bred again, selections made again, ids
and costs computed again, each compared with the table that is there. Every file is read whole, so that its checksums
and its schema are compared as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, get_args

import polars as pl
import pyarrow as pa

from harmony_core.data import Split
from harmony_core.errors import UserError
from harmony_core.evaluation.promote import promoted_rows
from harmony_core.evolution.generation import breed, frame_again, select
from harmony_core.results.budget import Allowance
from harmony_core.search.config import Config
from harmony_core.search.frame import Frame
from harmony_core.search.opened import OpenedSearch
from harmony_core.store import (
    POPULATION,
    SELECTION,
    SearchFolder,
    missing,
    read_table,
    schemas,
    with_metrics,
)
from harmony_core.store.evaluators import tables_of
from harmony_core.store.journal import parse
from harmony_core.store.table import frame, to_arrow
from harmony_core.store.task_scores import TASK_SCORES, task_scores_files

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Args:
        what: a file, or a step of the search.
        told: what was found, in words; of what is wrong, what.
        right: whether it is as it should be; None where it could not be looked at.
    """

    what: str
    told: str
    right: bool | None = True


def verify(folder: SearchFolder) -> Iterator[Check]:
    """Checks a search, step by step in the order of its making.

    A search that still runs is checked as far as it is. Trainings and latencies are not done again: `harmony reproduce`
    does that for one candidate.

    Args:
        folder: the search's.

    Raises:
        UserError: no such search, or its manifest is damaged.
    """
    setting = OpenedSearch.open(folder.path)
    yield _manifest(setting)
    for path in missing(folder):
        yield Check(str(path), "missing; `harmony resume` makes it again", right=False)
    yield _data(setting)
    for generation in folder.generations():
        yield from _tables(setting, generation)
        yield from _bred(setting, generation)
        yield from _selected(setting, generation)
    yield from _framed(setting)
    if folder.population(None).is_file():
        yield from _tables(setting, None)
        yield from _promoted(setting)
        yield from _weights(folder)
    yield from _read_whole((path, TASK_SCORES) for path in task_scores_files(folder))
    yield from _journals(folder)


def _manifest(setting: OpenedSearch) -> Check:
    recorded, computed = setting.manifest.config_hash, Config.parse(setting.manifest.config).hash
    path = str(setting.folder.manifest)
    if recorded != computed:
        return Check(path, f"its configuration has the hash {computed}, and it says {recorded}", right=False)
    return Check(path, f"configuration {computed}")


def _data(setting: OpenedSearch) -> Check:
    path = str(setting.data_folder)
    if not setting.data_folder.exists():
        return Check(path, "not here; prepared data is made again when it is needed", right=None)
    _, problem = _attempt(lambda: setting.check_data(get_args(Split)))
    return Check(path, problem or "all shards", right=not problem)


def _tables(setting: OpenedSearch, generation: int | None) -> Iterator[Check]:
    """Every table of a generation, read whole: checksums, schema, no rows twice."""
    folder, metrics = setting.folder, setting.config.search.metrics
    wanted: list[tuple[Path, pa.Schema]] = [
        (folder.population(generation), with_metrics(POPULATION, metrics)),
        (folder.ledger(generation), schemas.LEDGER),
    ]
    if generation is not None:
        wanted.append((folder.selection(generation), with_metrics(SELECTION, metrics)))
    for table in tables_of(setting.manifest.config):
        for name, schema in table.schemas.items():
            wanted += [(path, schema) for path in folder.shards(generation, name)]
    yield from _read_whole(wanted)


def _read_whole(wanted: Iterable[tuple[Path, pa.Schema]]) -> Iterator[Check]:
    """Those files that are there."""
    for path, schema in wanted:
        if path.is_file():
            rows, problem = _attempt(partial(read_table, path, schema))
            yield Check(str(path), problem if rows is None else f"{rows.height} rows", right=not problem)


def _bred(setting: OpenedSearch, generation: int) -> Iterator[Check]:
    """Its population, bred again from what was known then."""
    folder, path = setting.folder, setting.folder.population(generation)
    if not path.is_file():
        return
    schema = with_metrics(POPULATION, setting.config.search.metrics)
    recorded, problem = _attempt(lambda: read_table(path, schema))
    if recorded is None:
        return
    # How many a budget paid for hangs on what it was then, and it may be changed; who they are does not.
    wanted = setting.config.search.population
    paid = wanted if setting.config.budget.gpu_hours is None else recorded.height
    bred, problem = _attempt(lambda: breed(folder, generation, Allowance(wanted, paid, "recorded")))
    if bred is None:
        yield Check(f"generation {generation}", f"cannot be bred again: {problem}", right=False)
        return
    yield _compared(f"generation {generation}: bred again", recorded, bred[0], schema)


def _selected(setting: OpenedSearch, generation: int) -> Iterator[Check]:
    """Its selection, made again from what was measured."""
    folder, path = setting.folder, setting.folder.selection(generation)
    if not path.is_file():
        return
    schema = with_metrics(SELECTION, setting.config.search.metrics)
    recorded, problem = _attempt(lambda: read_table(path, schema))
    if recorded is None:
        return
    made, problem = _attempt(lambda: select(folder, generation))
    if made is None:
        yield Check(f"generation {generation}", f"cannot be selected from again: {problem}", right=False)
        return
    yield _compared(f"generation {generation}: selected again", recorded, made[0], schema)


def _framed(setting: OpenedSearch) -> Iterator[Check]:
    """The frame of its hypervolume, derived again, where its first generation made it and not the configuration."""
    path = setting.folder.frame
    if setting.manifest.hypervolume is not None:
        return
    again, problem = _attempt(lambda: frame_again(setting.folder))
    if problem:
        yield Check(str(path), f"cannot be derived again: {problem}", right=False)
    elif not path.is_file():
        if again is not None:
            yield Check(str(path), "missing; the next selection makes it again", right=False)
    elif again is None:
        yield Check(str(path), "nobody that was selected from has ended well, and it is there", right=False)
    else:
        recorded, problem = _attempt(lambda: Frame.from_file(path))
        yield Check(str(path), problem or _frames_apart(again, recorded) or "derived again", right=recorded == again)


def _frames_apart(again: Frame, recorded: Frame | None) -> str:
    """What a frame that was derived again has otherwise than the one that is there; empty where nothing."""
    now, then = again.model_dump(), {} if recorded is None else recorded.model_dump()
    return "; ".join(
        f"{name} is {now[name]!r}, and {then[name]!r} is recorded" for name in then if now[name] != then[name]
    )


def _promoted(setting: OpenedSearch) -> Iterator[Check]:
    """Who was promoted: those of the front, and the presets, chosen again, with their ids and costs."""
    schema = with_metrics(POPULATION, setting.config.search.metrics)
    recorded, _ = _attempt(lambda: read_table(setting.folder.population(None), schema))
    if recorded is None:
        return
    rows, problem = _attempt(lambda: promoted_rows(setting))
    if rows is None:
        yield Check("promoted", f"cannot be chosen again: {problem}", right=False)
        return
    more = setting.config.promotes_more(Config.parse(setting.manifest.config))
    under_way = more is not None and not setting.folder.grown_promotion(more).is_file()
    if under_way or setting.config.budget.gpu_hours is not None:
        # Some may not be there yet, or were not paid for.
        rows = [row for row in rows if row["architecture_id"] in set(recorded["architecture_id"])]
    yield _compared("promoted: chosen again", recorded, rows, schema)


def _weights(folder: SearchFolder) -> Iterator[Check]:
    """The checkpoints of the promoted, every file with its checksum."""
    if not folder.all_weights.is_dir():
        return
    # Imports torch.
    from harmony_core.training.checkpoint.folders import committed
    from harmony_core.training.checkpoint.reader import open_checkpoint

    for run in sorted(folder.all_weights.iterdir()):
        for path in committed(run).values():
            opened, problem = _attempt(partial(open_checkpoint, path))
            if opened is not None:
                opened.close()
            yield Check(str(path), problem or "checkpoint", right=not problem)


def _journals(folder: SearchFolder) -> Iterator[Check]:
    """What workers recorded, where it is kept: a damaged line costs nothing once the tables are there."""
    for path in sorted(folder.work().glob("*/*/*/journal.jsonl")):
        records, damaged, _ = parse(path.read_bytes())
        if damaged:
            yield Check(str(path), f"{len(damaged)} damaged lines, from {damaged[0]} on", right=False)
        else:
            yield Check(str(path), f"{len(records)} records")


def _compared(what: str, recorded: pl.DataFrame, rows: list[dict[str, Any]], schema: pa.Schema) -> Check:
    """Whether rows that were made again are those of a table, to the bit and in its order."""
    again = frame(to_arrow(rows, schema)).select(recorded.columns)
    if again.equals(recorded):
        return Check(what, f"{recorded.height} rows equal")
    if again.height != recorded.height:
        return Check(what, f"{again.height} rows, and {recorded.height} are recorded", right=False)
    for index, (now, then) in enumerate(zip(again.iter_rows(named=True), recorded.iter_rows(named=True), strict=True)):
        apart = [name for name in recorded.columns if now[name] != then[name]]
        if apart:
            name = apart[0]
            told = f"row {index}: {name} is {now[name]!r}, and {then[name]!r} is recorded"
            return Check(what, told if len(told) < 300 else f"{told[:300]} ...", right=False)
    return Check(what, "differs", right=False)


def _attempt(work: Callable[[], _Found]) -> tuple[_Found | None, str]:
    """What it answers, or why it could not."""
    try:
        return work(), ""
    except UserError as error:
        return None, str(error)
