"""What a search's candidates have taken, by the recorded rows, and how many more its budget pays for.

The decisions are functions of configuration and rows. They price a candidate at the mean of those recorded,
so a generation may pass the budget by what it takes above that; whatever is decided later knows.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harmony_core.base import read_yaml
from harmony_core.store import POPULATION, SearchFolder, read_manifest, read_table
from harmony_core.store.evaluators import DEFAULT, tables_of

if TYPE_CHECKING:
    from harmony_core.search.config import Config

HOUR = 3600.0

# A generation of one leaves nothing to select.
_LEAST_GENERATION = 2


@dataclass(frozen=True)
class Allowance:
    """How many of the candidates that are wanted the budget pays for.

    Args:
        wanted: candidates.
        paid: those of them that it pays for, first ones first.
        reason: why not all; empty where all are paid.
    """

    wanted: int
    paid: int
    reason: str = ""


@dataclass(frozen=True)
class Account:
    """A budget and what is known to be taken from it.

    Args:
        budget_seconds: device seconds in all.
        spent_seconds: device seconds recorded.
        candidate_seconds: mean of the candidates recorded.
        in_flight: candidates bred whose rows are not awaited; each is taken to be a mean one.
        kept_seconds: what something later needs.
    """

    budget_seconds: float
    spent_seconds: float
    candidate_seconds: float
    in_flight: int = 0
    kept_seconds: float = 0.0

    def allow(self, wanted: int, *, scale: float = 1.0, least: int = 1) -> Allowance:
        """What the rest pays for.

        Args:
            wanted: how many at most.
            scale: cost of one of them, in candidates of the search.
            least: if fewer than this fit, none is paid.
        """
        cost = scale * self.candidate_seconds
        under_way = self.in_flight * self.candidate_seconds
        rest = self.budget_seconds - self.spent_seconds - under_way - self.kept_seconds
        if wanted * cost <= rest:
            return Allowance(wanted, wanted)
        fitting = int(rest // cost) if rest > 0 else 0
        parts = [f"{_hours(self.spent_seconds)} spent", f"{_hours(cost)} a candidate"]
        if under_way:
            parts.insert(1, f"{_hours(under_way)} under way")
        if self.kept_seconds:
            parts.insert(-1, f"{_hours(self.kept_seconds)} kept for promotion")
        reason = f"budget of {_total(self.budget_seconds)} GPU-hours: {', '.join(parts)}"
        return Allowance(wanted, fitting if fitting >= least else 0, reason)


def generation_allowance(folder: SearchFolder, config: Config, generation: int) -> Allowance:
    """How many candidates a generation may have.

    What is counted are the rows of generations up to the one that it is bred from, which are whole, and of an
    earlier promotion; generations between are taken at the mean. A generation that is bred from none, 0 and
    with a lag of 1 also 1, is whole: nothing was measured. What promotion will take is kept back.

    Args:
        folder: the search's, with its recorded rows.
        config: gives the budget, the lag and the size of a generation.
        generation: the one that is to be bred.
    """
    wanted = config.search.population
    source = generation - 1 - config.search.lag
    if config.budget.gpu_hours is None or source < 0:
        return Allowance(wanted, wanted)
    flying = (read_table(folder.population(g), POPULATION, ["candidate"]).height for g in range(source + 1, generation))
    promoted, _ = _recorded(folder, config.evaluators, [None])
    account = _account(folder, config, range(source + 1), promoted, sum(flying))
    members = config.promote.top_k + len(config.promote.candidates) + len(config.promote.baselines)
    kept = members * _sizes(folder, config, source) * _promotion_scale(config) * account.candidate_seconds
    return dataclasses.replace(account, kept_seconds=kept).allow(wanted, least=_LEAST_GENERATION)


def promotion_allowance(folder: SearchFolder, members: int, cost: float = 1.0) -> Allowance:
    """How many members promotion may train, each on all its replicates.

    Rows of an earlier promotion are not counted: this one takes their place.

    Args:
        folder: the search's.
        members: how many are wanted.
        cost: of a step of one of them, in the mean, in steps of a candidate; above 1 where they were grown.
    """
    from harmony_core.search.settings import read_settings

    _, config = read_settings(folder)
    if config.budget.gpu_hours is None:
        return Allowance(members, members)
    account = _account(folder, config, folder.generations())
    return account.allow(members, scale=cost * _promotion_scale(config))


def _promotion_scale(config: Config) -> float:
    """Cost of a promoted member, in candidates of the search."""
    return config.promote.replicates * config.promotion_recipe().all_tokens / config.recipe.all_tokens


def _sizes(folder: SearchFolder, config: Config, generation: int) -> float:
    """What a member costs at all sizes that promotion gives it, in members of the size of a generation's."""
    if not config.promote.grow:
        return 1.0
    size = "num_active_non_embedding_params"
    params = read_table(folder.population(generation), POPULATION, [size])[size]
    return 1.0 + sum(growth.params for growth in config.promote.grow) * len(params) / math.fsum(params)


