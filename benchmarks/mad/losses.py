"""What the sample of part `loss` learns of text: at the demo's tokens, at quick MAD's price, and after 3M tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.common import RESULTS, ROOT
from benchmarks.trainings import Training, held, run_trainings
from harmony_core.architecture import Architecture
from harmony_core.data import prepare
from harmony_core.data.config import DataConfig
from harmony_core.search.config import Config
from harmony_core.training.recipe import Recipe
from harmony_core.workers import Pool

JOURNAL = RESULTS / "mad_losses.jsonl"
TRUNKS = ROOT / "build" / "mad"
# Quick MAD takes about as long as two trainings of the demo's tokens.
TOKENS = {"demo": 196_608, "same price": 2 * 196_608, "target": 3_000_000}
SEED = 0


def recipes() -> dict[str, Recipe]:
    """The demo's in fp32 with each number of tokens, all with one warm-up, so that they share a trunk."""
    demo = Config.from_yaml(ROOT / "config" / "nano.yaml").recipe
    warmup = demo.warmup_steps * demo.batch_size * demo.sequence_length
    shared = {**demo.model_dump(), "precision": "fp32", "warmup_tokens": warmup}
    return {name: Recipe.parse({**shared, "tokens": tokens}) for name, tokens in TOKENS.items()}


def trainings(architectures: Mapping[str, Architecture]) -> dict[str, list[Training]]:
    """By budget, every architecture; longer ones go on from the trunk of the shortest.

    Where that is gone, as in another checkout, from the start: to the same bits, for more time.
    """
    found: dict[str, list[Training]] = {}
    for budget, recipe in recipes().items():
        found[budget] = []
        for label, architecture in architectures.items():
            trunk = TRUNKS / label
            trunk_of = trunk if budget != "demo" and trunk.exists() else None
            found[budget].append(
                Training(
                    f"{budget}.{label}",
                    architecture,
                    recipe,
                    SEED,
                    {"label": label, "budget": budget},
                    trunk=trunk if budget == "demo" else None,
                    trunk_of=trunk_of,
                )
            )
    return found


def run(pool: Pool, architectures: Mapping[str, Architecture], most: int | None = None) -> None:
    """Trains what the journal does not hold, the shortest first.

    Args:
        pool: where.
        architectures: by label.
        most: so many of all alone; None is all.
    """
    data = prepare(DataConfig(fallback=None), ROOT / "data")
    for some in pieces(architectures, most):
        run_trainings(pool, some, ROOT / "data" / data.id, JOURNAL)


def pieces(architectures: Mapping[str, Architecture], most: int | None) -> Iterator[list[Training]]:
    """Arguments as for `run`: the trainings of each budget, asked for when those of the shorter ones have ended."""
    left = most
    for budget in TOKENS:
        some = trainings(architectures)[budget][:left]
        left = None if left is None else left - len(some)
        if some:
            yield some


def bits(architectures: Mapping[str, Architecture], journal: Path = JOURNAL) -> dict[str, dict[str, float]]:
    """By budget and label, validation bits per byte of what is done and ended well.

    Args:
        architectures: by label.
        journal: of `run`.
    """
    return {
        budget: {row["label"]: bits for row in held(some, journal) if (bits := row["val_bits_per_byte"]) is not None}
        for budget, some in trainings(architectures).items()
    }
