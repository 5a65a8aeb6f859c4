"""The one trainer: it learns, repeats itself bit by bit, equals a plain loop, and ends every way it can end."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from harmony_core.architecture import Architecture
from harmony_core.data import TokenDataset
from harmony_core.machines import Layout
from harmony_core.models import build
from harmony_core.training import learner, trainer
from harmony_core.training.checkpoint import Piece
from harmony_core.training.curve import CurvePoint
from harmony_core.training.engine import DataEngine, PlainEngine
from harmony_core.training.recipe import Recipe
from harmony_core.training.rendezvous import World, start
from harmony_core.training.result import TrainingResult
from harmony_core.training.resume import Checkpointing, CheckpointPolicy, Identity
from harmony_core.training.schedule import learning_rate_factor
from harmony_core.training.status import DivergenceRule, Status

torch.set_num_threads(1)

GQA = {"kind": "gqa", "num_heads": 2, "num_kv_heads": 1, "head_dim": 16}
MOE = {"kind": "moe", "n_routed": 4, "top_k": 2, "d_expert": 16, "n_shared": 1}
MAMBA2 = {"kind": "mamba2", "d_state": 8, "head_dim": 16, "chunk_size": 16}
RECIPE = {"tokens": 12 * 256, "batch_size": 4, "sequence_length": 64, "precision": "fp32", "validation_tokens": 512}


def architecture(*blocks: dict[str, object], vocab_size: int = 257) -> Architecture:
    return Architecture.parse({"d_model": 32, "vocab_size": vocab_size, "blocks": list(blocks)})


def run(data: Path, arch: Architecture, recipe: dict[str, object] | None = None, **options: object):
    seeds = {"init_seed": 1, "data_seed": 2} | {k: options.pop(k) for k in ("init_seed", "data_seed") if k in options}
    splits = options.pop("splits", ("validation",))
    conduct = trainer.Conduct(**options)
    return trainer.train(
        arch, Recipe.parse({**RECIPE, **(recipe or {})}), data, **seeds, splits=splits, conduct=conduct
    )


HYBRID = architecture(GQA, MOE, MAMBA2, {"kind": "mlp", "d_ff": 64})


def test_it_learns_and_reports_bits_per_byte(data: Path) -> None:
    result = run(data, HYBRID, {"tokens": 40 * 256})
    assert result.status is Status.OK
    assert result.curve[-1].train_loss < result.curve[0].train_loss - 0.5
    assert result.val_loss is not None
    assert result.val_bits_per_byte == pytest.approx(result.val_loss / math.log(2), rel=0.02)
    assert result.test_loss is None
    assert result.tokens == 40 * 256
    assert result.peak_memory_bytes > 1e6


def test_two_runs_are_bit_equal(data: Path) -> None:
    first, second = (run(data, HYBRID) for _ in range(2))
    assert [p.train_loss for p in first.curve] == [p.train_loss for p in second.curve]
    assert first.val_loss == second.val_loss


def test_seeds_change_the_run(data: Path) -> None:
    base = run(data, HYBRID)
    assert run(data, HYBRID, init_seed=5).curve[0].train_loss != base.curve[0].train_loss
    assert run(data, HYBRID, data_seed=5).curve[0].train_loss != base.curve[0].train_loss


def test_it_equals_a_plain_loop(data: Path) -> None:
    recipe = Recipe.parse(RECIPE)
    model = build(HYBRID, init_seed=1)
    groups = model.parameter_groups(recipe.learning_rate, recipe.weight_decay, "none", recipe.base_width)
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.95), eps=1e-8)
    peaks = [group["lr"] for group in optimizer.param_groups]
    tokens = TokenDataset(data, "train")
    losses = []
    for step in range(recipe.num_steps):
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * learning_rate_factor(recipe, step)
        batch = torch.from_numpy(tokens.batch(step, 4, 64, 2))
        optimizer.zero_grad()
        terms = model.loss(batch[:, :-1], batch[:, 1:])
        (terms.cross_entropy + terms.auxiliary).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        model.after_step()
        losses.append(terms.cross_entropy.item())
    assert [p.train_loss for p in run(data, HYBRID).curve] == pytest.approx(losses, rel=1e-5)


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_one_process_trains_without_an_engine_to_the_same_bits(
    data: Path, monkeypatch: pytest.MonkeyPatch, precision: str, parts: int
) -> None:
    recipe, layout = {"precision": precision}, Layout(micro_batch_size=4 // parts)
    assert isinstance(learner.Learner(HYBRID, Recipe.parse(RECIPE), 1, torch.device("cpu"))._engine, PlainEngine)
    # ZeRO of one process has nothing to spread.
    plain = run(data, HYBRID, recipe, layout=layout.model_copy(update={"zero_stage": parts - 1}))
    monkeypatch.setattr(learner, "PlainEngine", DataEngine)
    engine = run(data, HYBRID, recipe, layout=layout)
    assert [(p.train_loss, p.gradient_norm) for p in plain.curve] == [
        (p.train_loss, p.gradient_norm) for p in engine.curve
    ]
    assert (plain.val_loss, plain.router_loss) == (engine.val_loss, engine.router_loss)


def test_micro_batches_change_nothing_but_rounding(data: Path) -> None:
    dense = architecture(GQA, {"kind": "mlp", "d_ff": 64})
    whole = [p.train_loss for p in run(data, dense).curve]
    parts = [p.train_loss for p in run(data, dense, layout=Layout(micro_batch_size=1)).curve]
    assert parts == pytest.approx(whole, rel=1e-5)


def test_bf16_is_close_to_fp32(data: Path) -> None:
    fp32, bf16 = (run(data, HYBRID, {"precision": p}).val_loss for p in ("fp32", "bf16"))
    assert bf16 == pytest.approx(fp32, rel=0.02)
    assert bf16 != fp32


def test_all_that_is_told_of_the_steps_survives_them(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, judged = CheckpointPolicy(tmp_path / "checkpoints"), []
    monkeypatch.setattr(DivergenceRule, "verdict", lambda _, step, *__: judged.append(step))
    whole, evaluated_again = (run(data, HYBRID, checkpoints=policy) for _ in range(2))
    assert judged == 2 * list(range(12))
    assert whole.router_loss
    for name in ("router_loss", "train_loss", "val_loss", "steps", "tokens", "seconds", "curve"):
        assert getattr(evaluated_again, name) == getattr(whole, name), name


def test_the_best_checkpoint_is_that_of_the_lowest_loss_since_the_one_before(tmp_path: Path) -> None:
    start(World())
    identity = Identity(HYBRID, Recipe.parse(RECIPE), 1, 2, "tokens")
    learner = SimpleNamespace(state=SimpleNamespace(pieces=lambda: [Piece("weights/a", 0, 1, torch.zeros(1))]))
    curve = [CurvePoint(step, 64 * step, loss, 1e-3, 1.0, 0.1) for step, loss in enumerate((3, 3, 1, 1, 2, 2, 3, 3))]
    for steps in (2, 4, 6, 8):
        # Each in a run of its own.
        checkpoints = Checkpointing(CheckpointPolicy(tmp_path / "checkpoints", keep_last=1), identity)
        found = checkpoints.find()
        assert (found and found.step) == (steps - 2 or None)
        checkpoints.save(learner, Layout(), TrainingResult(curve=curve[:steps]), wait=True)
    assert sorted(path.name for path in (tmp_path / "checkpoints").glob("step=*")) == ["step=00000004", "step=00000008"]


def test_divergence_is_a_status(data: Path) -> None:
    result = run(data, HYBRID, {"learning_rate": 1.0, "gradient_clip": 0.0, "warmup_tokens": 0, "tokens": 40 * 256})
    assert result.status is Status.DIVERGED
    assert result.error
    assert result.val_loss is None
    assert 0 < result.steps < 40


def test_the_time_limit_is_a_status(data: Path) -> None:
    result = run(data, HYBRID, time_limit_seconds=0.0)
    assert result.status is Status.TIMED_OUT
    assert "time limit" in (result.error or "")


def test_running_out_of_memory_is_a_status(data: Path) -> None:
    huge = architecture({"kind": "mlp", "d_ff": 2**44})
    result = run(data, huge)
    assert result.status is Status.OUT_OF_MEMORY


def test_another_vocabulary_is_refused(data: Path) -> None:
    with pytest.raises(ValueError, match="vocab_size 300"):
        run(data, architecture(GQA, vocab_size=300))


def test_mistakes_in_the_code_are_not_swallowed(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> str:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(DivergenceRule, "verdict", broken)
    with pytest.raises(RuntimeError, match="a mistake"):
        run(data, HYBRID)


def test_no_operation_of_deepspeed_is_compiled(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    monkeypatch.setattr(learner, "PlainEngine", DataEngine)
    assert run(data, HYBRID).status is Status.OK
    assert list(tmp_path.iterdir()) == []
