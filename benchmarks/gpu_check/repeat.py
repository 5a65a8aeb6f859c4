"""A training done twice, and one that was interrupted and resumed: equal to the bit, or how far apart."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.gpu_check.row import attempted
from benchmarks.gpu_check.settings import SEED, Before, Row, Setting
from harmony_core.architecture.presets import load_preset, with_vocab
from harmony_core.data import DataConfig, DataManifest, prepare
from harmony_core.training.recipe import Recipe
from harmony_core.training.resume import CheckpointPolicy
from harmony_core.training.trainer import Conduct, TrainingInterrupted, train

# The last is slow to begin where mamba-ssm is.
_PRESETS = ("llama-nano", "mixtral-nano", "kimi-linear-nano", "stripedhyena-2-nano", "mamba-2-nano")


def rows(setting: Setting, before: Before) -> Iterator[Row]:
    """A row a preset and mode: largest relative difference of the losses of any step, of repeated and resumed."""
    # Read by cuBLAS when it starts, which one process does once: both modes have it.
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    with tempfile.TemporaryDirectory() as folder:
        data = prepared(Path(folder) / "data", setting)
        # What the mode has pinned stays so: its trainings come last.
        for deterministic in (False, True):
            for preset in setting.choose(_PRESETS, _PRESETS[:1]):
                identity = {"preset": preset, "deterministic": deterministic}
                work = Path(folder) / f"{preset}-{deterministic}"
                yield attempted(identity, _compared, preset, deterministic, data, work, setting)


def prepared(root: Path, setting: Setting) -> Path:
    """The folder of generated text in bytes, which needs no network."""
    config = DataConfig(source="synthetic", max_bytes=setting.choose(1_000_000, 20_000), seed=SEED)
    manifest: DataManifest = prepare(config, root, log=lambda line: None)
    return root / manifest.id


def recipe_of(setting: Setting, steps: int) -> Recipe:
    """So many steps of a nano candidate, in the precision that a search would resolve to."""
    batch_size, length = setting.choose((16, 256), (2, 32))
    return Recipe(
        tokens=steps * batch_size * length,
        batch_size=batch_size,
        sequence_length=length,
        validation_tokens=batch_size * length,
        precision=setting.choose("bf16", "fp32"),
    )


def _compared(preset: str, deterministic: bool, data: Path, work: Path, setting: Setting) -> Row:
    steps = setting.choose(24, 4)
    recipe = recipe_of(setting, steps).model_copy(update={"deterministic": deterministic})
    vocab_size = DataManifest.load(data).vocab_size
    architecture = with_vocab(load_preset(preset), vocab_size)

    def losses(conduct: Conduct | None = None) -> list[float]:
        result = train(architecture, recipe, data, init_seed=SEED, data_seed=SEED, conduct=conduct)
        return [*(point.train_loss for point in result.curve), result.val_loss or float("nan")]

    first = losses()
    repeated, resumed = losses(), _resumed(losses, work, steps // 2)
    return {"steps": steps, **_difference("repeated", first, repeated), **_difference("resumed", first, resumed)}


def _resumed(losses: Callable[[Conduct | None], list[float]], folder: Path, stop_at: int) -> list[float]:
    """The losses of a training that was told to stop, and begun again."""
    asked = iter(range(stop_at))
    policy = CheckpointPolicy(folder)
    try:
        losses(Conduct(checkpoints=policy, stop=lambda: next(asked, None) is None))
    except TrainingInterrupted:
        return losses(Conduct(checkpoints=policy))
    raise RuntimeError(f"it was told to stop at step {stop_at}, and did not")


def _difference(what: str, first: Sequence[float], second: Sequence[float]) -> Row:
    worst = max(abs(a - b) / abs(a) for a, b in zip(first, second, strict=True))
    return {f"{what}_equal": list(first) == list(second), f"{what}_difference": float(f"{worst:.2e}")}
