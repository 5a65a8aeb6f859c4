"""The trainings of the pilot, in stages that follow from one another, and resume."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from benchmarks.pilot.settings import BEFORE, RATES, SETTINGS, recipe
from benchmarks.trainings import Row, Training, run_trainings
from harmony_core.architecture import Architecture
from harmony_core.workers import Pool

# Of every kind that the settings might part: plain attention, latent attention, scan, convolution, experts, a hybrid.
SCREENED = ("gqa", "mla", "mamba2", "hyena_mr", "gqa_moe", "mha_first")
SCREEN_SEEDS, FRESH_SEEDS = (0, 1), (100, 101, 102, 103)
_MIDDLE_RATE = RATES.index(3e-3)
BEHIND = 0.1


@dataclass(frozen=True)
class Trial:
    """One training.

    Args:
        stack: name of the architecture.
        setting: name of the parametrisation.
        rate: number of the learning rate in `RATES`.
        seed: of weights and data order.
    """

    stack: str
    setting: str
    rate: int
    seed: int

    @property
    def key(self) -> str:
        """Its name in the journal."""
        return f"{self.stack}.{self.setting}.{RATES[self.rate]:g}.{self.seed}"


Scores = dict[tuple[str, str], dict[int, float]]


class Campaign:
    """Runs trials once and for all.

    Args:
        pool: where.
        architectures: by name of the stack.
        data: folder of prepared data.
        journal: what is done is read from here, and written here.
    """

    def __init__(self, pool: Pool, architectures: Mapping[str, Architecture], data: Path, journal: Path) -> None:
        self._pool, self._architectures, self._data, self._journal = pool, architectures, data, journal

    def run(self, trials: Iterable[Trial]) -> list[Row]:
        """A row for each trial, in order."""
        return run_trainings(self._pool, [self._training(trial) for trial in trials], self._data, self._journal)

    def _training(self, trial: Trial) -> Training:
        chosen = recipe(trial.setting).at_rate(trial.rate)
        labels = {"stack": trial.stack, "setting": trial.setting, "rate": trial.rate, "seed": trial.seed}
        return Training(trial.key, self._architectures[trial.stack], chosen, trial.seed, labels)


def race(runs: Campaign, settings: Iterable[str] = SETTINGS) -> tuple[Scores, dict[str, float]]:
    """The settings on one stack after another, at one seed and rate; those that fall behind run on no further stack.

    A setting falls behind where its regret, in the mean over the stacks so far, is more than `BEHIND` above the least.

    Returns:
        All scores, and the mean regret of the settings that ran on every stack.
    """
    left, found, regret = list(settings), Scores(), dict[str, float]()
    for stack in SCREENED:
        found |= scores(runs.run(Trial(stack, setting, _MIDDLE_RATE, SCREEN_SEEDS[0]) for setting in left))
        regret = mean_regret({key: of for key, of in found.items() if key[1] in left}, [_MIDDLE_RATE])
        limit = min(regret.values()) + BEHIND
        left = [setting for setting in left if setting == BEFORE or regret[setting] <= limit]
    return found, {setting: regret[setting] for setting in left}


def rates_stage(settings: Sequence[str]) -> list[Trial]:
    """What is left of the settings at every rate, two seeds, the same stacks."""
    return [Trial(*one) for one in _product(SCREENED, settings, range(len(RATES)), SCREEN_SEEDS)]


def stacks_stage(stacks: Iterable[str], settings: Sequence[str], rates: Sequence[int]) -> list[Trial]:
    """The same settings on all other stacks, at the chosen rates."""
    others = [stack for stack in stacks if stack not in SCREENED]
    return [Trial(*one) for one in _product(others, settings, rates, SCREEN_SEEDS)]


def fresh_stage(chosen: Mapping[str, tuple[str, int]], best: Mapping[str, tuple[str, int]]) -> list[Trial]:
    """Of each stack the chosen setting and its own best, (setting, rate) each, on fresh seeds that both share."""
    pairs = [(stack, *one[stack]) for one in (chosen, best) for stack in chosen]
    pairs += [(stack, BEFORE, chosen[stack][1]) for stack in chosen]
    return [Trial(*pair, seed) for pair in dict.fromkeys(pairs) for seed in FRESH_SEEDS]


def scores(rows: Iterable[Row]) -> Scores:
    """Mean bits per byte by (stack, setting) and rate; infinite where a training failed."""
    found: dict[tuple[str, str], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        bits = row["val_bits_per_byte"]
        found[row["stack"], row["setting"]][row["rate"]].append(float("inf") if bits is None else bits)
    return {key: {rate: statistics.fmean(bits) for rate, bits in rates.items()} for key, rates in found.items()}


def best_settings(regret: Mapping[str, float], count: int) -> list[str]:
    """The settings of least mean regret; `before` is what they are compared with, and not among them."""
    others = (setting for setting in regret if setting != BEFORE)
    return sorted(others, key=lambda setting: (regret[setting], setting))[:count]


def mean_regret(found: Scores, rates: Sequence[int]) -> dict[str, float]:
    """By setting, how much worse than each stack's best setting, in the mean over stacks [bits/byte]."""
    at = {key: min(bits for rate, bits in of.items() if rate in rates) for key, of in found.items()}
    stacks = {stack for stack, _ in at}
    least = {stack: min(bits for (one, _), bits in at.items() if one == stack) for stack in stacks}
    settings = dict.fromkeys(setting for _, setting in at)
    return {one: statistics.fmean(at[stack, one] - least[stack] for stack in sorted(stacks)) for one in settings}


def best_rates(found: Scores, setting: str) -> tuple[int, ...]:
    """The list of at most two rates under which the stacks of a setting lose least, in the order of `RATES`."""
    of_setting = {stack: rates for (stack, one), rates in found.items() if one == setting}

    def loss(pair: Sequence[int]) -> float:
        return statistics.fmean(min(rates[rate] for rate in pair) for rates in of_setting.values())

    return min(combinations(range(len(RATES)), 2), key=loss)


def better_rate(found: Scores, stack: str, setting: str, rates: Sequence[int]) -> int:
    """The rate that suits a stack under a setting."""
    of = found[stack, setting]
    return min((rate for rate in rates if rate in of), key=of.__getitem__)


def _product(stacks: Iterable[str], settings: Iterable[str], rates: Iterable[int], seeds: Iterable[int]) -> list[Any]:
    rates, seeds, stacks = list(rates), list(seeds), list(stacks)
    return [(stack, one, rate, seed) for one in settings for stack in stacks for rate in rates for seed in seeds]
