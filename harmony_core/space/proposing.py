"""Something new: draws repeated until one is not in the search's history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container

from harmony_core.space.enumeration import every_architecture, num_architectures
from harmony_core.space.ledger import Ledger
from harmony_core.space.space import Space
from harmony_core.space.variation import DeadEnd, Variation

# Spaces up to this size are searched through (about 0.1 ms an architecture) before giving up.
ENUMERABLE = 5_000
# A dead end has drawn many times itself, so it counts as one draw of `make` for so many of them, and giving up takes
# seconds.
_TRIES_A_DRAW = 20


class SpaceExhausted(Exception):
    """Nothing new was found; the message, one line, says after how many draws and whether it is certain."""


def propose(
    make: Callable[[], Variation],
    space: Space,
    history: Container[str],
    ledger: Ledger,
    max_draws: int = 200,
) -> Variation:
    """The first variation whose architecture is new.

    A dead end (a parent without acceptable children) and a duplicate are counted, and `make` is
    called again. After `max_draws` a small space is looked through for what is left of it.

    Args:
        make: draws a variation, other parents each time where it has any.
        space: what the variations are of.
        history: ids that the search has had.
        ledger: receives every draw that was thrown away, under (stage, reason).
        max_draws: calls of `make` at most.

    Raises:
        SpaceExhausted: nothing new was found.
    """
    outcomes: Counter[str] = Counter()
    vocab_size, draws = None, 0
    while draws < max_draws:
        draws += 1
        try:
            variation = make()
        except DeadEnd as dead_end:
            draws += max(0, dead_end.tries // _TRIES_A_DRAW - 1)
            ledger.merge(dead_end.rejected)
            ledger.add(dead_end.stage, "dead end")
            outcomes["dead ends"] += 1
            continue
        ledger.merge(variation.rejected)
        if variation.architecture.id not in history:
            return variation
        ledger.add("propose", "duplicate")
        outcomes["duplicates"] += 1
        vocab_size = variation.architecture.vocab_size
    certainty = "it may hold more"
    if vocab_size is not None and num_architectures(space) <= ENUMERABLE:
        for architecture in every_architecture(space, vocab_size):
            if architecture.id not in history:
                return Variation(architecture, "first untried of the space")
        certainty = "the whole space was tried"
    found = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())
    raise SpaceExhausted(f"no new architecture in {outcomes.total()} draws ({found}); {certainty}")
