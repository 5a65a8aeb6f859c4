"""Composer's engines: what is open, when a step is over, and what Bayesian optimisation makes of a history."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from harmony_core.architecture import Architecture
from harmony_core.errors import UserError
from harmony_core.evolution.bayesian import Surrogate
from harmony_core.evolution.context import Context, Trial
from harmony_core.evolution.engine import Engine
from harmony_core.evolution.generation import mutate_generation, select_generation
from harmony_core.evolution.merit import merits
from harmony_core.evolution.proposal import Sample, Take
from harmony_core.resources import resource
from harmony_core.search.config import Config, SearchConfig
from harmony_core.search.objective import Objective
from harmony_core.space import Space, Stratum, sample
from harmony_core.store import SearchFolder, population
from harmony_core.testing.algorithms import check_algorithm

LOSS = "val_bits_per_byte"
OBJECTIVES = (Objective(name=LOSS),)
SPACE, VOCAB = Space.from_yaml("composer"), 257
KINDS = ("one_shot", "end_layer", "middle_layer")

Formula = Callable[[str], float | None]


def letters(architecture: Architecture) -> str:
    return "".join("A" if block.role == "mixer" else "M" for block in architecture.blocks)


def engine(kind: str, population: int = 4, **settings: Any) -> Engine:
    config = {"population": population, "objectives": OBJECTIVES, "algorithm": {"kind": kind, **settings}}
    made = SearchConfig(**config).make_algorithm()
    assert isinstance(made, Engine)
    return made


def trial(architecture: Architecture, generation: int, candidate: int, loss: float | None) -> Trial:
    status = "ok" if loss is not None else "diverged"
    return Trial(generation, candidate, architecture.id, architecture.to_json(), status, {LOSS: loss})


def run(one: Engine, formula: Formula, generations: int, population: int = 4) -> list[list[str]]:
    """Designs by generation; what is no proposal of the engine's own is a `?`."""
    history: list[Trial] = []
    found = []
    for generation in range(generations):
        one.tell([])
        context, born = Context(SPACE, VOCAB, generation, tuple(history)), []
        for candidate in range(population):
            proposal = one.ask(context, np.random.default_rng([generation, candidate]))
            born.append(letters(proposal.architecture) if isinstance(proposal, Take) else "?")
            if isinstance(proposal, Take):
                loss = formula(born[-1])
                history.append(trial(proposal.architecture, generation, candidate, loss))
        found.append(born)
    return found


def late_attention(design: str) -> float:
    """Attention is worth something from three fifths of the depth on, the later the more, and costs before."""
    return 3.0 + sum(0.6 - (place + 1) / len(design) for place, letter in enumerate(design) if letter == "A")


@pytest.mark.parametrize("kind", KINDS)
def test_an_engine_passes_the_suite_of_algorithms(kind: str) -> None:
    config = Config.parse({"search": {"algorithm": {"kind": kind, "picks": "random"}}}).search.algorithm
    check_algorithm(config, SPACE, OBJECTIVES)


def test_end_layer_keeps_what_it_found_and_adds_behind_it() -> None:
    first, second, third, after = run(engine("end_layer", step=2), late_attention, 4)
    assert sorted(first) == ["AA", "AM", "MA", "MM"]
    best = min(first, key=late_attention)
    assert sorted(second) == sorted(best + new for new in ("AA", "AM", "MA", "MM"))
    best = min(second, key=late_attention)
    assert sorted(third) == sorted(best + new for new in ("AA", "AM", "MA", "MM"))
    assert after == ["?"] * 4


def test_middle_layer_splits_what_it_found() -> None:
    first, second, third = run(engine("middle_layer", step=2), late_attention, 3)
    best = min(first, key=late_attention)
    assert sorted(second) == sorted(best[:1] + new + best[1:] for new in ("AA", "AM", "MA", "MM"))
    best = min(second, key=late_attention)
    assert sorted(third) == sorted(best[:2] + new + best[2:] for new in ("AA", "AM", "MA", "MM"))


def test_an_odd_step_is_split_behind_its_larger_part() -> None:
    first, second = run(engine("middle_layer", step=3, population=8), late_attention, 2, population=8)
    best = min(first, key=late_attention)
    assert {design[:2] + design[5:] for design in second} == {best}


