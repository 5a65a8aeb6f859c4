from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harmony_core.evolution import breeding
from harmony_core.evolution.breeding import Breeder
from harmony_core.space import Space, SpaceExhausted, Variation, every_architecture, propose, sample, sampling

SPACE = """
depth: {min: 2, max: 2}
d_model: [32]
blocks:
  mqa: {domains: {num_heads: [2, 4], head_dim: [8, 16]}}
  mlp: {domains: {d_ff: [64, 128]}}
"""


class Asks:
    """An algorithm that wants these parents."""

    def __init__(self, *parents: str) -> None:
        self.parents = parents

    def tell(self, scored: object) -> list[Any]:
        return []

    def ask(self, rng: np.random.Generator) -> tuple[str, ...]:
        return self.parents


@pytest.fixture
def space(tmp_path: Path) -> Space:
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)
    return Space.from_yaml(path)


def breeder(space: Space, count: int) -> Breeder:
    parents = {
        one.id: one for one in (sample(space, 256, np.random.default_rng(seed)).architecture for seed in range(count))
    }
    assert len(parents) == count
    return Breeder(space, 256, Asks(*parents), parents, set(parents))


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
    monkeypatch.setattr(sampling, "SAMPLE_TRIES", 2)
    made = Breeder(tight, 256, Asks(), {}, set())
    assert left == (3 if limits["max"] > 1 else 0)
    for candidate in range(left):
        made.child(np.random.default_rng(candidate))
    with pytest.raises(SpaceExhausted):
        made.child(np.random.default_rng(left))
    assert made.ledger.counts["sample", "dead end"] > 0
