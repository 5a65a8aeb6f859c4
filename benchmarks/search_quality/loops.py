"""A search in memory: the real algorithms and the real breeder, or pymoo's NSGA-II with the same variation."""

from __future__ import annotations

from typing import Any

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.crossover import Crossover
from pymoo.core.duplicate import DuplicateElimination
from pymoo.core.problem import ElementwiseProblem
from pymoo.operators.mutation.nom import NoMutation
from pymoo.optimize import minimize

from benchmarks.search_quality.genes import VOCAB_SIZE
from benchmarks.search_quality.problems import OBJECTIVES, Problem
from harmony_core.architecture import Architecture
from harmony_core.evolution.algorithm import Algorithm
from harmony_core.evolution.algorithms.nsga2 import NSGA2 as Ours
from harmony_core.evolution.breeding import Breeder
from harmony_core.evolution.context import Context, Trial
from harmony_core.evolution.generation import draw_children
from harmony_core.evolution.scored import Scored
from harmony_core.results.budget import Allowance
from harmony_core.search.config import Config
from harmony_core.space import crossover, mutate
from harmony_core.space.variation import DeadEnd

# As the demo's.
POPULATION = 12
RANDOM = {"kind": "random"}


def search(problem: Problem, algorithm: dict[str, Any], seed: int, generations: int) -> list[Architecture]:
    """Everyone that a search evaluates, in order; `algorithm` is the configuration's."""
    config = _config(algorithm, seed)
    made = config.search.make_algorithm()
    known: dict[str, Architecture] = {}
    kept: list[Scored] = []
    for generation in range(generations):
        new = []
        for candidate, child in enumerate(_children(problem, config, made, known, generation)):
            known[child.id] = child
            metrics = dict(zip(OBJECTIVES, problem.measured(child, seed), strict=True))
            new.append(Scored(generation, candidate, child.id, "ok", metrics))
        merged = [*kept, *new]
        kept = [one for one, standing in zip(merged, made.tell(merged), strict=True) if standing.survives]
    return list(known.values())


def peer(problem: Problem, seed: int, generations: int) -> list[Architecture]:
    """Everyone that pymoo's NSGA-II evaluates, in order, from the same generation 0 and with the same operators.

    A child is bred as ours are, of two parents in the same share of cases and else by a mutation, and is new to the
    whole search. Parents are chosen, and survive, as pymoo does it.
    """
    seen = _Seen(problem, seed)
    config = _config(RANDOM, seed)
    first = _children(problem, config, config.search.make_algorithm(), {}, 0)
    algorithm = NSGA2(
        pop_size=POPULATION,
        sampling=np.array([[seen.add(one)] for one in first], dtype=object),
        crossover=_Variation(seen, Ours.default_crossover),
        mutation=NoMutation(),
        eliminate_duplicates=_New(seen),
    )
    minimize(seen, algorithm, ("n_gen", generations), seed=seed, copy_algorithm=False)
    return seen.evaluated


def _config(algorithm: dict[str, Any], seed: int) -> Config:
    objectives = [{"name": name} for name in OBJECTIVES]
    search = {"seed": seed, "population": POPULATION, "objectives": objectives, "algorithm": algorithm}
    return Config.parse({"search": search})


def _children(
    problem: Problem, config: Config, algorithm: Algorithm, known: dict[str, Architecture], generation: int
) -> list[Architecture]:
    # These algorithms look at no more of a trial than its architecture.
    trials = [Trial(0, number, one.id, one.to_json()) for number, one in enumerate(known.values())]
    breeder = Breeder(Context(problem.space, VOCAB_SIZE, generation, trials), algorithm)
    children, _ = draw_children(breeder, config, generation, Allowance(POPULATION, POPULATION))
    return [child.architecture for child in children]


class _Seen(ElementwiseProblem):
    """What is searched, and everyone by id; pymoo sees the ids alone."""

    def __init__(self, problem: Problem, seed: int) -> None:
        super().__init__(n_var=1, n_obj=len(OBJECTIVES), vtype=object)
        self.problem, self.seed = problem, seed
        self.architectures: dict[str, Architecture] = {}
        self.evaluated: list[Architecture] = []
        self.had: set[str] = set()

    def add(self, architecture: Architecture) -> str:
        """Makes an architecture known; its id."""
        known_as = architecture.id
        self.architectures[known_as] = architecture
        return known_as

    def _evaluate(self, x: np.ndarray, out: dict[str, Any], *_: Any, **__: Any) -> None:
        architecture = self.architectures[x[0]]
        self.evaluated.append(architecture)
        self.had.add(x[0])
        out["F"] = self.problem.measured(architecture, self.seed)


class _Variation(Crossover):
    """A child of two parents, or a mutation of the first: one operator, since a child has either."""

    def __init__(self, seen: _Seen, share: float) -> None:
        super().__init__(n_parents=2, n_offsprings=1, prob=1.0)
        self.vtype = object
        self.seen, self.share = seen, share

    def _do(self, _: Any, parents: np.ndarray, *__: Any, random_state: np.random.Generator, **___: Any) -> np.ndarray:
        children = [[self._child(*pair, random_state)] for pair in parents[:, :, 0].T]
        return np.array([children], dtype=object)

    def _child(self, first: str, second: str, rng: np.random.Generator) -> str:
        space, known = self.seen.problem.space, self.seen.architectures
        try:
            if first != second and rng.random() < self.share:
                return self.seen.add(crossover(space, known[first], known[second], rng).architecture)
            return self.seen.add(mutate(space, known[first], rng).architecture)
        except DeadEnd:
            # Thrown out as a duplicate; pymoo asks again, for other parents.
            return first


class _New(DuplicateElimination):
    """Keeps who was never evaluated, each once."""

    def __init__(self, seen: _Seen) -> None:
        super().__init__()
        self.seen = seen

    def _do(self, pop: Any, other: Any, is_duplicate: np.ndarray) -> np.ndarray:
        had = self.seen.had | ({one.X[0] for one in other} if other is not None else set())
        for place, one in enumerate(pop):
            is_duplicate[place] = one.X[0] in had
            had.add(one.X[0])
        return is_duplicate
