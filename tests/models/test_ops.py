"""Each hand-written op beside its plain form: values and gradients."""

import pytest
import torch

from harmony_core import tiling
from harmony_core.models.ops import cross_entropy, rms_norm
from tests.models.comparison import assert_same, draw


def test_rms_norm():
    assert_same(
        lambda x, w: rms_norm.rms_norm(x, w, 1e-5),
        lambda x, w: rms_norm.rms_norm_reference(x, w, 1e-5),
        (draw(3, 5, 16), draw(16)),
    )


def test_linear_cross_entropy(monkeypatch):
    monkeypatch.setattr(tiling, "LOGITS_SLICE", 40)
    monkeypatch.setitem(tiling.LOGITS_ROWS, "cpu", 5)
    hidden, head = draw(23, 6), draw(11, 6)
    targets = torch.arange(23) % 11
    assert_same(
        lambda h, w: cross_entropy.linear_cross_entropy(h, w, targets),
        lambda h, w: cross_entropy.cross_entropy_reference(h, w, targets),
        (hidden, head),
    )


@pytest.mark.parametrize(
    ("vocab_size", "device_type", "rows"),
    [
        (256, "cpu", 2048),
        (1024, "cpu", 512),
        (32_000, "cpu", 512),
        (128_256, "cpu", 261),
        (128_256, "cuda", 1046),
        (256, "cuda", 8192),
        (1 << 30, "cpu", 1),
    ],
)
def test_slices_of_logits_have_rows_enough_and_bounded_memory(vocab_size: int, device_type: str, rows: int) -> None:
    assert tiling.logits_rows(vocab_size, device_type) == rows


def test_cross_entropy_survives_huge_logits():
    hidden, head = torch.full((2, 1), 300.0), torch.tensor([[1.0], [-1.0]])
    loss = cross_entropy.linear_cross_entropy(hidden, head, torch.tensor([0, 1]))
    assert loss.item() == pytest.approx(300.0)
