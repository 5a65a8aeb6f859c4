"""Where a pipeline cuts the model: contiguous runs of blocks whose slowest one is as fast as it can be.

The embedding belongs to the first stage and the head to the last one. Blocks of a hybrid differ in time and size, so
stages are balanced by cost, not by count.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import accumulate

from harmony_core.architecture import Architecture
from harmony_core.errors import UserError

Partition = tuple[range, ...]
Fits = Callable[[int, int, int], bool]

# A stage may be this much slower than the slowest one must be, if that evens out the parameters.
_SLACK = 1.05
_TOLERANCE = 1e-3


def partition_by_flops(architecture: Architecture, pp: int, sequence_length: int) -> Partition:
    """The blocks of each stage where no machine is known: by training FLOPs, then by parameters.

    Among the cuts whose slowest stage has at most 5% more FLOPs than it must have, one whose largest stage has the
    fewest parameters.

    Args:
        architecture: the model.
        pp: stages.
        sequence_length: tokens a sequence; attention costs more, the more it sees.

    Raises:
        UserError: more stages than blocks.
    """
    d_model, embedding = architecture.d_model, architecture.vocab_size * architecture.d_model
    head = 6.0 * embedding
    flops = [block.flops_per_token(d_model, sequence_length, "train") for block in architecture.blocks]
    fastest = balanced(flops, pp, last=head)
    assert fastest is not None, "without a limit on memory there is always a cut"
    slowest = _SLACK * max(stage_costs(flops, fastest, last=head))
    params = _sums([block.num_params(d_model) for block in architecture.blocks])
    # The last stage has the head, or its copy of a tied embedding.
    ends = {0: embedding, pp - 1: embedding}

    def attempt(largest: float) -> Partition | None:
        def fits(stage: int, start: int, stop: int) -> bool:
            return params[stop] - params[start] + ends.get(stage, 0) <= largest

        return _fill(_sums(flops), pp, slowest, 0.0, head, fits)

    return _smallest(attempt, 0.0, params[-1] + 2.0 * embedding) or fastest


def balanced(
    costs: Sequence[float], pp: int, first: float = 0.0, last: float = 0.0, fits: Fits | None = None
) -> Partition | None:
    """The cut whose costliest stage is cheapest, to a thousandth of the whole; None if no cut is allowed.

    Args:
        costs: of each block.
        pp: stages.
        first: what the first stage costs besides its blocks.
        last: what the last stage costs besides its blocks.
        fits: whether (stage, start, stop) is allowed; a part of an allowed run has to be allowed too.

    Raises:
        UserError: more stages than blocks.
    """
    if pp > len(costs):
        raise UserError("layout.pp", pp, f"the model has {len(costs)} blocks, and a stage needs one; use at most that")
    sums = _sums(costs)
    total = sums[-1] + first + last
    return _smallest(lambda limit: _fill(sums, pp, limit, first, last, fits), total / pp, total)


def stage_costs(costs: Sequence[float], ranges: Partition, first: float = 0.0, last: float = 0.0) -> list[float]:
    """The cost of each stage of a cut, its end of the model included.

    Args:
        costs: of each block, in any unit.
        ranges: the blocks of each stage.
        first: cost of the embedding.
        last: cost of the head and the loss.
    """
    found = [sum(costs[blocks.start : blocks.stop]) for blocks in ranges]
    found[0] += first
    found[-1] += last
    return found


def _smallest(attempt: Callable[[float], Partition | None], low: float, high: float) -> Partition | None:
    """What the smallest limit between the two gives that gives anything; the larger a limit, the more it gives."""
    tolerance = _TOLERANCE * (high - low)
    best = attempt(high)
    while best is not None and high - low > tolerance:
        middle = (low + high) / 2
        found = attempt(middle)
        low, high, best = (low, middle, found) if found is not None else (middle, high, best)
    return best


def _fill(sums: list[float], pp: int, limit: float, first: float, last: float, fits: Fits | None) -> Partition | None:
    """The cut that fills stages from the last one on as far as the limit goes; None if blocks remain.

    No other order admits more; and late stages hold fewer micro-batches' activations than early ones.
    """
    ranges, stop = [], len(sums) - 1
    for stage in reversed(range(pp)):
        extra = first * (stage == 0) + last * (stage == pp - 1)
        # Sums of the same costs differ by rounding, so this allows for it.
        start = max(stage, bisect_left(sums, sums[stop] + extra - limit - 1e-9 * sums[-1]))
        if fits is not None:
            low = start
            start = low + bisect_left(range(low, stop), True, key=lambda one: fits(stage, one, stop))
        if start >= stop or (stage == 0 and start > 0):
            return None
        ranges.append(range(start, stop))
        stop = start
    return tuple(reversed(ranges))


def _sums(costs: Sequence[float]) -> list[float]:
    return list(accumulate(costs, initial=0.0))