def spending(folder: SearchFolder, last: int | None = None, recorded: float | None = None) -> str | None:
    """What was taken of the budget, `1.98 of 2 GPU-hours`; None without a budget.

    Args:
        folder: the search's.
        last: generations after this one are not counted; None counts all rows there are by now. Rows of a
            promotion always count, until a later one takes their place.
        recorded: device seconds of the generations that count, where they are known; None reads them.
    """
    settings = read_manifest(folder.manifest).config
    # This reads of the newest start only the budget: what else it names may not be installed any more.
    newest = (read_yaml(folder.config) or {}) if folder.config.exists() else settings
    section = newest.get("budget") or {}
    if isinstance(section, Mapping) and section.get("gpu_hours") is None:
        return None
    # Importing the configuration takes a tenth of a second, and most searches have no budget.
    from harmony_core.search.config import BudgetConfig

    budget = BudgetConfig.parse(section, "budget")
    assert budget.gpu_hours is not None
    evaluators = settings.get("evaluators", DEFAULT)
    generations = folder.generations() if last is None else range(last + 1)
    spent, _ = _recorded(folder, evaluators, [*(generations if recorded is None else ()), None])
    spent += recorded or 0.0
    return f"{_hours(spent)} of {_total(budget.gpu_hours * HOUR)} GPU-hours"


def _account(
    folder: SearchFolder, config: Config, generations: Iterable[int], promoted: float = 0.0, in_flight: int = 0
) -> Account:
    assert config.budget.gpu_hours is not None
    seconds, candidates = _recorded(folder, config.evaluators, generations)
    mean = seconds / candidates if candidates else 0.0
    return Account(config.budget.gpu_hours * HOUR, seconds + promoted, mean, in_flight)


def _recorded(folder: SearchFolder, evaluators: Sequence[str], generations: Iterable[int | None]) -> tuple[float, int]:
    """Device seconds of generations (None: promotion), and how many candidates have been trained."""
    seconds: list[float] = []
    candidates = 0
    for generation in generations:
        for table in tables_of({"evaluators": evaluators}):
            for path in folder.shards(generation, table.name):
                rows = read_table(path, table.schema, ["candidate", "device_seconds"])
                seconds += rows["device_seconds"].to_list()
                # Everybody is trained, so each candidate is counted there, once.
                candidates += rows["candidate"].n_unique() if table.name == DEFAULT[0] else 0
    # fsum is exact, whatever order workers wrote in.
    return math.fsum(seconds), candidates


def _hours(seconds: float) -> str:
    """Three digits; whole hours from a thousand on."""
    hours = seconds / HOUR
    return f"{hours:.3g}" if hours < 999.5 else f"{hours:,.0f}"


def _total(seconds: float) -> str:
    """A budget as it was given."""
    return f"{seconds / HOUR:,.10g}"
