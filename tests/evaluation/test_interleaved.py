"""Times taken in turns give back the ratio of two calls, whatever loads the machine meanwhile."""

from __future__ import annotations

import numpy as np
import pytest

from harmony_core.evaluation.interleaved import Measurement, relative_time

REFERENCE, CALLS = 0.02, 16


class LoadedMachine:
    """A clock on which calls take longer while others work, and are interrupted for a scheduler's slice at times.

    Args:
        seed: of when the load comes and goes (after 2 to 20 s), and of interruptions.
        slowdown: how many times longer a call takes under load.
    """

    def __init__(self, seed: int, slowdown: float) -> None:
        self._rng, self._slowdown = np.random.default_rng(seed), slowdown
        self._now, self._loaded = 0.0, bool(self._rng.integers(2))
        # Somewhere within a period.
        self._until = self._rng.uniform(0, 20)

    def run(self, seconds: float) -> float:
        """How long a call takes that takes `seconds` on a quiet machine."""
        if self._now >= self._until:
            self._loaded = not self._loaded
            self._until = self._now + self._rng.uniform(2, 20)
        taken = seconds * self._rng.normal(1.0, 0.01)
        if self._loaded:
            taken *= self._slowdown
            taken += 0.012 * self._rng.poisson(taken / 0.1)
        self._now += taken
        return taken

    def in_turns(self, seconds: float) -> Measurement:
        """A candidate of `seconds` beside the reference."""
        times, reference_times = [], [self.run(REFERENCE)]
        for _ in range(CALLS):
            times.append(self.run(seconds))
            reference_times.append(self.run(REFERENCE))
        return Measurement(times, reference_times)


@pytest.mark.parametrize("ratio", [0.6, 1.0, 1.7])
def test_the_ratio_is_found_under_load(ratio: float) -> None:
    found = [LoadedMachine(seed, 2.0).in_turns(ratio * REFERENCE) for seed in range(100)]
    relative = np.array([relative_time([one]) for one in found])
    raw = np.array([np.median(one.times) / REFERENCE for one in found])
    assert np.quantile(np.abs(relative / ratio - 1), 0.95) < 0.15
    assert np.quantile(np.abs(raw / ratio - 1), 0.95) > 0.5


def test_a_step_of_the_machine_is_no_step_of_the_ratio() -> None:
    # Half of the calls on a machine of half the speed: of times that lie apart the ratio would be wrong.
    speed = [1.0] * 9 + [2.0] * 8
    one = Measurement([1.5 * s for s in speed[:-1]], speed)
    assert relative_time([one]) == pytest.approx(1.5)
    assert one.movement == pytest.approx(1.0)


def test_neighbours_are_of_both_sides() -> None:
    # A machine that slows down steadily: held against the call before alone, every ratio would be too high.
    speed = np.exp(0.05 * np.arange(17))
    one = Measurement((1.5 * speed[0::2][:8] * np.exp(0.05)).tolist(), speed[0::2].tolist())
    assert relative_time([one]) == pytest.approx(1.5)


def test_single_interruptions_say_nothing() -> None:
    times, reference_times = [2.0] * 20, [1.0] * 21
    times[5], reference_times[2], reference_times[18] = 9.0, 7.0, 7.0
    one = Measurement(times, reference_times)
    assert relative_time([one]) == pytest.approx(2.0)
    assert one.movement == 0


def test_repeated_measurements_count_together() -> None:
    many, few = Measurement([1.2] * 12, [1.0] * 13), Measurement([1.8] * 4, [1.0] * 5)
    assert relative_time([few]) == pytest.approx(1.8)
    assert relative_time([few, many]) == pytest.approx(1.2)
