"""What `benchmarks.operators` computes from its measurements, and that its instruments measure what they say."""

from __future__ import annotations

import dataclasses
import itertools
import os
import subprocess
import sys
from typing import Any

import pytest

from benchmarks.common import ROOT
from benchmarks.operators import convolution, cost, timing
from benchmarks.operators.isolation import fresh
from benchmarks.operators.page import html_page
from benchmarks.operators.parts import broken, memory_row
from benchmarks.operators.settings import PARTS
from benchmarks.operators.tables import table

LENGTHS = (256, 512, 1024, 2048)
SPREAD = {"median": 2.0, "min": 1.0, "max": 3.0}
ROWS: dict[str, dict[str, Any]] = {
    "training": {
        "family": "llama",
        "setting": "d 256, T 512, B 4",
        "tokens_per_second": {"harmony": SPREAD, "transformers": SPREAD},
        "loss_relative_difference": 1e-7,
        "ratio": SPREAD,
    },
    "decode": {
        "family": "llama",
        "d_model": 256,
        "prompt_tokens": 64,
        "tokens_per_second": {"harmony": SPREAD, "transformers": SPREAD},
        "prompt_ratio": SPREAD,
        "last_logits_difference": 1e-6,
        "ratio": SPREAD,
    },
    "memory": {
        "family": "llama",
        "setting": "d 256, T 512, B 4",
        "peak_mib": {"harmony": 1.0, "transformers": 2.0},
        "resident_peak_mib": {"harmony": 1.0, "transformers": 2.0},
        "resident_ratio": 0.5,
        "ratio": 0.5,
    },
    "window": {"d_model": 256, "milliseconds": {"swa": SPREAD, "gqa": SPREAD}, "ratio": SPREAD},
    "convolution": {
        "kind": "hyena_se",
        "d_model": 256,
        "sequence_length": 256,
        "milliseconds": {way: {"forward": SPREAD, "backward": SPREAD} for way in ("blocked", "fft", "direct")},
        "ratio": {way: {"forward": SPREAD, "backward": SPREAD} for way in ("blocked", "direct")},
    },
    "delta": {
        "kind": "kda",
        "what": "rule",
        "setting": "d 256, T 512, B 4",
        "milliseconds": {"harmony": SPREAD, "transformers": SPREAD},
        "ratio": SPREAD,
    },
    "short_conv": {
        "kind": "short_conv 3",
        "what": "operator",
        "setting": "d 256, T 512, B 4",
        "milliseconds": {"harmony": SPREAD, "transformers": SPREAD},
        "ratio": SPREAD,
    },
    "cost": {
        "kind": "mha",
        "d_model": 256,
        "milliseconds": {256: SPREAD, 512: SPREAD},
        "exponent": {"fitted": 1.0, "min": 0.9, "max": 1.1},
    },
}


def row(part: str, kept: bool | None = True) -> dict[str, Any]:
    return {**ROWS[part], "promise": None if kept is None else 1.5, "kept": kept}


@pytest.mark.parametrize("power", [0.0, 1.0, 1.37, 2.0])
def test_the_exponent_of_a_power_law_is_its_power(power: float) -> None:
    assert timing.exponent(LENGTHS, [3e-5 * length**power for length in LENGTHS]) == pytest.approx(power)


def test_the_exponent_is_the_least_squares_line() -> None:
    # log2 of the times 0, 2, 3, 3 over log2 of the lengths 8..11: worked out by hand.
    assert timing.exponent(LENGTHS, [1.0, 4.0, 8.0, 8.0]) == pytest.approx(1.0)


@pytest.mark.parametrize(("lengths", "seconds"), [((256,), [1.0]), (LENGTHS, [1.0, 2.0])])
def test_no_exponent_without_a_line(lengths: tuple[int, ...], seconds: list[float]) -> None:
    with pytest.raises(ValueError, match="two or more"):
        timing.exponent(lengths, seconds)


def test_one_disturbed_round_moves_the_range_and_not_the_exponent() -> None:
    rounds = {length: [1e-6 * length, 1e-6 * length, 1e-6 * length**2] for length in LENGTHS}
    assert timing.exponents(LENGTHS, rounds) == {"fitted": 1.0, "min": 1.0, "max": 2.0}


def test_sides_take_turns_and_the_first_round_warms_up() -> None:
    calls: list[str] = []
    numbers = itertools.count()

    def side(name: str) -> Any:
        return lambda: (calls.append(name), next(numbers))[1]

    found = timing.interleaved({"a": side("a"), "b": side("b")}, rounds=3)
    assert calls == ["b", "a", "a", "b", "b", "a", "a", "b"]
    assert found == {"a": [2, 5, 6], "b": [3, 4, 7]}


