"""Stages of a pipeline: together they are the model, with its names, first values, output and gradients."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from harmony_core.architecture import Architecture
from harmony_core.models import Stage, build
from tests.models.comparison import routers
from tests.models.test_conformance import draw_tokens, model_of

KINDS = ("gqa", "moe", "parallel-factors", "mlp")


def architecture(tied: bool) -> Architecture:
    return model_of(*KINDS).architecture.model_copy(update={"tie_embeddings": tied})


def stages_of(model: Architecture, *cuts: int) -> list[Stage]:
    bounds = [0, *cuts, len(model.blocks)]
    stages = [Stage(model, range(a, b)) for a, b in pairwise(bounds)]
    for stage in stages:
        stage.initialise(0)
    return stages


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("cuts", [(2,), (1, 3)])
def test_stages_are_the_model(tied: bool, cuts: tuple[int, ...]) -> None:
    whole, stages = build(architecture(tied)), stages_of(architecture(tied), *cuts)
    tokens = draw_tokens()
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    x, losses = stages[0].embed(inputs), []
    for stage in stages:
        x, found = stage.advance(x)
        losses += found
    loss = stages[-1].cross_entropy(x, targets) + torch.stack(losses).sum()
    loss.backward()
    expected = whole.loss(inputs, targets).total
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=0, atol=0)
    held = [dict(stage.named_parameters()) for stage in stages]
    for name, parameter in whole.named_parameters():
        copies = [part[name] for part in held if name in part]
        assert len(copies) == (2 if tied and name == "embedding" else 1)
        assert all(torch.equal(copy, parameter) for copy in copies)
        gradients = torch.stack([copy.grad for copy in copies if copy.grad is not None])
        torch.testing.assert_close(gradients.sum(0), parameter.grad, rtol=1e-6, atol=1e-8, msg=name)


def test_a_stage_refuses_what_it_does_not_hold() -> None:
    middle = stages_of(architecture(True), 1, 3)[1]
    assert list(middle.residual_blocks()) == [1, 2]
    with pytest.raises(TypeError, match="no embedding"):
        middle.embed(draw_tokens())
    with pytest.raises(TypeError, match="no head"):
        middle.cross_entropy(torch.zeros(1, 1, 32), torch.zeros(1, 1, dtype=torch.int64))


def test_recomputed_activations_give_the_same_gradients_and_count_tokens_once() -> None:
    tokens = draw_tokens()
    found = []
    for again in (False, True):
        model = build(architecture(True)).train()
        model.recompute_activations = again
        model.loss(tokens[:, :-1], tokens[:, 1:]).total.backward()
        counts = [router.counts_E.clone() for router in routers(model)]
        found.append(([p.grad for p in model.parameters()], counts))
    (plain, counted), (recomputed, counted_again) = found
    for one, other in zip(plain, recomputed, strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=0)
    assert counted
    assert all(torch.equal(a, b) for a, b in zip(counted, counted_again, strict=True))
