import polars as pl
import pytest

from harmony_core.results.framing import frame_around
from harmony_core.results.hypervolume import hypervolume
from harmony_core.search.frame import Frame

FRAME = Frame(
    ideal={"val_bits_per_byte": 1.0, "num_params": 1.0}, reference={"val_bits_per_byte": 3.0, "num_params": 11.0}
)
NAMES = ["val_bits_per_byte", "num_params"]

# The README's first table (bits per byte, milliseconds, thousands of active parameters), with its fastest and its
# smallest candidates, whose losses it does not tell.
README = (
    (2.924, 13.4, 818),
    (2.930, 14.7, 933),
    (2.936, 8.97, 601),
    (2.945, 9.68, 687),
    (2.954, 9.59, 687),
    (2.997, 22.4, 974),
    (3.027, 23.2, 1020),
    (3.044, 10.6, 934),
    (3.083, 9.85, 934),
    (3.104, 12.0, 808),
    (3.300, 7.33, 560),
    (3.400, 9.00, 521),
)
OBJECTIVES = ["val_bits_per_byte", "latency_seconds", "num_active_params"]
REFERENCE_MS = 12.1
# Thousands of active parameters: fewer than anybody's.
TINY = 300


def volume(*points: tuple[float, float], frame: Frame = FRAME) -> float:
    return hypervolume(pl.DataFrame(points, schema=NAMES, orient="row"), NAMES, frame)


def rows(points: tuple[tuple[float, float, float], ...]) -> list[dict[str, float]]:
    return [{OBJECTIVES[0]: bits, OBJECTIVES[1]: ms / 1e3, OBJECTIVES[2]: active * 1e3} for bits, ms, active in points]


def test_by_hand() -> None:
    assert volume((2.0, 6.0)) == pytest.approx(0.25)
    assert volume((2.0, 6.0), (1.0, 8.5)) == pytest.approx(0.25 + 0.5 * 0.25)


def test_a_cost_on_a_logarithmic_scale_by_hand() -> None:
    frame = Frame(
        ideal={"val_bits_per_byte": 1.0, "num_params": 1.0},
        reference={"val_bits_per_byte": 3.0, "num_params": 16.0},
        log=("num_params",),
    )
    assert volume((2.0, 4.0), frame=frame) == pytest.approx(0.5 * 0.5)
    assert volume((2.0, 8.0), frame=frame) == pytest.approx(0.5 * 0.25)
    assert volume((2.0, 0.0), frame=frame) == 0.5  # a cost of nothing is as good as the ideal


def test_edges() -> None:
    assert hypervolume(pl.DataFrame(schema=dict.fromkeys(NAMES, pl.Float64)), NAMES, FRAME) == 0.0
    assert volume((1.0, 1.0)) == 1.0
    assert volume((0.5, -4.0)) == 1.0  # beyond the ideal point counts as there
    assert volume((2.0, 12.0)) == 0.0  # beyond the reference point adds nothing
    assert volume((2.0, 12.0), (2.0, 6.0)) == pytest.approx(0.25)


def test_one_objective_and_whole_numbers() -> None:
    frame = Frame(ideal={"num_params": 0.0}, reference={"num_params": 100.0})
    assert hypervolume(pl.DataFrame({"num_params": [70, 30]}), ["num_params"], frame) == pytest.approx(0.7)


@pytest.mark.parametrize("frame", ["nano", "generation 0"])
def test_quality_counts_more_than_cheapness(frame: str) -> None:
    """One candidate better than all counts more than all a little better, that more than a bad tiny one."""
    found = rows(README)
    measured_in = Frame.read("nano").in_seconds(REFERENCE_MS / 1e3) if frame == "nano" else frame_around(found, frame)

    def told(members: list[dict[str, float]]) -> float:
        return hypervolume(pl.DataFrame(members).select(OBJECTIVES), OBJECTIVES, measured_in)

    best = min(found, key=lambda one: one["val_bits_per_byte"])
    one_better = told([*found, {**best, "val_bits_per_byte": best["val_bits_per_byte"] - 0.32}])
    all_better = told([{**one, "val_bits_per_byte": one["val_bits_per_byte"] - 0.05} for one in found])
    tiny_bad = told([*found, *rows(((3.6, 5.0, TINY),))])
    base = told(found)
    gains = [(volume - base) / base for volume in (one_better, all_better, tiny_bad)]
    assert gains[0] > gains[1] > gains[2]
    assert gains[2] <= 0.01
    # Not by counting nothing: each improvement shows.
    assert gains[1] > 0.02