def test_short_runs_are_repeated_until_they_can_be_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])
    runs: list[None] = []

    def run() -> None:
        runs.append(None)
        clock[0] += 0.25

    seconds = timing.timed(run, least_seconds=1.0)
    assert (seconds(), len(runs)) == (0.25, 1)
    assert (seconds(), len(runs)) == (0.25, 5)


def test_speeds_compare_within_a_round() -> None:
    # The machine is half as fast in the second round; the ratio does not see it.
    found = timing.speeds({"harmony": [1.0, 2.0], "transformers": [1.5, 3.0]}, 300, 1.5)
    assert found["ratio"] == {"median": 1.5, "min": 1.5, "max": 1.5}
    assert found["tokens_per_second"]["harmony"] == {"median": 225.0, "min": 150.0, "max": 300.0}
    assert (found["promise"], found["kept"]) == (1.5, True)


@pytest.mark.parametrize(
    ("ratio", "promise", "at_most", "kept"),
    [
        (1.49, 1.5, False, False),
        (1.5, 1.5, False, True),
        (1.0, 1.0, True, True),
        (1.001, 1.0, True, False),
        (0.1, None, False, None),
    ],
)
def test_verdicts(ratio: float, promise: float | None, at_most: bool, kept: bool | None) -> None:
    assert timing.verdict(ratio, promise, at_most=at_most) == {"promise": promise, "kept": kept}


@pytest.mark.parametrize(
    ("kind", "fitted", "kept"),
    [
        ("swa", 1.05, True),
        ("swa", 0.85, False),
        ("swa", 1.15, False),
        ("hyena_li", 0.5, True),
        ("hyena_li", 1.21, False),
        ("mha", 2.0, None),
    ],
)
def test_exponents_are_held_to_their_range(kind: str, fitted: float, kept: bool | None) -> None:
    assert cost.judged(kind, {"fitted": fitted, "min": fitted, "max": fitted})["kept"] is kept


@pytest.mark.parametrize(
    ("length", "backward", "kept"), [(512, 2.0, True), (512, 0.9, False), (512, 1.0, False), (256, 0.9, None)]
)
def test_blocked_is_to_be_faster_in_both_directions(length: int, backward: float, kept: bool | None) -> None:
    blocked, fft = convolution.Passes(1.0, 1.0), convolution.Passes(2.0, backward)
    found = convolution.summary({"blocked": [blocked] * 3, "fft": [fft] * 3}, length)
    assert [each["median"] for each in found["ratio"]["blocked"].values()] == [2.0, backward]
    assert found["kept"] is kept


def test_ways_that_differ_are_refused() -> None:
    import torch

    y = torch.linspace(-1, 1, 9)
    convolution.check_equal([y, y + 5e-5])
    with pytest.raises(RuntimeError, match="differ"):
        convolution.check_equal([y, y + 5e-4])


def memory_of(ours: float, theirs: float) -> dict[tuple[str, str], dict[str, Any]]:
    sides = {"harmony": ours, "transformers": theirs}
    return {
        (method, side): {"weights_mib": 10.0, "step_mib": step}
        for method in ("tensors", "resident")
        for side, step in sides.items()
    }


def test_memory_is_weights_and_the_step_together() -> None:
    found = memory_row(memory_of(20.0, 50.0))
    assert (found["peak_mib"], found["ratio"], found["kept"]) == ({"harmony": 30.0, "transformers": 60.0}, 0.5, True)
    assert memory_row(memory_of(50.2, 50.0))["kept"] is False


def test_memory_that_no_tensor_has_counts_too() -> None:
    found = memory_row({**memory_of(20.0, 50.0), ("resident", "harmony"): {"weights_mib": 10.0, "step_mib": 60.0}})
    assert (found["ratio"], found["resident_ratio"], found["kept"]) == (0.5, 1.167, False)


def test_a_side_that_failed_is_the_rows_reason() -> None:
    found = memory_row({**memory_of(1.0, 1.0), ("resident", "harmony"): {"error": "it died"}})
    assert found == {"error": "it died"}


def test_a_row_that_was_not_measured_breaks_its_promise() -> None:
    rows = [row("training"), row("training", None), row("training", False), {"family": "bamba", "error": "no"}]
    assert broken(rows) == rows[2:]


