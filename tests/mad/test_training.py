"""What is trained, how, and what is told of it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from harmony_core.architecture import Architecture
from harmony_core.architecture.presets import load_preset, preset_names
from harmony_core.errors import UserError
from harmony_core.evaluation.evaluators.mad import Mad
from harmony_core.evaluation.mad_task import run as run_task
from harmony_core.evaluation.seeds import init_seed
from harmony_core.evaluation.shard import Shard
from harmony_core.mad import IGNORED, Compression, Examples, InContextRecall, Memorisation, task_names
from harmony_core.mad.accuracy import accuracy, macro_accuracy, macro_accuracy_of_batches
from harmony_core.mad.config import MadConfig, QuickTraining
from harmony_core.mad.full import run_full
from harmony_core.mad.iso_state import iso_state
from harmony_core.mad.learning import Diverged, Learning, failure
from harmony_core.mad.model import AutoEncoder, MadModel, model_for, sinusoids
from harmony_core.mad.projection import project
from harmony_core.mad.protocol import full_protocol
from harmony_core.mad.quick import area_over_log_steps, run_quick
from harmony_core.metrics import metric
from harmony_core.metrics.mad import MAD_TASKS
from harmony_core.models.parameter import declared_parameters
from harmony_core.parametrisation import DEFAULT
from harmony_core.search.opened import OpenedSearch
from harmony_core.store.evaluators import TABLES
from tests.evaluation.conftest import prepared

assert prepared

CPU = torch.device("cpu")
HEADS = {"kind": "mha", "num_heads": 2, "head_dim": 8}
SMALL = Architecture.parse({"d_model": 16, "vocab_size": 16, "blocks": [HEADS, {"kind": "mlp", "d_ff": 32}]})


def test_every_preset_has_a_projection() -> None:
    for name in preset_names():
        small = project(load_preset(name), 16).architecture
        assert (small.d_model, small.vocab_size, len(small.blocks)) == (128, 16, 4)


def test_a_projection_takes_the_commonest_kinds_in_the_order_of_their_appearance() -> None:
    blocks = ["hyena_se", "mha", "mamba", "mamba", "mha", "moe", "mlp", "mlp"]
    fields = {
        "hyena_se": {"num_groups": 4},
        "mha": {"num_heads": 8, "head_dim": 16},
        "mlp": {"d_ff": 512},
        "moe": {"n_routed": 4, "top_k": 2, "d_expert": 64},
    }
    architecture = Architecture.parse(
        {"d_model": 256, "vocab_size": 99, "blocks": [{"kind": kind, **fields.get(kind, {})} for kind in blocks]}
    )
    projection = project(architecture, 16)
    assert projection.architecture.pattern() == "mha-moe mamba-mlp"
    assert projection.told.endswith("without hyena_se (1 blocks)")
    heads, experts, _, mlp = projection.architecture.blocks
    assert (heads.num_heads, heads.head_dim, experts.n_routed, experts.d_expert, mlp.d_ff) == (4, 16, 4, 32, 256)


def test_one_kind_stands_twice_and_mixers_alone_stand_four_times() -> None:
    assert project(load_preset("llama-nano"), 16).architecture.pattern() == "2x(gqa-mlp)"
    assert project(load_preset("mamba-2-nano"), 16).architecture.pattern() == "4x(mamba2)"
    with pytest.raises(UserError, match=r"^architecture: mlp: it has no token mixer to project; train the stack"):
        project(Architecture.parse({"d_model": 16, "vocab_size": 16, "blocks": [{"kind": "mlp", "d_ff": 32}]}), 16)


def test_states_are_made_equal_where_a_width_can_do_it() -> None:
    small, told = iso_state(project(load_preset("samba-nano"), 16).architecture)
    # The paper's Mamba: 2,048 elements are 256 channels with 4 states and 4 taps.
    assert small.blocks[0].d_state == 4
    assert told == "state elements of the mixers: mamba 2048, swa 0"


@pytest.mark.parametrize("name", task_names())
def test_every_quick_task_trains_and_can_be_done_again(name: str) -> None:
    (task,) = MadConfig(tasks=(name,)).settings
    architecture = SMALL.replace(vocab_size=task.vocab_size)
    training = QuickTraining(steps=16, batch_size=4, num_validation=8)
    first, second = (run_quick(architecture, task, training, 1, "fp32", CPU) for _ in range(2))
    assert first == second
    assert 0 <= first.score <= 1
    assert [step for step, _ in first.curve] == sorted(training.checkpoints)


def test_another_seed_is_another_result() -> None:
    training = QuickTraining(steps=16, batch_size=4, num_validation=8)
    first, second = (run_quick(SMALL, InContextRecall(length=32), training, seed, "fp32", CPU) for seed in (1, 2))
    assert first.score != second.score


def test_memorisation_is_learnt() -> None:
    task = Memorisation(vocab_size=16)
    result = run_quick(SMALL, task, QuickTraining(steps=120, learning_rate=1e-2), 0, "fp32", CPU)
    assert result.curve[0][1] < 0.6 < 0.95 < result.curve[-1][1]


def test_a_score_is_the_area_over_log_steps() -> None:
    assert area_over_log_steps([(8, 0.5), (64, 0.5)]) == pytest.approx(0.5)
    # Half of the octaves at 0, half at 1; the ramp between them is worth half of its octave.
    assert area_over_log_steps([(1, 0.0), (4, 0.0), (8, 1.0), (32, 1.0)]) == pytest.approx(2.5 / 5)


def test_weights_say_how_much_a_task_counts() -> None:
    config = MadConfig(tasks=("memorisation", "compression"), weights={"memorisation": 3.0})
    assert config.score({"memorisation": 1.0, "compression": 0.0}) == pytest.approx(0.75)


def test_metrics_are_declared_for_every_task_and_more_is_better() -> None:
    assert list(MAD_TASKS) == task_names()
    for name in TABLES["mad"].metrics:
        assert (metric(name).source, metric(name).direction) == ("mad", "maximise")


def test_accuracies() -> None:
    answers, targets = np.array([[1, 2, 2, 3], [1, 1, 0, 0]]), np.array([[1, 2, 1, IGNORED], [1, IGNORED, 0, 0]])
    assert accuracy(answers, targets) == pytest.approx(5 / 6)
    # Classes 0, 1 and 2: 2 of 2, 2 of 3 and 1 of 1. Class 3 is answered where nothing is asked.
    assert macro_accuracy(answers, targets) == pytest.approx((1 + 2 / 3 + 1) / 3)
    # Class 3 is answered once and never asked.
    assert macro_accuracy(np.array([1, 3]), np.array([1, 1])) == pytest.approx((0.5 + 0) / 2)
    of_batches = [macro_accuracy(answers[:1], targets[:1]), macro_accuracy(answers[1:], targets[1:])]
    assert macro_accuracy_of_batches(answers, targets, 1) == pytest.approx(np.mean(of_batches))


def test_first_weights_are_pytorchs_own_in_the_full_protocol() -> None:
    small = project(load_preset("llama-nano"), 64).architecture
    model, encoder = model_for(InContextRecall(), small, True), model_for(Compression(), small, True)
    for one in (model, encoder):
        one.initialise_as_the_paper(0)
    assert isinstance(encoder, AutoEncoder)
    assert model.readout is not None
    assert float(model.stack.embedding.detach().std()) == pytest.approx(0.02, rel=0.05)
    for name, parameter, spec in declared_parameters(model):
        if spec.kind == "matrix":
            linear = nn.Linear(spec.fan_in, 8)
            bound = 1 / math.sqrt(spec.fan_in)
            assert float(linear.weight.detach().abs().max()) <= bound
            assert float(parameter.detach().abs().max()) <= bound, name
            assert float(parameter.detach().std()) == pytest.approx(bound / math.sqrt(3), rel=0.1), name
    for name, parameter, spec in declared_parameters(encoder):
        if spec.kind == "matrix":
            assert float(parameter.detach().std()) == pytest.approx(0.02, rel=0.1), name


def test_the_auto_encoder_reads_the_last_vector_alone() -> None:
    model = AutoEncoder(SMALL, has_readout=True, length=8)
    model.initialise(0, DEFAULT)
    tokens = torch.arange(8)[None]
    with torch.no_grad():
        before, _ = model(tokens)
        # A readout of the tokens' own vectors would differ where they differ; positions alone tell its answers apart.
        last_BD = model.stack.advance(model.stack.embed(tokens))[0][:, -1]
        x = model.norm(last_BD[:, None] + model.positions_TD)
        x = model.middle_norm(nn.functional.gelu(model.first(x)))
        again = model.logits(model.last_norm(nn.functional.gelu(model.second(x))))
    assert torch.equal(before, again)
    assert before.shape == (1, 8, 16)
    assert torch.allclose(sinusoids(4, 8)[:, 0], torch.arange(4.0).sin())
    assert torch.allclose(sinusoids(4, 8)[:, -1], (torch.arange(4.0) / 10_000).cos())


def test_nothing_is_learnt_where_nothing_is_asked() -> None:
    model = MadModel(SMALL, has_readout=False)
    model.initialise(0, DEFAULT)
    learning = Learning(model, torch.optim.SGD(model.parameters(), lr=0.1), "fp32")
    tokens = np.arange(16).reshape(2, 8)
    targets = np.full_like(tokens, IGNORED)
    targets[0, 3] = 5
    logits, _ = model(torch.from_numpy(tokens))
    assert learning.step(Examples(tokens, targets)) == pytest.approx(-logits[0, 3].log_softmax(-1)[5].item(), rel=1e-5)
    with pytest.raises(Diverged, match="the loss is nan"):
        learning.step(Examples(tokens, np.full_like(tokens, IGNORED)))


def test_a_run_of_the_full_protocol() -> None:
    run = full_protocol(["memorisation"])[5]
    assert (run.key, run.steps) == ("memorisation-00-lr0.001-wd0.1", 400)
    small = project(load_preset("llama-nano"), run.task.vocab_size).architecture
    result = run_full(small, run, "fp32", CPU, epochs=1)
    assert (result.epochs, result.steps) == (1, 2)
    # Before anything is learnt the values are as likely as each other.
    assert result.test_accuracy < 0.1
    assert result.loss == pytest.approx(math.log(256), rel=0.15)


def test_a_candidate_that_diverges_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(*arguments: object) -> None:
        raise Diverged("the loss is inf")

    monkeypatch.setattr("harmony_core.evaluation.mad_task.run_quick", diverge)
    payload = {
        "architecture": SMALL.to_json(),
        "mad": MadConfig(trained="projection").model_dump(mode="json"),
        "row": {"seed": 1, "precision": "fp32"},
    }
    (row,) = run_task(payload)["rows"]
    assert (row["status"], row["error"]) == ("diverged", "in_context_recall: the loss is inf")
    assert row["mad_score"] is None
    assert row["trained"] == "2x(mha-mlp) for mha-mlp"


def test_a_candidate_without_a_projection_is_a_row() -> None:
    payload = {
        "architecture": SMALL.replace(blocks=SMALL.blocks[1:]).to_json(),
        "mad": MadConfig(trained="projection").model_dump(mode="json"),
        "row": {"seed": 1, "precision": "fp32"},
    }
    (row,) = run_task(payload)["rows"]
    assert (row["status"], row["mad_score"], row["trained"]) == ("invalid", None, "")
    assert row["error"] == "architecture: mlp: it has no token mixer to project; train the stack"


def test_promotion_has_a_seed_of_its_own(prepared: Callable[..., OpenedSearch]) -> None:
    setting = prepared()
    row = {"generation": None, "candidate": 0, "architecture_id": SMALL.id, "architecture": SMALL.to_json()}
    shard = Shard(setting, [row], None, 0)
    seeds = [one.tasks(shard)[0].payload["row"]["seed"] for one in (Mad(), Mad().of_promotion(setting))]
    assert seeds == [init_seed(setting.config.search.seed, stage, 0) for stage in ("search", "promotion")]
    assert seeds[0] != seeds[1]


def test_what_ends_a_training_is_a_status_and_a_mistake_of_the_code_is_none() -> None:
    assert failure(Diverged("the loss is nan")) == {"status": "diverged", "error": "the loss is nan"}
    assert failure(MemoryError()) == {"status": "out_of_memory", "error": "MemoryError"}
    told = failure(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nand a page of advice"))
    assert told == {"status": "out_of_memory", "error": "CUDA out of memory. Tried to allocate 2 GiB"}
    with pytest.raises(RuntimeError, match="shapes"):
        failure(RuntimeError("shapes do not match"))
