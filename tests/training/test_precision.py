"""`auto` asks the machine once; everything else is kept."""

from __future__ import annotations

import pytest
import torch

from harmony_core.training import precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(("speedup", "resolved"), [(0.4, "fp32"), (1.7, "fp32"), (4.5, "bf16")])
def test_auto_takes_bf16_only_where_it_is_native(
    speedup: float, resolved: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "bf16_speedup", lambda: speedup)
    assert precision.resolve_precision("auto", CPU) == resolved


def test_a_request_is_kept_without_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "bf16_speedup", lambda: pytest.fail("measured"))
    assert precision.resolve_precision("fp32", CPU) == "fp32"
    assert precision.resolve_precision("bf16", CPU) == "bf16"


def test_the_measurement_is_a_positive_ratio_and_restores_threads() -> None:
    threads = torch.get_num_threads()
    assert precision.bf16_speedup(rounds=3) > 0
    assert torch.get_num_threads() == threads
