"""Power laws that are known come back, and what the data do not say is said not to be known."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from harmony_core.scaling.figures import write_figures
from harmony_core.scaling.isoflop import Curve, Point, optimum
from harmony_core.scaling.laws import STATE, Law, judge
from harmony_core.scaling.power_law import Exponent, bootstrap, exponent
from harmony_core.scaling.rank import rank_correlation

BUDGETS = (1e12, 1e13, 1e14)


def sweep(
    name: str = "a",
    noise: float = 0.0,
    replicates: int = 1,
    state: float = 1.0,
    seed: int = 0,
    factors: tuple[float, ...] = (0.4, 0.63, 1.0, 1.6, 2.5),
) -> list[Point]:
    """Losses whose minima lie at N* = 3 C^0.45 and fall as C^-0.05."""
    rng, found = np.random.default_rng(seed), []
    for budget in BUDGETS:
        best = 3 * budget**0.45
        for factor in factors:
            params = round(best * factor)
            for _ in range(replicates):
                loss = 8 * budget**-0.05 + 0.1 * math.log(params / best) ** 2 + noise * rng.normal()
                # Perplexity falls as the state grows.
                loss -= 0.28 * math.log(state)
                found.append(Point(Curve(name, budget), params, round(budget / params / 6), loss, round(1e4 * state)))
    return found


def test_an_exponent_is_the_slope_of_logarithms() -> None:
    assert exponent([1.0, 10.0, 100.0], [3.0, 3 * 10**0.7, 3 * 10**1.4]) == pytest.approx(0.7)
    assert exponent([2.0, 2.0], [1.0, 3.0]) is None


def test_known_laws_come_back() -> None:
    found = judge(sweep(), seed=0, draws=100)
    params, tokens, loss = (found.exponents[Law(of, "a")] for of in ("params", "tokens", "loss"))
    assert params.value == pytest.approx(0.45, abs=1e-3)
    assert tokens.value == pytest.approx(0.55, abs=1e-3)
    assert loss.value == pytest.approx(-0.05, abs=1e-3)
    assert params.identified
    assert params.high - params.low < 0.01
    assert all(one is not None and one.bracketed for one in found.optima.values())


def test_the_interval_grows_with_the_noise_and_a_wide_one_is_not_identified() -> None:
    widths = []
    for noise in (0.002, 0.01, 0.5):
        one = judge(sweep(noise=noise, replicates=2), seed=0, draws=200).exponents[Law("params", "a")]
        widths.append(one.high - one.low)
        assert one.identified == (widths[-1] <= 0.3)
    assert widths == sorted(widths)
    assert not one.identified
    assert str(one).startswith("not identified (")


def test_draws_that_determine_nothing_are_told_by_their_share() -> None:
    assert str(Exponent(0.49, 0.1, 0.5, 0.01)) == "not identified (0.100 to 0.500)"
    assert str(Exponent(0.49, -math.inf, math.inf, 0.3325)) == "not identified (33% of the draws do not determine it)"


def test_the_truth_lies_in_about_95_of_100_intervals() -> None:
    """Percentile intervals of 15 runs are known to be too narrow; not by much here."""
    inside = 0
    for seed in range(20):
        one = judge(sweep(noise=0.004, replicates=3, seed=seed), seed=seed, draws=80).exponents[Law("params", "a")]
        inside += one.low <= 0.45 <= one.high
    assert inside >= 16


def test_intervals_do_not_hang_on_the_order_of_the_runs() -> None:
    runs = sweep(noise=0.01)
    assert judge(runs, seed=1, draws=50).exponents.keys() == judge(runs[::-1], seed=1, draws=50).exponents.keys()
    assert judge(runs, seed=1, draws=50) == judge(runs, seed=1, draws=50)


def test_a_curve_without_a_minimum_leaves_no_law() -> None:
    falling = [Point(one.curve, one.params, one.tokens, 5 - 0.1 * math.log(one.params), one.state) for one in sweep()]
    found = judge(falling, seed=0, draws=20)
    assert found.exponents[Law("params", "a")] == Exponent(None, -math.inf, math.inf, 1.0)
    assert optimum(sweep()[:2]) is None


def test_a_minimum_beyond_the_sizes_is_not_bracketed() -> None:
    small = sweep(factors=(0.4, 0.5, 0.63))
    first = optimum(small[:3])
    assert first is not None
    assert first.bracketed is False
    assert first.params == pytest.approx(3 * BUDGETS[0] ** 0.45, rel=0.01)
    assert judge(small, seed=0, draws=5).exponents[Law("params", "a")].value is None


def test_four_state_sizes_have_a_state_optimal_law_and_its_curves(tmp_path: Path) -> None:
    points = [one for state in (1, 2, 4, 8) for one in sweep(f"of {state}", state=state)]
    found = judge(points, seed=0, draws=20)
    law = found.exponents[Law(STATE, "1e+13 FLOPs")]
    assert law.value == pytest.approx(-0.28, abs=1e-3)
    drawn = write_figures(points, found, tmp_path)
    assert [path.name for path in drawn] == ["isoflop.svg", "compute_optimal.svg", "state_optimal.svg"]
    assert all(path.read_text().startswith("<svg") for path in drawn)
    assert not any(one.of == STATE for one in judge(points[:45], seed=0, draws=5).exponents)


def test_draws_without_a_value_count_at_both_ends() -> None:
    def value(strata: list[list[float]]) -> dict[str, float | None]:
        return {"x": None if strata[0][0] == 0 else 1.0}

    rng = np.random.default_rng(0)
    assert bootstrap([[1.0]], value, rng, 50)["x"] == Exponent(1.0, 1.0, 1.0, 0.0)
    half = bootstrap([[1.0, 0.0]], value, rng, 50)["x"]
    assert (half.low, half.high) == (-math.inf, math.inf)
    assert 0.2 < half.failed < 0.8


def test_rank_correlation_is_scipys_with_equal_values_too() -> None:
    rng = np.random.default_rng(7)
    small, large = (rng.normal(size=20).round(1) for _ in range(2))
    assert len(set(small)) < len(small)
    found = rank_correlation(small, large, 300)
    drawn_RN = np.random.default_rng(0).choice(20, size=(300, 20))
    each_R = [stats.spearmanr(small[one_N], large[one_N]).statistic for one_N in drawn_RN]
    assert found.value == pytest.approx(stats.spearmanr(small, large).statistic)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(each_R, (0.025, 0.975))))


def test_a_resample_in_which_a_side_is_all_equal_is_left_out() -> None:
    found = rank_correlation([1.0, 1.0, 2.0], [3.0, 2.0, 1.0], 200)
    assert -1.0 <= found.low <= found.value <= found.high < 0.0


def test_rank_correlation_and_its_interval() -> None:
    small = [3.0, 1.0, 2.0, 5.0, 4.0, 6.0]
    assert rank_correlation(small, [value**3 for value in small], 200).value == pytest.approx(1.0)
    some = rank_correlation(small, [3.0, 2.0, 1.0, 6.0, 5.0, 4.0], 500)
    assert some.low < some.value < some.high <= 1.0
    assert some == rank_correlation(small, [3.0, 2.0, 1.0, 6.0, 5.0, 4.0], 500)
    with pytest.raises(ValueError, match="2 and 2 values have no rank correlation; give 3 pairs or more"):
        rank_correlation([1.0, 2.0], [1.0, 2.0])
