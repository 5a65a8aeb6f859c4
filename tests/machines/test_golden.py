"""What the cost model and the planner say of published models and runs, pinned to the last digit but rounding's.

A change here is a change of the model behind every predicted latency and plan: say so, and measure it anew
(`docs/planner.md`). `python -m tests.machines.test_golden` writes the values of what is new in `CASES`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from benchmarks.planner_published import LARGE, SMALL, X_MOE
from benchmarks.step_memory import predict_memory_bytes
from harmony_core.architecture import MHA, Architecture, MoE
from harmony_core.architecture.presets import load_preset, preset_names
from harmony_core.machines import (
    HALF_WEIGHTS,
    Estimator,
    Layout,
    Machine,
    TrainingStep,
    plan_layouts,
    predict_parts,
)

FILE = Path(__file__).with_name("golden.json")
GOLDEN: dict[str, Any] = json.loads(FILE.read_text()) if FILE.exists() else {}
LAYOUTS = (
    Layout(dp=8, zero_stage=1, micro_batch_size=1),
    Layout(pp=2, dp=8, ep=8, micro_batch_size=1, activation_checkpointing=True),
    Layout(pp=2, dp=4, cp=2, tp=2, zero_stage=1, micro_batch_size=1),
)


def parts(name: str, machine: str, mode: Any, precision: Any) -> list[Any]:
    """FLOPs, bytes, kernels, seconds and bound of parts that differ: 4 sequences of 2,048 tokens (nano: of 192)."""
    context = 192 if name.endswith("-nano") else 2048
    found = predict_parts(load_preset(name), Machine.from_yaml(machine), mode, 4, context, precision)
    return [list(values) for values in dict.fromkeys(tuple(asdict(part).values())[1:] for part in found)]


def memory(name: str) -> list[float]:
    """Bytes of a training step in fp32 and bf16, on a CPU and with a GPU's kernels, and of decoding."""
    architecture = load_preset(name)
    cases = (("train", "fp32", False), ("train", "bf16", False), ("train", "bf16", True), ("decode", "bf16", False))
    return [predict_memory_bytes(architecture, mode, 2, 640, precision, fused) for mode, precision, fused in cases]


def estimates(architecture: Architecture, layouts: tuple[Layout, ...], step: TrainingStep) -> list[Any]:
    """Causes, first stages, and memory of both ends of every layout that fits the architecture, on Frontier."""
    estimator, found = Estimator(architecture, Machine.from_yaml("frontier"), step), []
    for layout in layouts:
        problem = layout.problem(architecture, step.batch_size, step.sequence_length)
        if problem is not None:
            found.append(problem[0])
            continue
        one = estimator.estimate(layout)
        stages = [[blocks.start, blocks.stop] for blocks in one.stages]
        memory = [list(asdict(stage).values()) for stage in (one.memory[0], one.memory[-1])]
        found.append([one.seconds, one.model_flops_utilization, dict(one.causes), stages[:8], memory])
    return found


def published(name: str) -> list[Any]:
    """A run of Dash et al. (arXiv:2312.12705) as `benchmarks.planner_published` has it."""
    run = {"22B": SMALL, **LARGE}[name]
    layout = Layout(pp=run.pp, dp=run.replicas, tp=run.tp, zero_stage=1, micro_batch_size=1)
    again = layout.model_copy(update={"activation_checkpointing": True})
    step = TrainingStep(run.batch * run.replicas, 2048, state=HALF_WEIGHTS)
    return estimates(run.architecture(), (layout, again), step)


def x_moe(name: str) -> list[Any]:
    """The best three layouts of a shape of X-MoE (arXiv:2508.13337)."""
    width, inner, experts, top_k, layers, gpus, _, _ = X_MOE[name]
    mixture = MoE(n_routed=experts, top_k=top_k, d_expert=inner, activation="gelu")
    blocks = (MHA(num_heads=width // 128, head_dim=128), mixture) * layers
    architecture = Architecture(d_model=width, vocab_size=51_200, blocks=blocks)
    step = TrainingStep(4 * gpus, 2048, state=HALF_WEIGHTS)
    found = plan_layouts(architecture, Machine.from_yaml("frontier"), gpus, step).fitting[:3]
    return [[str(one.layout), one.seconds, one.peak_memory] for one in found]


def planned(name: str) -> list[Any]:
    """A preset under each of `LAYOUTS`."""
    context = 192 if name.endswith("-nano") else 2048
    return estimates(load_preset(name), LAYOUTS, TrainingStep(64, context))


CASES: dict[str, Callable[[], Any]] = {}
for _name in preset_names():
    for _machine, _mode, _precision in (
        ("cpu", "train", "fp32"),
        ("cpu", "prefill", "fp32"),
        ("h100", "decode", "bf16"),
        ("frontier", "train", "bf16"),
    ):
        CASES[f"parts {_name} {_machine} {_mode} {_precision}"] = partial(parts, _name, _machine, _mode, _precision)
    CASES[f"memory {_name}"] = partial(memory, _name)
    CASES[f"plan {_name}"] = partial(planned, _name)
CASES |= {f"published {name}": partial(published, name) for name in ("22B", *LARGE)}
CASES |= {f"x-moe {name}": partial(x_moe, name) for name in ("Small", "Super")}


def assert_same(found: Any, known: Any, where: str) -> None:
    """Equal but for the rounding of sums in another order."""
    if isinstance(known, dict):
        assert list(found) == list(known), where
        found, known = list(found.values()), list(known.values())
    if isinstance(known, list):
        assert len(found) == len(known), where
        for place, (one, other) in enumerate(zip(found, known, strict=True)):
            assert_same(one, other, f"{where} [{place}]")
    elif isinstance(known, str):
        assert found == known, where
    else:
        assert found == pytest.approx(known, rel=1e-9, abs=1e-15), where


def test_every_case_has_golden_values() -> None:
    assert sorted(GOLDEN) == sorted(CASES)


@pytest.mark.parametrize("case", CASES)
def test_figures_are_what_they_were(case: str) -> None:
    assert_same(json.loads(json.dumps(CASES[case]())), GOLDEN[case], case)


def rounded(values: Any) -> Any:
    """Eleven digits of every number."""
    return json.loads(json.dumps(values), parse_float=lambda x: float(f"{float(x):.11g}"))


if __name__ == "__main__":
    new = {case: GOLDEN.get(case) or rounded(compute()) for case, compute in CASES.items()}
    lines = (f"{json.dumps(case)}: {json.dumps(values, separators=(',', ':'))}" for case, values in new.items())
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    sys.stdout.write(f"{FILE}: {len(new)} cases, {len(new) - len(GOLDEN)} of them new\n")