def test_a_step_goes_on_from_the_best_that_has_not_failed() -> None:
    first, second = run(engine("end_layer", step=1), lambda design: None if design[0] == "A" else 3.0, 2, population=2)
    assert sorted(first) == ["A", "M"]
    assert sorted(second) == ["MA", "MM"]


def test_a_part_of_a_step_is_as_many_as_asked_for() -> None:
    first, second, third = run(engine("end_layer", step=3, trials=4), late_attention, 3)
    assert {len(design) for design in first} == {3}
    assert len(set(first)) == 4
    best = min(first, key=late_attention)
    assert {design[:3] for design in second} == {best}
    assert third == ["?"] * 4


def test_a_step_waits_for_results_and_never_repeats_itself() -> None:
    one, context = engine("end_layer", step=1), Context(SPACE, VOCAB)
    proposals = [one.ask(context, np.random.default_rng(0)) for _ in range(3)]
    assert proposals[2] == Sample()
    taken = [found.architecture for found in proposals if isinstance(found, Take)]
    unknown = [Trial(0, number, found.id, found.to_json()) for number, found in enumerate(taken)]
    assert sorted(map(letters, taken)) == ["A", "M"]
    one.tell([])
    assert one.ask(Context(SPACE, VOCAB, 1, unknown), np.random.default_rng(0)) == Sample()


def test_one_shot_takes_whole_depth_alone_and_every_design_once() -> None:
    found = [design for born in run(engine("one_shot", picks="random"), late_attention, 16) for design in born]
    assert len(set(found)) == 2**6
    assert {len(design) for design in found} == {6}


def test_bayesian_optimisation_finds_what_chance_does_not() -> None:
    """Ten of 64 designs: what chance finds best is well above, in the mean of two draws."""

    def regret(picks: str, seed: int) -> float:
        rng = np.random.default_rng(seed)
        noise = {f"{code:06b}".replace("0", "M").replace("1", "A"): rng.normal(0, 0.05) for code in range(64)}
        one, history = engine("one_shot", picks=picks), []
        for number in range(10):
            one.tell([])
            context = Context(SPACE, VOCAB, number, tuple(history))
            proposal = one.ask(context, np.random.default_rng([seed, number]))
            assert isinstance(proposal, Take)
            design = letters(proposal.architecture)
            history.append(trial(proposal.architecture, number, 0, late_attention(design) + noise[design]))
        best = min(history, key=lambda found: found.metrics[LOSS] or 0.0)
        return late_attention(letters(best.architecture)) - late_attention("MMMAAA")

    found = {picks: np.mean([regret(picks, seed) for seed in range(2)]) for picks in ("bayesian", "random")}
    assert found["bayesian"] < 0.5 * found["random"]


def test_of_a_large_space_samples_and_mutations_are_weighed() -> None:
    """3^16 designs: what is taken is new, of whole depth, and the same again."""
    space = Space.from_yaml("composer-mamba")
    drawn = [sample(space, VOCAB, np.random.default_rng(seed), deepest()).architecture for seed in range(6)]
    history = tuple(trial(one, 0, n, 3.0 - 0.1 * one.num_mixers) for n, one in enumerate(drawn))
    context = Context(space, VOCAB, 1, history)
    first, again = (engine("one_shot").ask(context, np.random.default_rng(1)) for _ in range(2))
    assert first == again
    assert isinstance(first, Take)
    assert space.violations(first.architecture) == []
    assert len(first.architecture.blocks) == 16
    assert first.architecture.id not in context.trials
    # More mixers are better, as far as the model has seen.
    assert first.architecture.num_mixers > np.mean([one.num_mixers for one in drawn])


def deepest() -> Stratum:
    return Stratum(depth=0.99, size=0.5, experts=0.0, variety=0.9, mixer=0.5)


