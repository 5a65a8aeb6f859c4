import polars as pl
import pytest

from harmony_core.evolution.hypervolume import hypervolume

FRAME = {"ideal": {"a": 1.0, "b": 0.0}, "reference": {"a": 3.0, "b": 10.0}}


def volume(*points: tuple[float, float]) -> float:
    return hypervolume(pl.DataFrame(points, schema=["a", "b"], orient="row"), ["a", "b"], FRAME)


def test_by_hand() -> None:
    assert volume((2.0, 5.0)) == pytest.approx(0.25)
    assert volume((2.0, 5.0), (1.0, 7.5)) == pytest.approx(0.25 + 0.5 * 0.25)


def test_edges() -> None:
    assert hypervolume(pl.DataFrame(schema={"a": pl.Float64, "b": pl.Float64}), ["a", "b"], FRAME) == 0.0
    assert volume((1.0, 0.0)) == 1.0
    assert volume((0.5, -4.0)) == 1.0  # beyond the ideal point counts as there
    assert volume((2.0, 11.0)) == 0.0  # beyond the reference point adds nothing
    assert volume((2.0, 11.0), (2.0, 5.0)) == pytest.approx(0.25)


def test_one_objective_and_whole_numbers() -> None:
    frame = {"ideal": {"n": 0.0}, "reference": {"n": 100.0}}
    assert hypervolume(pl.DataFrame({"n": [70, 30]}), ["n"], frame) == pytest.approx(0.7)
