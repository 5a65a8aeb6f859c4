"""One training by hand, kept like a search: a manifest, one generation of one candidate, its rows and curve."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harmony_core.architecture import Architecture
from harmony_core.architecture.presets import with_vocab
from harmony_core.base import Frozen
from harmony_core.errors import UserError
from harmony_core.evaluation.config import TENSORBOARD
from harmony_core.evaluation.prepare import settle_search
from harmony_core.evaluation.seeds import data_seed, init_seed
from harmony_core.evaluation.tensorboard import log_curves
from harmony_core.evaluation.training_rows import answers, keys_of_curves
from harmony_core.host import host_name
from harmony_core.machines import Layout
from harmony_core.search.config import Config
from harmony_core.search.opened import OpenedSearch
from harmony_core.store import Journal, SearchFolder, atomic_write, population_row, read_table, schemas, write_table
from harmony_core.training.recipe import Recipe
from harmony_core.training.result import TrainingResult

_GENERATION = _SHARD = _CANDIDATE = 0
# This file says that a folder was made here, and so may be emptied here.
_MARK = "train.json"
_KEPT = ("lease", "ranks")
_JOURNAL = "journal.jsonl"
_CHECKPOINTS = "checkpoints"


class TrainingOrder(Frozen):
    """What every rank must know to train, settled by one of them.

    Args:
        architecture: its JSON.
        recipe: with its precision resolved.
        data: folder of the prepared data.
        checkpoints: folder of the checkpoints.
        init_seed: seed of the weights.
        data_seed: seed of the data order.
        ended: the status that it ended with before; None if it has not.
    """

    architecture: str
    recipe: Recipe
    data: str
    checkpoints: str
    init_seed: int
    data_seed: int
    ended: str | None


class SingleRun:
    """The folder of one training.

    Args:
        setting: its manifest and configuration.
        row: of the population file.
    """

    def __init__(self, setting: OpenedSearch, row: dict[str, Any]) -> None:
        self._setting, self._row = setting, row
        self._work = setting.work("training", _GENERATION, _SHARD)
        self._begun, self._since = datetime.now(UTC), time.monotonic()
        records = Journal(self._work / _JOURNAL).records()
        left = [record["device_seconds"] for record in records if record["event"] == "interruption"]
        # An attempt that began and did not say that it left has died.
        self._attempt = 1 + sum(record["event"] == "begin" for record in records) - len(left)
        self._device_seconds = sum(left)

    @classmethod
    def open(
        cls, path: Path, architecture: Architecture, file: str, config: Config, log: Callable[[str], None]
    ) -> SingleRun:
        """Prepares the data and makes the folder, or finds it as it was left.

        Args:
            path: the folder, `results/NAME`.
            architecture: what is trained; takes over the data's vocabulary.
            file: where it is from, for people.
            config: of `run_config`.
            log: told what is done.

        Raises:
            UserError: the folder holds something else: a search, another architecture, recipe or data.
        """
        folder = SearchFolder(path)
        if folder.manifest.exists() and not folder.work(_MARK).exists():
            raise UserError("out", path, "this is a search's folder; name another one")
        # The mark is written first: `clear` may delete whatever bears it.
        atomic_write(folder.work(_MARK), json.dumps({"file": file}).encode() + b"\n")
        manifest = settle_search(config, folder, log)
        # The layout may change between starts; the manifest does not.
        atomic_write(folder.config, config.resolved().model_dump_json().encode())
        trained = with_vocab(architecture, manifest.data["vocab_size"])
        if trained.vocab_size != architecture.vocab_size:
            log(
                f"vocabulary: the data's {trained.vocab_size} tokens instead of the {architecture.vocab_size} in {file}"
            )
        row = _row(folder, trained, file, config.recipe.sequence_length)
        setting = OpenedSearch.open(path)
        setting.check_data(("train", "validation"))
        return cls(setting, row)

    @property
    def order(self) -> TrainingOrder:
        """What every rank must know."""
        seed = self._setting.config.search.seed
        return TrainingOrder(
            architecture=self._row["architecture"],
            recipe=self._setting.recipe,
            data=str(self._setting.data_folder),
            checkpoints=str(self._work / _CHECKPOINTS),
            init_seed=init_seed(seed, "search", 0),
            data_seed=data_seed(seed, "search", 0),
            ended=self._ended(),
        )

    @property
    def results(self) -> Path:
        """The file of the training row, written last."""
        return self._setting.folder.shard(_GENERATION, "training", _SHARD)

    def _ended(self) -> str | None:
        if not self.results.exists():
            return None
        status: str = read_table(self.results, schemas.TRAINING).sort("rung")["status"][-1]
        return status

    def begin(self) -> None:
        """Records an attempt, which counts until it is recorded as interrupted."""
        self._record("begin")

    def interrupted(self, processes: int) -> None:
        """Records that the attempt was told to leave, and what `processes` devices did until then."""
        self._record("interruption", device_seconds=(time.monotonic() - self._since) * processes)

    def write(self, result: TrainingResult, layout: Layout) -> dict[str, Any]:
        """Writes the curve and the training row of every rung; returns the last one's row."""
        recipe, data = self._setting.recipe, self._setting.manifest.data
        architecture, order = Architecture.from_json(self._row["architecture"]), self.order
        began = result.first_step_at
        known = {
            **{name: self._row[name] for name in ("search", "generation", "candidate", "architecture_id")},
            "shard": _SHARD,
            "recipe_id": recipe.id(data["checksum"]),
            "layout": json.dumps(layout.model_dump()),
            "precision": recipe.precision,
            "init_seed": order.init_seed,
            "data_seed": order.data_seed,
            "replicate": 0,
            "rate": 0,
            "attempt": self._attempt,
            "learning_rate": recipe.peak_learning_rate,
            "lr_scaling": recipe.lr_scaling,
            "start_seconds": None if began is None else began - self._since,
            "device_seconds": 0.0,
            "host": host_name(),
            "data_checksum": data["checksum"],
            "tokenizer_checksum": data["tokenizer_checksum"],
            "started_at": self._begun,
        }
        rungs = answers(known, result, architecture.flops_per_token(recipe.sequence_length, "train"))
        row: dict[str, Any] = rungs[-1]["row"]
        row["device_seconds"] = self._device_seconds + (time.monotonic() - self._since) * layout.num_processes
        curves = [{**keys_of_curves(one["row"]), **point} for one in rungs for point in one["curve"]]
        write_table(self._setting.folder.shard(_GENERATION, "curves", _SHARD), curves, schemas.CURVES)
        rows = [one["row"] for one in rungs]
        write_table(self.results, rows, schemas.TRAINING)
        if TENSORBOARD in self._setting.config.log.to:
            log_curves(self._setting.folder, _GENERATION, rows, curves)
        return row

    def _record(self, event: str, **facts: float) -> None:
        with Journal(self._work / _JOURNAL) as journal:
            journal.append({"event": event, **facts})


