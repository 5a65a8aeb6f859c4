"""The pipeline's cut against all cuts there are."""

from __future__ import annotations

import random
from itertools import combinations, pairwise

import pytest

from harmony_core.architecture import MLP, Architecture
from harmony_core.architecture.presets import load_preset
from harmony_core.errors import UserError
from harmony_core.machines import partition_by_flops
from harmony_core.machines.partition import Partition, balanced, stage_costs
from tests.machines.distributed import ATTENTION, MIXTURE, dense


def all_cuts(blocks: int, pp: int) -> list[Partition]:
    return [
        tuple(range(start, stop) for start, stop in pairwise((0, *inner, blocks)))
        for inner in combinations(range(1, blocks), pp - 1)
    ]


def check_whole(cut: Partition, blocks: int) -> None:
    assert [index for stage in cut for index in stage] == list(range(blocks))
    assert all(cut)


@pytest.mark.parametrize("seed", range(30))
def test_the_slowest_stage_is_as_fast_as_it_can_be(seed: int) -> None:
    rng = random.Random(seed)
    costs = [rng.choice([1.0, 1.0, 3.0, 10.0]) * rng.uniform(0.9, 1.1) for _ in range(rng.randint(2, 11))]
    pp, first, last = rng.randint(1, len(costs)), rng.uniform(0, 5), rng.uniform(0, 5)
    found = balanced(costs, pp, first, last)
    assert found is not None
    check_whole(found, len(costs))
    best = min(max(stage_costs(costs, one, first, last)) for one in all_cuts(len(costs), pp))
    assert max(stage_costs(costs, found, first, last)) <= best + 2e-3 * (sum(costs) + first + last)


@pytest.mark.parametrize("seed", range(30))
def test_memory_is_kept_to_and_costs_no_more_than_it_must(seed: int) -> None:
    rng = random.Random(100 + seed)
    blocks = rng.randint(3, 9)
    costs, sizes = ([rng.uniform(1, 5) for _ in range(blocks)] for _ in range(2))
    pp = rng.randint(2, min(4, blocks))
    limit = 1.4 * sum(sizes) / pp * rng.uniform(1, pp)

    def fits(stage: int, start: int, stop: int) -> bool:
        """As in 1F1B: early stages hold more micro-batches."""
        return (pp - stage) * sum(sizes[start:stop]) <= limit

    allowed = [one for one in all_cuts(blocks, pp) if all(fits(i, run.start, run.stop) for i, run in enumerate(one))]
    found = balanced(costs, pp, fits=fits)
    if not allowed:
        assert found is None
        return
    assert found in allowed
    best = min(max(stage_costs(costs, one)) for one in allowed)
    assert max(stage_costs(costs, found)) <= best + 2e-3 * sum(costs)


def test_some_of_these_have_no_cut() -> None:
    assert balanced([1.0, 1.0], 2, fits=lambda stage, start, stop: False) is None
    assert balanced([1.0, 1.0], 2, fits=lambda stage, start, stop: stage == 1) is None


@pytest.mark.parametrize("pp", [1, 2, 3, 7, 16, 32])
@pytest.mark.parametrize("name", ["jamba-v0.1", "mixtral-8x7b", "stripedhyena-2-7b", "hybrid-36b"])
def test_presets_are_cut_by_what_they_cost(name: str, pp: int) -> None:
    architecture = load_preset(name)
    d_model = architecture.d_model
    found = partition_by_flops(architecture, pp, 2048)
    check_whole(found, len(architecture.blocks))
    flops = [block.flops_per_token(d_model, 2048, "train") for block in architecture.blocks]
    head = 6.0 * architecture.vocab_size * d_model
    fastest = balanced(flops, pp, last=head)
    assert fastest is not None
    assert max(stage_costs(flops, found, last=head)) <= 1.06 * max(stage_costs(flops, fastest, last=head))


def test_parameters_decide_where_flops_do_not() -> None:
    """Two equal halves by FLOPs could be cut in front of or behind the tiny block; the experts are on one side."""
    tiny = MLP(d_ff=1)
    heavy = MIXTURE.model_copy(update={"n_routed": 64})
    blocks = (ATTENTION, heavy, tiny, tiny, tiny, heavy, ATTENTION, heavy)
    architecture = Architecture(d_model=64, vocab_size=2, tie_embeddings=False, blocks=blocks)

    def largest(cut: Partition) -> int:
        return max(sum(blocks[i].num_params(64) for i in run) for run in cut)

    found = partition_by_flops(architecture, 2, 64)
    flops = [block.flops_per_token(64, 64, "train") for block in blocks]
    limit = 1.05 * min(max(stage_costs(flops, one)) for one in all_cuts(len(blocks), 2)) * 1.01
    rivals = [one for one in all_cuts(len(blocks), 2) if max(stage_costs(flops, one)) <= limit]
    assert largest(found) == min(largest(one) for one in rivals)


def test_more_stages_than_blocks_are_refused() -> None:
    with pytest.raises(UserError, match=r"layout\.pp: 9: the model has 8 blocks"):
        partition_by_flops(dense(), 9, 64)
