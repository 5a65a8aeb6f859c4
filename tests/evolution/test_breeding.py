from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harmony_core.architecture import Architecture, block_class
from harmony_core.errors import UserError
from harmony_core.evolution import breeding
from harmony_core.evolution.breeding import Breeder, generation_strata
from harmony_core.evolution.context import Context, Trial
from harmony_core.evolution.proposal import Cross, Mutate, Proposal, Sample, Take
from harmony_core.space import Space, SpaceExhausted, Variation, every_architecture, propose, sample, sampling

SPACE = """
depth: {min: 2, max: 2}
d_model: [32]
blocks:
  mqa: {domains: {num_heads: [2, 4], head_dim: [8, 16]}}
  mlp: {domains: {d_ff: [64, 128]}}
"""


class Asks:
    """An algorithm that always proposes this."""

    def __init__(self, proposal: Proposal) -> None:
        self.proposal = proposal

    def tell(self, scored: object) -> list[Any]:
        return []

    def ask(self, context: Context, rng: np.random.Generator) -> Proposal:
        return self.proposal


@pytest.fixture
def space(tmp_path: Path) -> Space:
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)
    return Space.from_yaml(path)


def breeder(space: Space, count: int) -> Breeder:
    # Two of them have no layer in common, so that they can be crossed.
    seeds = range(2, 2 + count)
    parents = [sample(space, 256, np.random.default_rng(seed)).architecture for seed in seeds]
    trials = [Trial(0, number, one.id, one.to_json()) for number, one in enumerate(parents)]
    proposal = (Sample, Mutate, Cross)[count](*(one.id for one in parents))
    made = Breeder(Context(space, 256, 1, trials), Asks(proposal))
    assert len(made.history) == count
    return made


@pytest.mark.parametrize(("count", "origin"), [(0, "sample"), (1, "mutation"), (2, "crossover")])
def test_the_number_of_parents_makes_the_origin(space: Space, count: int, origin: str) -> None:
    made = breeder(space, count)
    parents = set(made.history)
    child = made.child(np.random.default_rng(5))
    assert child.origin == origin
    assert set(child.parents) == parents
    assert child.architecture.id in made.history - parents


