"""Packed windows that respect documents: an option of the recipe, off unless it is asked for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from harmony_core.architecture import Architecture, Block, Role
from harmony_core.architecture.demands import Demands
from harmony_core.architecture.presets import load_preset
from harmony_core.data.dataset import TokenDataset
from harmony_core.errors import UserError
from harmony_core.machines import Layout
from harmony_core.models import build
from harmony_core.models.documents import Documents
from harmony_core.search.config import Config
from harmony_core.training.learner import Learner
from harmony_core.training.recipe import Recipe
from harmony_core.training.trainer import train

BLOCKS = [
    {"kind": "gqa", "num_heads": 2, "num_kv_heads": 1, "head_dim": 16},
    {"kind": "mamba2", "d_state": 8, "head_dim": 16},
    {"kind": "mlp", "d_ff": 32},
]
SMALL = Architecture.parse({"d_model": 32, "vocab_size": 257, "blocks": BLOCKS})
CPU = torch.device("cpu")


def recipe(**fields: Any) -> Recipe:
    small = {"batch_size": 4, "sequence_length": 64, "tokens": 4 * 4 * 64, "validation_tokens": 512}
    return Recipe.parse({**small, "precision": "fp32", **fields})


def rows(data: Path) -> tuple[np.ndarray[Any, Any], int]:
    """A batch in which documents begin within sequences, and the separator."""
    dataset = TokenDataset(data, "train")
    rows_BT, separator = dataset.batch(0, 4, 64, 0).copy(), dataset.manifest.separator
    rows_BT[:, [9, 40]] = separator
    return rows_BT, separator


def test_without_it_a_recipe_is_the_one_that_it_was() -> None:
    assert Recipe().id("data") == "ccc138b56b208a4e"
    assert "document_boundaries" not in Recipe().model_dump()
    kept = Recipe(document_boundaries=True)
    assert kept.id("data") != Recipe().id("data")
    assert Recipe.parse(kept.model_dump(mode="json")) == kept
    assert Recipe.parse(Recipe().model_dump(mode="json")) == Recipe()


def test_losses_are_those_of_documents_kept_apart(data: Path) -> None:
    rows_BT, separator = rows(data)
    tokens_BT = torch.from_numpy(rows_BT)
    inputs_BT, targets_BT = tokens_BT[:, :-1], tokens_BT[:, 1:]
    found = {}
    for on in (False, True):
        learner = Learner(SMALL, recipe(document_boundaries=on), 3, CPU, separator=separator)
        validation = learner.evaluate(rows_BT).sum() / targets_BT.numel()
        found[on] = learner.step(rows_BT, 1.0).cross_entropy
        assert validation == pytest.approx(found[on], rel=1e-5)
    model = build(SMALL, 3)
    apart = model.loss(inputs_BT, targets_BT, Documents.beginning_with(inputs_BT, separator)).cross_entropy
    assert found[True] == pytest.approx(apart.item(), rel=1e-5)
    assert found[False] == pytest.approx(model.loss(inputs_BT, targets_BT).cross_entropy.item(), rel=1e-5)
    assert abs(found[True] - found[False]) > 1e-4


def test_a_training_with_it_ends_well(data: Path) -> None:
    dataset = TokenDataset(data, "train")
    # One whose first batch has a document that begins within a sequence: what begins with one is all alike.
    seed = next(
        seed for seed in range(100) if (dataset.batch(0, 4, 64, seed)[:, 1:-1] == dataset.manifest.separator).any()
    )
    results = [train(SMALL, recipe(document_boundaries=on), data, init_seed=0, data_seed=seed) for on in (False, True)]
    assert [str(result.status) for result in results] == ["ok", "ok"]
    assert abs(results[0].val_loss - results[1].val_loss) > 1e-6
    assert results[1].kernel_paths == f"{results[0].kernel_paths}, documents apart in plain PyTorch"


@pytest.mark.parametrize("layout", [Layout(pp=2), Layout(cp=2)], ids=str)
def test_layouts_that_spread_a_sequence_are_refused(layout: Layout) -> None:
    name = "pp" if layout.pp > 1 else "cp"
    with pytest.raises(UserError, match=rf"^layout\.{name}: 2: .* use {name} 1, or no recipe\.document_boundaries"):
        Learner(load_preset("llama-nano"), recipe(document_boundaries=True), 0, CPU, layout, separator=256)


def test_a_block_that_reaches_over_documents_is_refused_before_anything(data: Path) -> None:
    told = r"^blocks\.2\.hyena_mr: recipe\.document_boundaries: it has a filter of \d+ taps"
    long = recipe(document_boundaries=True, sequence_length=256, tokens=4096)
    with pytest.raises(UserError, match=told):
        train(load_preset("stripedhyena-2-nano"), long, data, init_seed=0, data_seed=0)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, r"space\.blocks\.hyena_\w+: recipe\.document_boundaries: it has .*"),
        ({"space": "nano", "promote": {"baselines": ["stripedhyena-2-nano"]}}, r"blocks\.2\.hyena_mr: recipe"),
        ({"execution": {"gpus_per_candidate": 2, "layout": {"cp": 2}}}, r"layout\.cp: 2: no rank has all tokens"),
    ],
)
def test_it_is_refused_when_a_configuration_is_checked(fields: dict[str, Any], told: str) -> None:
    config = Config.parse({"recipe": {"document_boundaries": True}, **fields})
    found = [str(mistake) for mistake in config.wrong_names(set(Config.model_fields))]
    assert any(re.match(told, one) for one in found), found
    assert all("\n" not in one for one in found)


class Exact(Block):
    kind: ClassVar[str] = "exact"
    role: ClassVar[Role] = "mixer"
    precisions: ClassVar[tuple[str, ...]] = ("fp32",)

    def decoding_problem(self) -> str | None:
        return "has no step; measure prefill alone"


def test_other_demands_are_told_alike() -> None:
    assert Demands(precision="fp32").refused(Exact()) is None
    assert Demands(precision="bf16").refused(Exact()) == ("recipe.precision bf16", "computes in fp32 alone")
    assert Demands(decoding=True).refused(Exact()) == ("latency.modes decode", "has no step; measure prefill alone")
    assert Demands(documents=True).refused(Exact()) is not None
    modes = {"latency": {"modes": ["prefill", "decode"]}}
    assert Config.parse(modes).demands == Demands(decoding=True)
    assert not Config.parse({"latency": {"modes": ["prefill"]}, "recipe": {"precision": "bf16"}}).demands.decoding