def test_it_runs_in_the_loop_and_resumes_to_the_byte(
    start: Callable[..., SearchFolder], measure: Callable[..., None]
) -> None:
    space = resource("spaces/composer.yaml").read_text()
    algorithm = {"kind": "one_shot", "start": 2}
    folder = start(space=space, population=4, algorithm=algorithm, objectives=[{"name": LOSS}])

    def run_from(generation: int) -> dict[str, bytes]:
        for later in range(generation, 3):
            mutate_generation(folder, later)
            measure(folder, later)
            select_generation(folder, later)
        paths = sorted(folder.path.rglob("generation=*/*.parquet"))
        return {str(path.relative_to(folder.path)): path.read_bytes() for path in paths}

    whole = run_from(0)
    rows = population(folder).collect()
    assert rows["origin"].to_list() == ["proposal"] * 12
    assert rows["architecture_id"].n_unique() == 12
    operators = rows["operator"].to_list()
    assert [text.startswith("whole: the best by qLogNEI of ") for text in operators] == [False] * 4 + [True] * 8
    for name in ("population", "ledger", "selection"):
        (folder.generation(2) / f"{name}.parquet").unlink()
    # A process that goes on has drawn other numbers before.
    torch.manual_seed(11)
    assert run_from(2) == whole


def points(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 3))


def test_the_acquisition_is_a_function_of_its_arguments() -> None:
    """Neither torch's own generator nor its threads change it, nor are changed."""
    seen, choices, pending = points(8, 0), points(20, 1), points(2, 2)
    values = -((seen - 0.3) ** 2).sum(1)
    torch.manual_seed(3)
    torch.set_num_threads(2)
    state = torch.get_rng_state()
    first = Surrogate(seen, values, choices, 7).best(choices, pending, 8)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == 2
    torch.manual_seed(4)
    torch.set_num_threads(1)
    again = Surrogate(seen, values, choices, 7)
    assert again.best(choices, pending, 8) == first
    # What is pending already is worth little again.
    assert again.best(choices, choices[[first]], 8) != first


def test_merit_is_the_standardised_mean_of_the_objectives_and_targets_come_first() -> None:
    designs = [
        Architecture.parse({"d_model": 8, "vocab_size": 9, "blocks": [{"kind": "mlp", "d_ff": n}]}) for n in (1, 2, 3)
    ]
    both = (Objective(name=LOSS), Objective(name="num_params", target=100))
    rows = [(1.0, 90.0), (2.0, 10.0), (0.5, 200.0)]
    history = [
        Trial(0, n, one.id, one.to_json(), "ok", {LOSS: loss, "num_params": size})
        for n, (one, (loss, size)) in enumerate(zip(designs, rows, strict=True))
    ]
    failed = Trial(1, 0, "gone", "", "diverged", {})
    found = merits([*history, failed], both)
    values = -((np.array(rows) - np.mean(rows, 0)) / np.std(rows, 0)).mean(1)
    assert found == pytest.approx(
        {designs[0].id: values[0], designs[1].id: values[1], designs[2].id: values.min() - 1.0}
    )
    assert merits([failed], both) == {}


@pytest.mark.parametrize(
    ("algorithm", "search", "space", "said"),
    [
        ({"kind": "end_layer", "step": 4}, {}, {}, "step: 4: steps of it do not lead to space.depth.max 6"),
        ({"kind": "end_layer", "step": 2}, {"population": 3}, {}, "search.population: 3: a step trains 4 designs"),
        ({"kind": "end_layer", "step": 1}, {"population": 2}, {"depth": {"min": 2, "max": 6}}, "space.depth.min: 2: "),
        ({"kind": "middle_layer"}, {}, {"d_model": [96, 192]}, "space.d_model: [96, 192]: an engine that freezes"),
        ({"kind": "middle_layer"}, {}, {"tie_embeddings": [True, False]}, "space.tie_embeddings: [True, False]: an"),
        ({"kind": "end_layer", "step": 12}, {}, {"depth": {"min": 1, "max": 12}}, "step: 12: 2 units give more than"),
    ],
)
def test_what_does_not_go_together_is_refused_by_name(
    algorithm: dict[str, Any], search: dict[str, Any], space: dict[str, Any], said: str
) -> None:
    whole = {**SPACE.model_dump(mode="json"), **space}
    config = Config.parse({"search": {"population": 4, **search, "algorithm": algorithm}, "space": whole})
    (line,) = [str(one) for one in config.wrong_names({"search", "space"})]
    assert said in line


def test_without_botorch_it_is_one_line_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "botorch", None)
    config = Config.parse({"search": {"algorithm": {"kind": "one_shot"}}, "space": "composer"})
    with pytest.raises(UserError, match=r"^search.algorithm.picks: bayesian: needs botorch; pip install"):
        config.check_names()
    random = Config.parse({"search": {"algorithm": {"kind": "one_shot", "picks": "random"}}, "space": "composer"})
    random.check_names()
