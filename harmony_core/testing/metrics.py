"""What every metric must hold: it is declared whole, and a static one is finite for whatever a space has."""

from __future__ import annotations

import math

import numpy as np

from harmony_core.metrics import METRICS, Metric
from harmony_core.space import Space, sample
from harmony_core.store.evaluators import find_table

DRAWS = 10
LENGTH = 256
VOCAB = 257


def check_metric(metric: Metric, space: Space) -> None:
    """Computes it for `DRAWS` samples of a space, twice, or finds the evaluator that measures it.

    Raises:
        AssertionError: it is not the registered one, has no words for people, or a value that is not finite; or nobody
            measures it.
    """
    assert METRICS[metric.name] is metric
    assert metric.label
    assert metric.description
    if not metric.is_static:
        table = find_table(str(metric.source))
        assert table is not None, f"no evaluator is called {metric.source}"
        assert metric.name in table.metrics
        return
    for seed in range(DRAWS):
        architecture = sample(space, VOCAB, np.random.default_rng(seed)).architecture
        values = [metric.of(architecture, LENGTH) if metric.at_length else metric.of(architecture) for _ in range(2)]
        assert values[0] == values[1]
        assert math.isfinite(values[0]), values[0]
        assert not metric.whole or isinstance(values[0], int)
