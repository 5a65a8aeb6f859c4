"""Costs of operators: the work that is counted, the fit, and the prices that a measured machine gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from harmony_core.architecture import GQA, MLP, Architecture, Block, Mamba2, MoE, block_kinds
from harmony_core.architecture.presets import load_preset
from harmony_core.calibration.chains import chains, fit_costs, small_models
from harmony_core.errors import UserError
from harmony_core.machines import Machine, predict_parts, predict_seconds
from harmony_core.machines.blocks import Shape
from harmony_core.machines.operator_costs import UNITS, OperatorCosts
from harmony_core.machines.operator_work import block_work, model_work
from harmony_core.models import build
from tests.machines.test_traffic import EXAMPLES, EXTRA

LLAMA = load_preset("llama-nano")


def costs(mode: str = "train", precision: str = "fp32", **seconds: float) -> dict[str, object]:
    return {"mode": mode, "precision": precision, "source": "measured: test", **dict.fromkeys(UNITS, 0.0), **seconds}


def machine(*operators: dict[str, object]) -> Machine:
    cpu = Machine.from_yaml("cpu").model_dump()
    return Machine.parse({**cpu, "operators": list(operators)})


def example(kind: str) -> tuple[Block, int]:
    from harmony_core.architecture import block_from_dict

    return EXAMPLES.get(kind) or (block_from_dict({"kind": kind, **EXTRA[kind]}), 128)


@pytest.mark.parametrize("kind", block_kinds())
def test_work_of_every_kind_has_a_cost_and_grows_with_the_batch(kind: str) -> None:
    block, d_model = example(kind)
    one, two = (block_work(block, Shape(d_model, batch, 128, 4), train=True) for batch in (8, 16))
    assert set(one) <= set(UNITS)
    for unit, amount in one.items():
        factor = 1 if unit == "kernel" else 2
        assert two[unit] == pytest.approx(amount * (1 if unit == "expert" else factor), rel=1e-6)


class Operations(TorchDispatchMode):
    """Counts operations but for those that only look at a tensor otherwise, or make room."""

    VIEWS = ("view", "transpose", "permute", "slice", "select", "expand", "as_strided", "squeeze", "detach", "alias")
    OTHERS = ("aten.t.", "split", "unbind", "empty", "unfold")

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += not any(name in str(function) for name in self.VIEWS + self.OTHERS)
        return function(*args, **(kwargs or {}))


# An expert has a cost of its own beside the kernels.
OF_AN_EXPERT = 18


@pytest.mark.parametrize(
    "block", {block.kind: block for chain in chains() for block in chain.blocks}.values(), ids=lambda b: b.kind
)
def test_kernels_are_those_that_a_short_sequence_starts(block: Block) -> None:
    d_model = next(chain.d_model for chain in chains() if block in chain.blocks)
    module = build(Architecture(d_model=d_model, vocab_size=2, blocks=(block,))).blocks[0]
    x = torch.randn(2, 128, d_model, generator=torch.Generator().manual_seed(0)).requires_grad_()
    with Operations() as operations:
        y, auxiliary = module(x)
        total = y.sum() if auxiliary is None else y.sum() + auxiliary
        total.backward()
    work = block_work(block, Shape(d_model, 2, 128, 4), train=True)
    started = 3 * work["kernel"] + OF_AN_EXPERT * work.get("expert", 0)
    assert started == pytest.approx(operations.count, rel=0.35)


def test_unknown_kind_is_told_where_to_go() -> None:
    class Odd(Block):
        kind = "odd"

    with pytest.raises(TypeError, match=r"'odd'.*machines/blocks/"):
        block_work(Odd(), Shape(8, 1, 8, 4), train=True)


def test_work_by_hand() -> None:
    shape = Shape(16, 2, 64, 4)
    work = block_work(MLP(d_ff=24), shape, train=True)
    assert work["product"] == 128 * 2 * 3 * 16 * 24
    assert work["exponential"] == 128 * 24
    # One block of 64 queries sees all 64 keys, masked ones too.
    work = block_work(GQA(num_heads=4, num_kv_heads=2, head_dim=8), shape, train=True)
    assert work["attention_score"] == 128 * 4 * 64
    assert work["attention_product"] == 128 * 4 * 64 * 2 * 16
    work = block_work(Mamba2(d_state=8, head_dim=8, chunk_size=32), shape, train=True)
    assert work["scan_decay"] == 128 * 4 * 32
    work = block_work(MoE(n_routed=4, top_k=2, d_expert=8), shape, train=False)
    assert work["expert"] == pytest.approx(4)


def test_long_contexts_make_scores_again_in_training_alone() -> None:
    block = GQA(num_heads=4, num_kv_heads=2, head_dim=8)
    train, prefill = (block_work(block, Shape(16, 1, 1024, 4), train=t) for t in (True, False))
    assert train["attention_score"] == pytest.approx(prefill["attention_score"] * 4 / 3)
    short = [block_work(block, Shape(16, 1, 512, 4), train=t)["attention_score"] for t in (True, False)]
    assert short[0] == short[1]


def test_prices_are_work_times_cost() -> None:
    measured = machine(costs(product=1e-12, parameter=1e-9, step=0.5))
    parts = predict_parts(LLAMA, measured, "train", 2, 64, "fp32")
    work = model_work(LLAMA, 2, 64, 4, train=True)
    assert [part.seconds for part in parts] == pytest.approx(
        [w.get("product", 0) * 1e-12 + w.get("parameter", 0) * 1e-9 + w.get("step", 0) * 0.5 for w in work]
    )
    assert parts[0].seconds == 0.5
    assert parts[0].bound == "kernels"
    assert parts[1].bound == "compute"
    assert parts[-1].name == "optimizer"
    assert parts[-1].seconds == pytest.approx(LLAMA.num_params() * 1e-9)


def test_what_was_not_measured_is_priced_by_the_roofline() -> None:
    cpu = Machine.from_yaml("cpu").model_copy(update={"operators": ()})
    measured = machine(costs(product=1.0))
    for mode, precision in (("decode", "fp32"), ("prefill", "fp32"), ("train", "bf16")):
        assert predict_seconds(LLAMA, measured, mode, 2, 64, precision) == predict_seconds(  # type: ignore[arg-type]
            LLAMA,
            cpu,
            mode,
            2,
            64,
            precision,  # type: ignore[arg-type]
        )
    assert predict_seconds(LLAMA, measured, "train", 2, 64, "fp32") > 1e6


def test_flops_and_bytes_do_not_depend_on_the_prices() -> None:
    cpu = Machine.from_yaml("cpu").model_copy(update={"operators": ()})
    a, b = (predict_parts(LLAMA, m, "train", 2, 64, "fp32") for m in (cpu, machine(costs(product=1.0))))
    assert [(p.name, p.flops, p.bytes, p.kernels) for p in a] == [(p.name, p.flops, p.bytes, p.kernels) for p in b]


@pytest.mark.parametrize(("change", "told"), [({"product": -1.0}, "product"), ({"mode": "decode"}, "mode")])
def test_mistakes_in_costs_name_the_field(change: dict[str, object], told: str) -> None:
    with pytest.raises(UserError, match=told):
        OperatorCosts.parse({**costs(), **change})


def samples() -> list[dict[str, float]]:
    blocks = [
        block_work(block, Shape(chain.d_model, chain.batch_size, chain.context, 4), train=True)
        for chain in chains()
        for block in chain.blocks
    ]
    models = []
    for small in small_models():
        parts = model_work(small.architecture, small.batch_size, small.context, 4, train=True)
        models.append({unit: sum(part.get(unit, 0.0) for part in parts) for unit in UNITS})
    return blocks + models


def test_the_fit_finds_the_costs_that_made_the_times() -> None:
    works = samples()
    rng = np.random.default_rng(0)
    true = {unit: float(rng.uniform(0.3, 3)) / max(work.get(unit, 0.0) for work in works) for unit in UNITS}
    seconds = [sum(true[unit] * n for unit, n in work.items()) for work in works]
    assert fit_costs(works, seconds) == pytest.approx(true, rel=0.02)


def test_a_cost_is_never_negative() -> None:
    works = [{"product": 1.0, "kernel": 1.0}, {"product": 1.0, "kernel": 2.0}, {"product": 2.0, "kernel": 3.0}]
    found = fit_costs(works, [2.0, 1.0, 3.0])
    assert found["kernel"] == 0.0
    assert found["product"] > 0
    assert found["scan_decay"] == 0.0


def test_every_kind_that_is_searched_and_every_unit_is_measured() -> None:
    nano = {kind for kind in block_kinds() if kind != "mamba"}
    assert {block.kind for chain in chains() for block in chain.blocks} == nano
    counts = {unit: sum(work.get(unit, 0.0) > 0 for work in samples()) for unit in UNITS}
    assert min(counts.values()) >= 5, counts


def test_chains_are_models() -> None:
    for chain in chains():
        Architecture(d_model=chain.d_model, vocab_size=2, blocks=chain.blocks).check_length(chain.context)
