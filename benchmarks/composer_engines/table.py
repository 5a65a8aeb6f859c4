"""The truth: every design of one to six blocks of two primitives, trained on three seeds."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from benchmarks.common import RESULTS, ROOT
from benchmarks.trainings import Row, Training, run_trainings
from harmony_core.architecture import Architecture
from harmony_core.search.config import Config
from harmony_core.space import Space
from harmony_core.space.enumeration import every_architecture
from harmony_core.training.recipe import Recipe
from harmony_core.workers import Pool

SPACE, SEEDS = "composer", (0, 1, 2)
JOURNAL = RESULTS / "composer_engines.jsonl"
_STEP, _STEPS = 4 * 128, 128
# The table's first 275 trainings took 1,320 core-seconds on a busy AMD EPYC with AVX-512, 5.1 blocks in the mean.
SECONDS_A_BLOCK = 0.94
_LETTERS = {"gqa": "A", "mlp": "M"}

Losses = dict[str, tuple[float, ...]]


def designs(vocab_size: int) -> dict[str, Architecture]:
    """All 126 of them by a letter a block, `AMAMMM`, in the order of the space."""
    return {letters(one): one for one in every_architecture(Space.read(SPACE), vocab_size)}


def letters(architecture: Architecture) -> str:
    """A for attention and M for a feed-forward, from the embedding to the head."""
    return "".join(_LETTERS[block.kind] for block in architecture.blocks)


def recipe() -> Recipe:
    """The demo's, with the pilot's parametrisation and rate, of fewer and smaller steps; fp32, for every CPU alike."""
    demo = Config.from_yaml(ROOT / "config" / "nano.yaml").recipe
    changes = {
        "tokens": _STEPS * _STEP,
        "batch_size": 4,
        "sequence_length": 128,
        "warmup_tokens": _STEPS * _STEP // 8,
        "validation_tokens": 16_384,
        "precision": "fp32",
    }
    return Recipe.parse({**demo.model_dump(), **changes})


def trainings(vocab_size: int) -> list[Training]:
    """One a design and seed; named by its seed first, so that what an interruption leaves is whole seeds."""
    found = designs(vocab_size).items()
    return [
        Training(f"{seed}.{name}", architecture, recipe(), seed, {"design": name, "seed": seed})
        for seed in SEEDS
        for name, architecture in found
    ]


def train(pool: Pool, vocab_size: int, data: Path, journal: Path = JOURNAL) -> list[Row]:
    """Every row of the table; those that the journal holds are not trained again.

    Args:
        pool: where.
        vocab_size: the tokenizer's.
        data: folder of prepared data.
        journal: what is done is read from here, and written here.
    """
    return run_trainings(pool, trainings(vocab_size), data, journal)


def losses(rows: Iterable[Row]) -> Losses:
    """Validation bits per byte by design, one a seed in order; infinite where a training failed."""
    found: dict[str, dict[int, float]] = {}
    for row in rows:
        bits = row["val_bits_per_byte"]
        found.setdefault(row["design"], {})[row["seed"]] = float("inf") if bits is None else bits
    return {name: tuple(of[seed] for seed in sorted(of)) for name, of in found.items()}


def plan() -> str:
    """What the table costs, in a line."""
    counts = [len(name) for name in designs(2)]
    num_trainings, seconds = len(counts) * len(SEEDS), SECONDS_A_BLOCK * sum(counts) * len(SEEDS)
    return (
        f"{len(counts)} designs x {len(SEEDS)} seeds = {num_trainings} trainings of {recipe().tokens:,} tokens, about "
        f"{seconds / num_trainings:.1f} core-seconds each, {seconds / 60:.0f} core-minutes in all"
    )