@pytest.mark.parametrize("part", PARTS)
def test_tables_have_a_cell_for_every_header(part: str) -> None:
    failed = {name: value for name, value in ROWS[part].items() if not isinstance(value, dict)}
    text = table(part, [row(part), row(part, None), row(part, False), {**failed, "error": "no such kind"}])
    assert {len(cells) for cells in text.rows} == {len(text.headers)}
    assert [cells[-1] for cells in text.rows] == ["kept", "-", "BROKEN", "not measured: no such kind"]


def test_the_page_has_every_table_and_the_curves() -> None:
    failed = {"kind": "mla", "d_model": 256, "error": "no such kind"}
    parts = {part: [row(part)] for part in PARTS} | {"cost": [row("cost"), failed]}
    page = html_page({"command": "python -m <x>", "rounds": 5, "parts": parts})
    assert page.count("<table>") == len(PARTS)
    assert page.count("<svg") == 2
    assert "mha (1.00)" in page
    assert "not measured: no such kind" in page
    assert "python -m &lt;x&gt;" in page
    assert len(page) < 200_000


def test_a_page_without_curves() -> None:
    failed = {"kind": "mla", "d_model": 256, "error": "no such kind"}
    assert "<svg" not in html_page({"parts": {"cost": [failed]}})


def test_the_peak_is_the_highest_sum_so_far() -> None:
    from benchmarks.operators.memory import peak

    assert peak([5, -5, 3, 4, -7, 6]) == 7
    assert peak([-3]) == 0


INSTRUMENTS = """
import torch
from benchmarks.operators.memory import MIB, allocated_peak, resident_rise, return_freed_memory

def run():
    first = torch.ones(MIB)
    second = first + 1
    del first
    third = second + 1
    del second, third
    torch.ones(MIB // 2)

torch.set_num_threads(1)
return_freed_memory()
run()
print(allocated_peak(run) / MIB, resident_rise(run) / MIB)
"""


def test_both_instruments_see_the_peak_of_live_tensors() -> None:
    # In a process of its own, since the allocator is told to behave otherwise.
    done = subprocess.run([sys.executable, "-c", INSTRUMENTS], cwd=ROOT, capture_output=True, text=True, check=True)
    allocated, resident = (float(word) for word in done.stdout.split())
    # Two tensors of 4 MiB are alive at once, never three; the ones that are added are tensors of a few bytes.
    assert allocated == pytest.approx(8, abs=1e-4)
    assert resident == pytest.approx(8, abs=0.5)


def test_what_fails_or_dies_is_an_error_of_its_row() -> None:
    assert fresh(int, "x")["error"].startswith("ValueError: invalid literal")
    assert "process died" in fresh(os._exit, 3)["error"]
    assert fresh(dict, kept=True) == {"kept": True}


def test_tied_weights_count_once() -> None:
    import torch

    from benchmarks.operators.memory import tensor_bytes

    weight = torch.zeros(10, 10)
    assert tensor_bytes([weight, weight[:5], torch.zeros(3)]) == 412


@dataclasses.dataclass
class _Answer:
    logits: Any


def test_sides_that_are_not_the_same_model_are_refused() -> None:
    import torch

    from benchmarks.operators.pair import agreement, batch
    from benchmarks.operators.settings import VOCAB_SIZE
    from harmony_core import Architecture
    from harmony_core.models import build

    class Peer(torch.nn.Module):
        """A peer that is our own model, with a factor on its logits."""

        def __init__(self, model: Any, factor: float) -> None:
            super().__init__()
            self.model, self.factor = model, factor

        def forward(self, input_ids: torch.Tensor, use_cache: bool) -> _Answer:
            return _Answer(self.factor * self.model(input_ids))

    blocks = [{"kind": "mha", "num_heads": 2, "head_dim": 8}]
    ours = build(Architecture.parse({"d_model": 16, "vocab_size": VOCAB_SIZE, "blocks": blocks}))
    data = batch(2, 8)
    assert data.targets_BT[0, 0] == data.tokens_BT[0, 1]
    found = agreement({"harmony": ours, "transformers": Peer(ours, 1.0)}, data)
    assert found["loss_relative_difference"] < 1e-6
    with pytest.raises(RuntimeError, match="not the same model"):
        agreement({"harmony": ours, "transformers": Peer(ours, 1.5)}, data)


@pytest.mark.parametrize("name", ["loss", "gradient_norm"])
def test_loss_and_gradients_both_have_to_agree(name: str) -> None:
    from benchmarks.operators.pair import differences

    found = {"loss": [7.0, 7.0], "gradient_norm": [2.0, 2.0]}
    assert set(differences(found).values()) == {0.0}
    with pytest.raises(RuntimeError, match="not the same model"):
        differences({**found, name: [1.0, 1.001]})
