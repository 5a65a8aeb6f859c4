"""What an exported folder tells of its weights: the training's row, its data and recipe, and how to make them again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import yaml

from harmony_core.data import Tokenizer, load_tokenizer
from harmony_core.data.tokenizer import ByteTokenizer, checksum
from harmony_core.errors import UserError
from harmony_core.search.config import Config
from harmony_core.search.opened import OpenedSearch
from harmony_core.search.settings import read_settings
from harmony_core.store import Manifest, Run, SearchFolder, schemas, training

if TYPE_CHECKING:
    from harmony_core.interop.hf.card import Origin

# Of a training row: what came of it, what it took, and what it follows from.
_TOLD = (
    "status",
    *("test_bits_per_byte", "test_bits_per_byte_standard_error", "test_loss"),
    *("val_bits_per_byte", "val_bits_per_byte_standard_error", "val_loss", "train_loss"),
    *("tokens", "steps", "learning_rate", "flops", "seconds", "precision", "device"),
    *("init_seed", "data_seed", "replicate", "rate", "recipe_id", "data_checksum", "tokenizer_checksum"),
)


@dataclass(frozen=True)
class Trained:
    """Which training gave the weights.

    Args:
        folder: of its search, or its own.
        checkpoints: where its weights lie.
        key: columns of its training row, with their values.
        promoted: whether promotion trained it.
    """

    folder: SearchFolder
    checkpoints: Path
    key: dict[str, Any]
    promoted: bool

    def row(self) -> dict[str, Any] | None:
        """Its training row; None while it has not ended."""
        mine = [pl.col(name) == value for name, value in self.key.items()]
        rows = training(self.folder, promoted=self.promoted).filter(*mine).sort("rung").collect()
        # Its weights are those after the last rung.
        return rows.row(-1, named=True) if rows.height else None

    def context(self) -> int:
        """Tokens of the sequences that it was trained on."""
        return read_settings(self.folder)[1].recipe.sequence_length

    def tokenizer(self) -> Tokenizer | None:
        """What its tokens are; None where the data was deleted, and with it a tokenizer that was trained on it.

        Raises:
            UserError: the data is damaged.
        """
        manifest, config = read_settings(self.folder)
        if config.data.tokenizer == "byte":
            return ByteTokenizer()
        folder = OpenedSearch(self.folder, manifest, config).data_folder
        found = load_tokenizer(folder) if folder.exists() else None
        # Prepared anew, the same data may have other words.
        same = found is not None and checksum(found) == manifest.data["tokenizer_checksum"]
        return found if same else None

    def require_tokenizer(self) -> Tokenizer:
        """As `tokenizer`; UserError where it is not there."""
        found = self.tokenizer()
        if found is None:
            name = f"{self.folder.name}/{self.key['architecture_id'][:8]}"
            fix = "put its data back, as the search's configuration names it"
            raise UserError("ID", name, f"its tokenizer is gone with the data that it was trained on; {fix}")
        return found

    def origin(self) -> Origin:
        """What the model card tells of it."""
        from harmony_core.interop.hf.card import Origin

        manifest, config = read_settings(self.folder)
        row = self.row()
        recipe = config.promotion_recipe() if self.promoted else config.recipe
        sections = {"recipe": recipe.model_dump(mode="json"), "data": config.data.model_dump(mode="json")}
        return Origin(
            name=f"{self.folder.name}/{self.key['architecture_id'][:8]}",
            text=_text(manifest, row),
            results=() if row is None else tuple(_results(row)),
            recipe=yaml.safe_dump(sections, sort_keys=False),
            commands=tuple(self._commands(manifest, config)),
        )

    def _commands(self, manifest: Manifest, config: Config) -> list[str]:
        commands = []
        if manifest.git_commit:
            commands.append(f"git checkout {manifest.git_commit}    # HARMONY as it was")
        train = f"harmony train architecture.yaml --recipe recipe.yaml --data recipe.yaml --seed {config.search.seed}"
        if not self.promoted:
            return [*commands, f"{train}    # the two files are below"]
        run = Run(self.key["replicate"], self.key["rate"])
        options = f"--promoted --replicate {run.replicate} --rate {run.rate}"
        again = f"harmony reproduce {self.folder.name}/{self.key['architecture_id']} {options}"
        return [
            *commands,
            f"{again}    # beside the search: every step's loss compared",
            f"{train}    # anywhere, from other seeds; the two files are below",
        ]


def _text(manifest: Manifest, row: dict[str, Any] | None) -> str:
    """What it was trained on, and when."""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(manifest.packages.items()))
    ended = "This is its training row:" if row is not None else "The training has not ended, and has no row yet."
    return f"Text: {manifest.data['source']}. Versions: {versions}. {ended}"


def _results(row: dict[str, Any]) -> list[tuple[str, str, str]]:
    told = [(name, row[name]) for name in _TOLD if row.get(name) is not None]
    units = {name: (schemas.TRAINING.field(name).metadata or {}).get(b"unit", b"").decode() for name, _ in told}
    return [(name, f"{value:.6g}" if isinstance(value, float) else str(value), units[name]) for name, value in told]
