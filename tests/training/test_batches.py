"""Batches that are ahead are those that would have been read."""

from __future__ import annotations

import numpy as np
import torch

from harmony_core.training.batches import Batches


def test_the_batch_ahead_is_taken_and_another_one_is_read() -> None:
    read: list[int] = []

    def rows(number: int) -> np.ndarray:
        read.append(number)
        return np.full((2, 3), number, dtype=np.int64)

    batches = Batches(rows, torch.device("cpu"))
    assert int(batches.take(4)[0, 0]) == 4
    batches.fetch(5)
    assert int(batches.take(5)[0, 0]) == 5
    assert read == [4, 5]
    batches.fetch(6)
    # A branch goes on elsewhere than the trunk.
    assert int(batches.take(9)[0, 0]) == 9
    assert int(batches.take(6)[0, 0]) == 6
    assert read == [4, 5, 6, 9, 6]
