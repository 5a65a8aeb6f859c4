"""After the search: the front and the baselines, trained on fresh seeds and read on the test split."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import polars as pl

from harmony_core.architecture import Architecture
from harmony_core.architecture.presets import load_preset, with_vocab
from harmony_core.errors import UserError
from harmony_core.evaluation.evaluate_shard import evaluate_shard
from harmony_core.evaluation.evaluator_registry import evaluators_of
from harmony_core.evaluation.launcher import Launcher
from harmony_core.evaluation.shard import Row, Shard
from harmony_core.results import pareto_front
from harmony_core.results.budget import Allowance, promotion_allowance
from harmony_core.search.config import Config
from harmony_core.search.opened import OpenedSearch
from harmony_core.store import atomic_write, population, population_row, read_table, schemas, with_metrics, write_table

# It takes an evaluator's name, a final row of it, how many are done, and how many there are.
Report = Callable[[str, Row, int, int], None]


class Member(NamedTuple):
    """Who is promoted.

    Args:
        architecture: what is trained.
        role: `front` or `baseline`.
        name: the preset's; None for what was found.
        found: id of the architecture of the front that it is, or was grown from; None for a preset.
        growth: to which size, in words; empty at its own.
    """

    architecture: Architecture
    role: str
    name: str | None
    found: str | None
    growth: str = ""


def promote(setting: OpenedSearch, report: Report, launcher: Launcher) -> Allowance:
    """Writes `promoted/`: population, ledger, each evaluator's tables (training reads the test split), checkpoints.

    The members of the front are its `promote.top_k` best by validation bits per byte, and further candidates that were
    asked for. They and the baselines share the recipe and the seeds. All are trained at the sizes of `promote.grow`
    too, baselines with as many parameters as what was grown; the ledger says who cannot be brought to a size. Where the
    budget does not pay for all, the front comes first, at their own sizes before further ones; the ledger and the
    answer say why. Who was promoted before, and still is a member, comes before all and keeps its number, by which the
    journals know what was trained. Latencies are measured again, in turns, of the whole front and the baselines.

    Args:
        setting: the opened search, all generations of which are selected from.
        report: hears of each final row: evaluator, row, how many are done, how many there are.
        launcher: finds the workers.

    Returns:
        How many of the members were wanted and paid for, and why not all.
    """
    config = setting.config
    members, impossible = _members(setting)
    allowance = promotion_allowance(setting.folder, len(members), _cost(members, setting.recipe.sequence_length))
    population = _population(setting, members, allowance.paid)
    if not population:
        # There are no candidates, so no teams of an allocation are needed.
        launcher = Launcher()
    write_table(setting.folder.ledger(None), _ledger(setting, allowance, impossible), schemas.LEDGER)
    write_table(setting.folder.population(None), population, with_metrics(schemas.POPULATION, config.search.metrics))
    for evaluator in evaluators_of(config):
        takes_more = evaluator.takes_whole_front(config) and population and not allowance.reason
        taken = population + (_rest_of_front(setting, population) if takes_more else [])
        told = partial(report, evaluator.name)
        shard = Shard(setting, taken, None, 0)
        evaluate_shard(evaluator.of_promotion(setting), shard, report=told, launcher=launcher)
    more = config.promotes_more(Config.parse(setting.manifest.config))
    if more is not None:
        asked = config.promote.model_dump_json(indent=2)
        atomic_write(setting.folder.grown_promotion(more), asked.encode() + b"\n")
    return allowance


def promoted_rows(setting: OpenedSearch) -> list[dict[str, Any]]:
    """The population of a promotion that pays for all its members, by number; nothing is written.

    Args:
        setting: the opened search, all generations of which are selected from.
    """
    members, _ = _members(setting)
    return _population(setting, members, len(members))


def _rest_of_front(setting: OpenedSearch, population: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the front that is not trained again, numbered after `population`."""
    front = pareto_front(setting.folder).sort("val_bits_per_byte").collect()
    known = {row["architecture_id"] for row in population}
    texts = front.filter(~pl.col("architecture_id").is_in(known)).unique("architecture_id", maintain_order=True)
    first = 1 + max(row["candidate"] for row in population)
    return [
        _row(setting, index, Member(one := Architecture.from_json(text), "front", None, one.id))
        for index, text in enumerate(texts["architecture"], start=first)
    ]


