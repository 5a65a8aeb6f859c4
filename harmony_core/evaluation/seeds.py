"""Seeds of training: the same for every candidate of a search, different for each replicate and for promotion."""

from __future__ import annotations

import numpy as np

_INIT, _DATA = 1, 2
_STAGES = {"search": 0, "promotion": 1}


def init_seed(search_seed: int, stage: str, replicate: int) -> int:
    """Seed of the weights.

    Args:
        search_seed: `search.seed`.
        stage: `search` or `promotion`.
        replicate: its number, from 0.
    """
    return _seed(search_seed, _INIT, stage, replicate)


def data_seed(search_seed: int, stage: str, replicate: int) -> int:
    """Seed of the data's order.

    Args:
        search_seed: `search.seed`.
        stage: `search` or `promotion`.
        replicate: its number, from 0.
    """
    return _seed(search_seed, _DATA, stage, replicate)


def _seed(search_seed: int, purpose: int, stage: str, replicate: int) -> int:
    sequence = np.random.SeedSequence([search_seed, purpose, _STAGES[stage], replicate])
    return int(sequence.generate_state(1, np.uint64)[0] >> 1)
