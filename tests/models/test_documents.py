"""What every block declares of documents, padding, decoding, precision and waiting is so; a new kind is judged too.

A document's outputs and gradients are those of the document alone: in fp64 to rounding of it, and beside the form
without boundaries to fp32's, in which that form keeps states and norms. What declares that it cannot is refused.
"""

from __future__ import annotations

import pytest
import torch

from harmony_core.architecture import Block, block_from_dict, block_kinds
from harmony_core.errors import UserError
from harmony_core.models.documents import Documents
from harmony_core.models.ops.documents import attend_documents, convolve_documents, ssd_documents
from harmony_core.models.ops.ssm.selective_scan import selective_scan, selective_scan_reference
from harmony_core.models.ops.ssm.ssd import ssd_reference
from harmony_core.testing import contract
from harmony_core.testing.blocks import Check
from harmony_core.testing.contract import BATCH, LENGTH, documents, spans
from tests.models.comparison import draw
from tests.models.test_conformance import CASES, draw_tokens, model_of

KEPT = [name for name, case in CASES.items() if block_from_dict(case).documents_problem() is None]
REFUSED = [name for name in CASES if name not in KEPT]


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("name", CASES)
def test_it_keeps_its_contract(name: str, check: Check) -> None:
    check(CASES[name])


def test_a_balancing_loss_is_of_real_tokens() -> None:
    model, tokens_BT = model_of("moe"), draw_tokens(BATCH, 12)
    real_BT = torch.ones(BATCH, 20, dtype=torch.bool)
    real_BT[:, :8] = False
    padded_BT = torch.cat((draw_tokens(BATCH, 8, seed=9), tokens_BT), 1)
    one, other = (
        model.advance(model.embed(tokens_BT))[1],
        model.advance(model.embed(padded_BT), Documents.padded(real_BT))[1],
    )
    torch.testing.assert_close(one[0], other[0])


def test_long_filters_alone_are_refused() -> None:
    assert {CASES[name]["kind"] for name in REFUSED} == {"hyena_mr", "hyena_li"}
    assert {block_from_dict(CASES[name]).kind for name in KEPT} >= set(block_kinds()) - {"hyena_li"}


def test_recomputed_activations_know_the_documents_too() -> None:
    tokens_BT, found = draw_tokens(BATCH, LENGTH), []
    for again in (False, True):
        model = model_of("gqa", "moe", "mamba2", "mamba")
        model.recompute_activations = again
        model.loss(tokens_BT, tokens_BT, documents()).total.backward()
        found.append([parameter.grad for parameter in model.parameters()])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


class TestDocuments:
    def test_separators_begin_documents(self) -> None:
        tokens_BT = torch.tensor([[3, 9, 1, 2, 9, 9, 4]])
        found = Documents.beginning_with(tokens_BT, 9)
        assert found.number_BT.tolist() == [[0, 1, 1, 1, 2, 3, 3]]
        assert found.positions().tolist() == [[0, 0, 1, 2, 0, 0, 1]]
        assert found.same(1).tolist() == [[False, False, True, True, False, False, True]]
        assert found.same(2).tolist() == [[False, False, False, True, False, False, False]]
        assert not found.same(50).any()
        assert found.same(50).shape == tokens_BT.shape

    def test_padding_is_a_document_of_its_own(self) -> None:
        found = Documents.padded(torch.tensor([[False, False, True, True, False]]))
        assert found.number_BT.tolist() == [[0, 0, 1, 1, 2]]
        assert found.positions().tolist() == [[0, 1, 0, 1, 0]]

    def test_a_window_and_a_document_both_limit_what_is_seen(self) -> None:
        seen_TT = Documents(torch.tensor([[0, 0, 0, 1, 1]])).visible(2)[0].int().tolist()
        assert seen_TT == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 1, 1]]


def test_ops_are_their_references_on_each_document() -> None:
    """fp64: the scans token by token, with and without a boundary."""
    heads, groups, state = 4, 2, 3
    x, b, c = (
        draw(BATCH, LENGTH, *shape, seed=i).double()
        for i, shape in enumerate([(heads, 5), (groups, state), (groups, state)])
    )
    dt = torch.nn.functional.softplus(draw(BATCH, LENGTH, heads, seed=4)).double()
    a, skip = -draw(heads, seed=5).double().exp(), draw(heads, seed=6).double()
    y = ssd_documents(x, dt, a, b, c, skip, 8, documents())
    flat, flat_dt = x[..., 0], dt
    a_IN, b_BTN, c_BTN = -draw(heads, state, seed=8).double().exp(), b[:, :, 0], c[:, :, 0]
    scanned, _ = selective_scan(flat, flat_dt, a_IN, b_BTN, c_BTN, skip, documents().same(1))
    taps = draw(heads, 4, seed=9).double()
    convolved = convolve_documents(flat, taps, documents())
    for row in range(BATCH):
        for span in spans(row):
            one = (slice(row, row + 1), span)
            expected, _ = ssd_reference(x[one], dt[one], a, b[one], c[one], skip)
            torch.testing.assert_close(y[one], expected, rtol=1e-11, atol=1e-11)
            plain, _ = selective_scan_reference(flat[one], flat_dt[one], a_IN, b_BTN[one], c_BTN[one], skip)
            torch.testing.assert_close(scanned[one], plain, rtol=1e-11, atol=1e-11)
            padded = torch.nn.functional.pad(flat[one].mT, (3, 0))
            direct = torch.nn.functional.conv1d(padded, taps.unsqueeze(1), groups=heads).mT
            torch.testing.assert_close(convolved[one], direct, rtol=1e-11, atol=1e-11)


def test_a_query_sees_its_own_document_alone() -> None:
    q, k, v = (draw(BATCH, LENGTH, heads, 8, seed=heads).double() for heads in (4, 2, 2))
    y = attend_documents(q, k, v, 0.3, None, documents())
    # The first token of a document sees itself.
    torch.testing.assert_close(y[1, 11, :2], v[1, 11, :1].expand(2, -1))


@pytest.mark.parametrize("name", CASES)
def test_decoding_is_declared(name: str) -> None:
    """The conformance suite decodes each; one that says it cannot is refused before a state is made."""
    assert block_from_dict(CASES[name]).decoding_problem() is None


class Parallel(Block):
    kind = "parallel"
    role = "mixer"

    def decoding_problem(self) -> str | None:
        return "has no step; measure prefill alone"


def test_what_cannot_decode_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("gqa")
    blocks = (model.architecture.blocks[0], Parallel())
    monkeypatch.setattr(model, "architecture", model.architecture.model_copy(update={"blocks": blocks}))
    with pytest.raises(UserError, match=r"^blocks\.1: parallel: it has no step; measure prefill alone"):
        model.init_state(1, 8)


def test_architectures_without_boundaries_take_the_same_path() -> None:
    model, tokens_BT = model_of("gqa", "mamba2"), draw_tokens()
    assert torch.equal(model(tokens_BT), model(tokens_BT, None))
    one = Documents(torch.zeros_like(tokens_BT))
    torch.testing.assert_close(model(tokens_BT), model(tokens_BT, one), rtol=1e-4, atol=1e-5)