def _population(setting: OpenedSearch, members: Sequence[Member], paid: int) -> list[dict[str, Any]]:
    """Rows of the members that are paid for, by number; new ones take the lowest numbers that are free."""
    path, numbers = setting.folder.population(None), {}
    if path.exists():
        rows = read_table(path, schemas.POPULATION, ["architecture_id", "candidate"])
        numbers = dict(zip(rows["architecture_id"], rows["candidate"], strict=True))
    # The sort is stable: candidates that were not promoted before keep their order.
    chosen = sorted(members, key=lambda member: member.architecture.id not in numbers)[:paid]
    kept = {numbers[one.architecture.id] for one in chosen if one.architecture.id in numbers}
    free = (number for number in itertools.count() if number not in kept)
    numbered = [(numbers[one.architecture.id] if one.architecture.id in numbers else next(free), one) for one in chosen]
    return [_row(setting, number, one) for number, one in sorted(numbered, key=lambda pair: pair[0])]


def _members(setting: OpenedSearch) -> tuple[list[Member], list[str]]:
    """Everything that is promoted, each architecture once, and why some cannot be grown."""
    promote = setting.config.promote
    front = pareto_front(setting.folder).sort("val_bits_per_byte").head(promote.top_k)
    texts = front.select(pl.col("architecture")).collect()["architecture"].to_list()
    vocab_size = setting.manifest.data["vocab_size"]
    texts += _asked_for(setting, promote.candidates)
    presets = {name: with_vocab(load_preset(name), vocab_size) for name in promote.baselines}
    found = [Architecture.from_json(text) for text in dict.fromkeys(texts)]
    # A search may find a preset, or start with it.
    known = {preset.id for preset in presets.values()}
    members = [Member(one, "front", None, one.id) for one in found if one.id not in known]
    members += [Member(preset, "baseline", name, None) for name, preset in presets.items()]
    grown, impossible = [], []
    for growth, member in itertools.product(promote.grow, list(members)):
        size = growth.widen if member.role == "baseline" else growth.grow
        try:
            grown.append(member._replace(architecture=size(member.architecture), growth=str(growth)))
        except UserError as error:
            impossible.append(f"{member.name or member.found}: {growth}: {error}")
    unique = {member.architecture.id: member for member in reversed(members + grown)}
    return [unique[one] for one in dict.fromkeys(member.architecture.id for member in members + grown)], impossible


def _asked_for(setting: OpenedSearch, ids: Sequence[str]) -> list[str]:
    """The architectures of candidates that were asked for by id, in that order."""
    rows = population(setting.folder, columns=("architecture_id", "architecture")).collect()
    texts = dict(rows.select("architecture_id", "architecture").iter_rows())
    for one in ids:
        if one not in texts:
            raise UserError("promote.candidates", one, "no candidate of this search; take an id from `harmony top`")
    return [texts[one] for one in ids]


def _cost(members: Sequence[Member], sequence_length: int) -> float:
    """What a token of a member costs in the mean, by FLOPs, over that of a member at its own size."""
    flops = [one.architecture.flops_per_token(sequence_length, "train") for one in members]
    own = [of_one for of_one, one in zip(flops, members, strict=True) if not one.growth]
    return 1.0 if len(own) == len(flops) else statistics.fmean(flops) / statistics.fmean(own)


def _ledger(setting: OpenedSearch, allowance: Allowance, impossible: Sequence[str]) -> list[dict[str, Any]]:
    left_out = allowance.wanted - allowance.paid
    row = {"search": setting.folder.name, "generation": None, "stage": "propose"}
    rows = [{**row, "reason": reason, "count": 1} for reason in impossible]
    return rows + ([{**row, "reason": allowance.reason, "count": left_out}] if left_out else [])


def _row(setting: OpenedSearch, index: int, member: Member) -> dict[str, Any]:
    origin = f"preset {member.name}" if member.role == "baseline" else "promoted from the front"
    return population_row(
        member.architecture,
        search=setting.folder.name,
        generation=None,
        candidate=index,
        sequence_length=setting.recipe.sequence_length,
        origin="preset" if member.role == "baseline" else "sample",
        operator=f"{origin}: {member.growth}" if member.growth else origin,
        parents=() if member.found is None else (member.found,),
        role=member.role,
        name=member.name,
        metrics=setting.config.search.metrics,
    )
