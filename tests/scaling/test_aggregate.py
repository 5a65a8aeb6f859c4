"""Composer's aggregators: exact clusters, and block by block the mode of the best."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from harmony_core.architecture import Architecture
from harmony_core.errors import UserError
from harmony_core.scaling.aggregate import aggregate
from harmony_core.scaling.clusters import one_dimensional

BLOCKS = {"A": {"kind": "mha", "num_heads": 2, "head_dim": 8}, "M": {"kind": "mlp", "d_ff": 32}}


def design(letters: str, **values: object) -> Architecture:
    return Architecture.parse({"d_model": 16, "vocab_size": 9, "blocks": [BLOCKS[one] for one in letters], **values})


def letters(architecture: Architecture) -> str:
    return "".join("M" if block.role == "channel" else "A" for block in architecture.blocks)


def made_of(costs: dict[str, float], context: int | None = 0, clusters: int = 2) -> str:
    return letters(aggregate([design(one) for one in costs], list(costs.values()), context, clusters).architecture)


def cost(values: np.ndarray, clusters: list[list[int]]) -> float:
    return sum(float(((values[one] - values[one].mean()) ** 2).sum()) for one in clusters)


def test_no_cut_is_better_than_the_one_found():
    values = np.random.default_rng(0).normal(size=9)
    found = one_dimensional(values.tolist(), 3)
    order = np.argsort(values)
    cuts = itertools.combinations(range(1, 9), 2)
    best = min(cost(values, [part.tolist() for part in np.split(order, cut)]) for cut in cuts)
    assert cost(values, found) == pytest.approx(best)
    assert sorted(number for one in found for number in one) == list(range(9))
    # The lowest come first, and the order of the values has no effect.
    assert max(values[found[0]]) < min(values[found[1]])
    again = one_dimensional(values[::-1].tolist(), 3)
    assert [sorted(8 - number for number in one) for one in again] == [sorted(one) for one in found]


def test_equal_values_stay_together():
    assert one_dimensional([2.0, 1.0, 2.0, 1.0], 2) == [[1, 3], [0, 2]]
    assert one_dimensional([1.0, 1.0], 2) == [[0, 1]]


BEST = {"AMAM": 1.0, "AMMA": 1.01, "MAAM": 1.02, "MAMA": 1.03, "AAMM": 1.04}
WORST = {"MMMM": 3.0, "MMMA": 3.01, "AAAA": 3.02}


def test_n0_takes_each_block_by_itself():
    """Places: AAMMA, MMAAA, AMAMM, MAMAM; the worst cluster, in which nearly all is M, has no say."""
    assert made_of({**BEST, **WORST}) == "AAMM"


def test_n1_counts_those_alone_whose_block_before_is_the_chosen_one():
    # A first (3 of 5); after A: M, M, A; after M in place 1: A, M, so the better one's; after A in place 2: M, M.
    assert made_of({**BEST, **WORST}, context=1) == "AMAM"


def test_the_full_prefix_follows_whole_designs():
    costs = {"MMMA": 1.0, "MMMM": 1.01, "AMAA": 1.1, "AMAM": 1.11, "AAAA": 1.12, "AAAM": 5.0}
    # Both begin with A, M. Whoever has M there has A as often as M next, and those with M are better.
    assert made_of(costs, context=1) == "AMMA"
    assert made_of(costs, context=None) == "AMAA"
    assert aggregate([design(one) for one in costs], list(costs.values()), None, 2).trained


def test_a_tie_is_the_better_ones_and_what_comes_of_it_may_be_new():
    found = aggregate([design(one) for one in ("AM", "MA", "MM")], [1.0, 1.1, 9.0], 0, 2)
    assert letters(found.architecture) == "AM"
    assert found.cluster == (design("AM").id, design("MA").id)
    three = {"AAM": 1.0, "AMA": 1.1, "MAA": 1.2, "MMM": 9.0}
    new = aggregate([design(one) for one in three], list(three.values()), 0, 2)
    assert letters(new.architecture) == "AAA"
    assert not new.trained


@pytest.mark.parametrize(
    ("designs", "costs", "said"),
    [
        (["AM", "MA"], [1.0, 2.0], "clusters: 3: 2 trained designs have 2 different results"),
        (["AM", "MA", "MM"], [1.0, 1.0, 2.0], "clusters: 3: 3 trained designs have 2 different results"),
        ([], [], "clusters: 3: 0 trained designs"),
    ],
)
def test_fewer_designs_than_clusters_are_refused(designs, costs, said):
    with pytest.raises(UserError, match=f"^{said}"):
        aggregate([design(one) for one in designs], costs, 0, 3)


def test_designs_of_several_widths_are_refused():
    with pytest.raises(UserError, match=r"^search: d_model \[16, 32\]"):
        aggregate([design("AM"), design("MA", d_model=32)], [1.0, 2.0], 0, 2)