def test_what_a_search_through_the_space_finds_has_no_parents(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    found = sample(space, 256, np.random.default_rng(77)).architecture

    def looks_through(make: Callable[[], Variation], *_: object) -> Variation:
        make()
        return Variation(found, "first untried of the space")

    monkeypatch.setattr(breeding, "propose", looks_through)
    child = breeder(space, 1).child(np.random.default_rng(5))
    assert (child.architecture, child.origin, child.parents) == (found, "sample", ())


def test_parents_without_new_children_are_followed_by_samples(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def gives_up_first(*arguments: Any) -> Variation:
        calls.append(1)
        if len(calls) == 1:
            raise SpaceExhausted("nothing around these parents")
        return propose(*arguments)

    monkeypatch.setattr(breeding, "propose", gives_up_first)
    child = breeder(space, 1).child(np.random.default_rng(5))
    assert (child.origin, child.parents) == ("sample", ())


def test_an_exhausted_space_is_told(space: Space) -> None:
    made = breeder(space, 0)
    for seed in range(64):
        made.child(np.random.default_rng(seed))
    with pytest.raises(SpaceExhausted):
        made.child(np.random.default_rng(0))
    assert len(made.history) == 64  # (4 attention blocks x 2 MLPs) ^ 2 layers


@pytest.mark.parametrize("limits", [{"max": 25_000}, {"max": 1}], ids=["rare", "none"])
def test_samples_that_miss_a_tight_budget_end_a_search_as_exhausted(
    space: Space, monkeypatch: pytest.MonkeyPatch, limits: dict[str, int]
) -> None:
    tight = Space.parse({**space.model_dump(), "constraints": {"num_params": limits}})
    left = sum(1 for _ in every_architecture(tight, 256))
    monkeypatch.setattr(sampling, "SAMPLE_TRIES", 20)
    made = Breeder(Context(tight, 256), Asks(Sample()))
    assert left == (3 if limits["max"] > 1 else 0)
    for candidate in range(left):
        made.child(np.random.default_rng(candidate))
    with pytest.raises(SpaceExhausted):
        made.child(np.random.default_rng(left))
    assert made.ledger.counts["sample", "dead end"] > 0


def test_a_first_generation_is_spread_over_the_prior_and_no_mixer_is_twice_as_frequent_as_another() -> None:
    nano = Space.from_yaml("nano")
    blocks: Counter[str] = Counter()
    holders: Counter[str] = Counter()
    for seed in range(200):
        for candidate, stratum in enumerate(generation_strata(seed, 0, 12)):
            rng = np.random.default_rng([seed, candidate])
            kinds = [block.kind for block in sample(nano, 257, rng, stratum).architecture.blocks[::2]]
            blocks.update(kinds)
            holders.update(set(kinds))
    for counts in (blocks, holders):
        assert set(counts) == {kind for kind in nano.blocks if block_class(kind).role == "mixer"}
        assert max(counts.values()) < 2 * min(counts.values()), counts


def test_strata_are_the_seeds_and_the_generations() -> None:
    assert generation_strata(1, 0, 12) == generation_strata(1, 0, 12)
    assert len({tuple(generation_strata(seed, g, 3)) for seed in range(3) for g in range(3)}) == 9


def test_a_child_is_sampled_from_its_stratum() -> None:
    nano = Space.from_yaml("nano")
    made = Breeder(Context(nano, 257), Asks(Sample()))
    for candidate, stratum in enumerate(generation_strata(0, 0, 10)):
        child = made.child(np.random.default_rng(candidate), stratum)
        assert len(child.architecture.blocks) // 2 == 3 + int(stratum.depth * 5)


def proposing(space: Space, proposal: Proposal, known: Architecture | None = None) -> Breeder:
    trials = [] if known is None else [Trial(0, 0, known.id, known.to_json())]
    return Breeder(Context(space, 256, 1, trials), Asks(proposal))


def member(space: Space, seed: int) -> Architecture:
    return sample(space, 256, np.random.default_rng(seed)).architecture


def test_an_architecture_that_is_proposed_is_taken(space: Space) -> None:
    known, wanted = member(space, 2), member(space, 3)
    made = proposing(space, Take(wanted, "best of 200", (known.id,)), known)
    child = made.child(np.random.default_rng(5))
    assert (child.architecture, child.origin, child.operator) == (wanted, "proposal", "best of 200")
    assert child.parents == (known.id,)
    assert made.ledger.counts == {}


def test_what_is_proposed_again_is_counted_and_a_sample_stands_in(space: Space) -> None:
    known = member(space, 2)
    made = proposing(space, Take(known), known)
    child = made.child(np.random.default_rng(5))
    assert (child.origin, child.parents) == ("sample", ())
    assert child.architecture.id != known.id
    # Nobody thinks for ever about one candidate.
    assert made.ledger.counts["propose", "duplicate"] == breeding._TAKES


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"vocab_size": 300}, "another vocabulary"),
        ({"tie_embeddings": False}, "not in the space"),
        ({}, "num_params above max 36000"),
    ],
)
def test_what_is_not_of_the_space_is_counted_and_a_sample_stands_in(
    space: Space, change: dict[str, Any], reason: str
) -> None:
    bounded = Space.parse({**space.model_dump(), "constraints": {"num_params": {"max": 36_000}}})
    largest = max(every_architecture(space, 256), key=Architecture.num_params)
    wanted = largest if not change else sample(bounded, 256, np.random.default_rng(2)).architecture.replace(**change)
    made = proposing(bounded, Take(wanted))
    assert made.child(np.random.default_rng(5)).origin == "sample"
    assert made.ledger.counts["take", reason] == breeding._TAKES
    assert made.ledger.counts["take", "dead end"] == breeding._TAKES


@pytest.mark.parametrize("proposal", [Mutate("nobody"), Cross("nobody", "else")])
def test_a_parent_that_the_search_never_had_is_the_algorithms_mistake(space: Space, proposal: Proposal) -> None:
    with pytest.raises(UserError, match=r"search.algorithm: nobody: the algorithm asks for a parent that the search"):
        proposing(space, proposal).child(np.random.default_rng(5))


def test_so_is_one_that_an_architecture_is_said_to_come_from(space: Space) -> None:
    with pytest.raises(UserError, match=r"search.algorithm: nobody: the algorithm"):
        proposing(space, Take(member(space, 2), parents=("nobody",))).child(np.random.default_rng(5))
