"""Divergence is judged by numbers alone."""

from __future__ import annotations

import math

from harmony_core.training.status import PATIENCE, DivergenceRule


def test_a_loss_that_is_not_finite_diverges_even_in_warmup() -> None:
    assert "nan" in (DivergenceRule(257, warmup=10).verdict(0, math.nan, 1.0) or "")
    assert "inf" in (DivergenceRule(257, warmup=10).verdict(0, 2.0, math.inf) or "")


def test_staying_above_uniform_diverges_only_after_warmup_and_patience() -> None:
    rule = DivergenceRule(257, warmup=3)
    high = math.log(257) + 0.1
    verdicts = [rule.verdict(step, high, 1.0) for step in range(3 + PATIENCE)]
    assert verdicts[:-1] == [None] * (2 + PATIENCE)
    assert "uniform" in (verdicts[-1] or "")


def test_one_step_below_uniform_starts_the_count_again() -> None:
    rule = DivergenceRule(257, warmup=0)
    losses = [6.0] * (PATIENCE - 1) + [5.0] + [6.0] * (PATIENCE - 1)
    assert [rule.verdict(step, loss, 1.0) for step, loss in enumerate(losses)] == [None] * len(losses)