def checkpoints_of(path: Path) -> Path | None:
    """The folder of a run's checkpoints; None if `path` is no run's folder."""
    folder = SearchFolder(path)
    if not folder.work(_MARK).exists():
        return None
    return OpenedSearch.open(path).work("training", _GENERATION, _SHARD) / _CHECKPOINTS


def clear(path: Path) -> None:
    """Deletes a run with its checkpoints, so that it begins anew; its lease and the ranks' logs stay.

    Raises:
        UserError: the folder holds something else.
    """
    folder = SearchFolder(path)
    if (folder.manifest.exists() or folder.main.exists()) and not folder.work(_MARK).exists():
        raise UserError("out", path, "this is a search's folder; name another one")
    for found in [folder.manifest, folder.data, folder.generation(_GENERATION), *folder.work().glob("*")]:
        if found.is_dir() and found.name not in _KEPT:
            shutil.rmtree(found)
        elif not found.is_dir():
            found.unlink(missing_ok=True)


def _row(folder: SearchFolder, architecture: Architecture, file: str, sequence_length: int) -> dict[str, Any]:
    """The population row of the folder, written where there is none."""
    path = folder.population(_GENERATION)
    if not path.exists():
        row = population_row(
            architecture,
            search=folder.name,
            generation=_GENERATION,
            candidate=_CANDIDATE,
            sequence_length=sequence_length,
            origin="preset",
            operator=f"given as {file}",
            name=Path(file).stem,
        )
        write_table(path, [row], schemas.POPULATION)
    (row,) = read_table(path, schemas.POPULATION).to_dicts()
    if row["architecture_id"] != architecture.id:
        fix = f"the folder holds {row['architecture_id']} ({row['operator']}); use another --out, or --fresh"
        raise UserError("out", f"{folder.path} for {architecture.id}", fix)
    return row
