"""Each hand-written op beside its plain form: values and gradients."""

import pytest
import torch

from harmony_core.models.ops import (
    attention,
    blocked_attention,
    cross_entropy,
    fused_attention,
    rms_norm,
    rotary,
)
from tests.models.comparison import assert_same, draw


def test_rms_norm():
    assert_same(
        lambda x, w: rms_norm.rms_norm(x, w, 1e-5),
        lambda x, w: rms_norm.rms_norm_reference(x, w, 1e-5),
        (draw(3, 5, 16), draw(16)),
    )


def test_rotary():
    assert_same(
        lambda x: rotary.rotate(x, 3, 100.0),
        lambda x: rotary.rotate_reference(x, 3, 100.0),
        (draw(2, 9, 3, 8),),
    )


def test_rotary_scores_depend_on_distance_alone():
    q, k = draw(1, 1, 1, 8).expand(1, 12, 1, 8), draw(1, 1, 1, 8, seed=5).expand(1, 12, 1, 8)
    scores = torch.einsum("bihk,bjhk->ij", rotary.rotate(q, 0, 100.0), rotary.rotate(k, 0, 100.0))
    assert scores[7, 3].item() == pytest.approx(scores[11, 7].item(), abs=1e-5)
    assert abs(scores[7, 3].item() - scores[7, 4].item()) > 1e-3


def test_rotary_orders_are_inverse_and_mean_what_llama_means():
    w, head = draw(16, 5), 8
    pairs = rotary.pairs_from_halves(w, head)
    assert torch.equal(rotary.halves_from_pairs(pairs, head), w)
    assert torch.equal(pairs[1], w[4])
    assert torch.equal(pairs[2], w[1])
    assert torch.equal(pairs[8 + 3], w[8 + 5])


@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (4, 1)])
@pytest.mark.parametrize(("length", "window"), [(5, None), (130, None), (130, 20), (70, 64), (64, 1), (200, 90)])
def test_blocked_attention(heads, length, window):
    q, k, v = draw(2, length, heads[0], 8), draw(2, length, heads[1], 8, seed=1), draw(2, length, heads[1], 6, seed=2)
    assert_same(
        lambda q, k, v: blocked_attention.blocked_attention(q, k, v, 0.3, window),
        lambda q, k, v: plain_attention(q, k, v, window),
        (q, k, v),
    )


@pytest.mark.parametrize(("length", "window"), [(9, 16), (20, 16), (33, 8), (40, 8), (64, 16)])
def test_fused_window_attention(length, window):
    q, k, v = draw(2, length, 4, 8), draw(2, length, 2, 8, seed=1), draw(2, length, 2, 8, seed=2)

    def fused(q, k, v):
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        return fused_attention.window_sdpa(q, k, v, 0.3, window).transpose(1, 2)

    assert_same(fused, lambda q, k, v: plain_attention(q, k, v, window), (q, k, v))


def plain_attention(q, k, v, window):
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return attention.attention_reference(q, k, v, 0.3, window).transpose(1, 2)


@pytest.mark.parametrize("window", [None, 24])
def test_long_sequences_leave_the_blocked_path_and_agree(window, monkeypatch):
    q, k, v = draw(1, 80, 2, 8), draw(1, 80, 2, 8, seed=1), draw(1, 80, 2, 8, seed=2)
    blocked = attention.attend(q, k, v, 0.3, window)
    monkeypatch.setattr(attention, "BLOCKED_CONTEXT", 8)
    monkeypatch.setattr(attention, "blocked_attention", None)
    torch.testing.assert_close(attention.attend(q, k, v, 0.3, window), blocked, rtol=1e-4, atol=1e-5)


def test_linear_cross_entropy(monkeypatch):
    monkeypatch.setattr(cross_entropy, "CHUNK_ELEMENTS", 40)
    hidden, head = draw(23, 6), draw(11, 6)
    targets = torch.arange(23) % 11
    assert_same(
        lambda h, w: cross_entropy.linear_cross_entropy(h, w, targets),
        lambda h, w: cross_entropy.cross_entropy_reference(h, w, targets),
        (hidden, head),
    )


def test_cross_entropy_survives_huge_logits():
    hidden, head = torch.full((2, 1), 300.0), torch.tensor([[1.0], [-1.0]])
    loss = cross_entropy.linear_cross_entropy(hidden, head, torch.tensor([0, 1]))
    assert loss.item() == pytest.approx(300.0)
