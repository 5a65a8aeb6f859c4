"""After the search: the front and the baselines, trained on fresh seeds and read on the test split."""

from __future__ import annotations

from typing import Any

import polars as pl

from harmony_core.architecture import Architecture
from harmony_core.architecture.presets import load_preset, with_vocab
from harmony_core.evaluation.latency_shard import benchmark_shard
from harmony_core.evaluation.launcher import Launcher
from harmony_core.evaluation.setting import Setting
from harmony_core.evaluation.training_shard import Report, train_shard
from harmony_core.evolution.budget import Allowance, promotion_allowance
from harmony_core.store import pareto_front, population_row, schemas, write_table


def promote(setting: Setting, report_training: Report, report_latency: Report, launcher: Launcher) -> Allowance:
    """Writes `promoted/`: population, ledger, training (test split included), curves, latency, and last checkpoints.

    The members of the front are its `promote.top_k` best by validation bits per byte. Front and
    baselines share the recipe and the seeds. Where the budget does not pay for all, the front comes first;
    the ledger and the answer say why.
    """
    config = setting.config
    recipe = config.promotion_recipe().model_copy(update={"precision": setting.precision})
    members = _members(setting)
    allowance = promotion_allowance(setting.folder, len(members))
    population = [_row(setting, index, *member) for index, member in enumerate(members[: allowance.paid])]
    if not population:
        # Nobody for an allocation's teams to wait for.
        launcher = Launcher()
    write_table(setting.folder.ledger(None), _ledger(setting, allowance), schemas.LEDGER)
    write_table(setting.folder.population(None), population, schemas.POPULATION)
    train_shard(
        setting,
        population,
        None,
        0,
        report=report_training,
        launcher=launcher,
        recipe=recipe,
        replicates=range(config.promote.replicates),
        splits=("validation", "test"),
        keep_weights=config.promote.keep_weights,
    )
    benchmark_shard(setting, population, None, 0, report=report_latency, launcher=launcher)
    return allowance


def _members(setting: Setting) -> list[tuple[Architecture, str, str | None]]:
    """Architecture, role and preset name of everything that is promoted, each architecture once."""
    front = pareto_front(setting.folder).sort("val_bits_per_byte").head(setting.config.promote.top_k)
    texts = front.select(pl.col("architecture")).collect()["architecture"]
    vocab_size = setting.manifest.data["vocab_size"]
    presets = {name: with_vocab(load_preset(name), vocab_size) for name in setting.config.promote.baselines}
    found = [Architecture.from_json(text) for text in texts]
    # A search may find a preset, or begin with it.
    known = {preset.id for preset in presets.values()}
    members: list[tuple[Architecture, str, str | None]] = [(one, "front", None) for one in found if one.id not in known]
    return members + [(preset, "baseline", name) for name, preset in presets.items()]


def _ledger(setting: Setting, allowance: Allowance) -> list[dict[str, Any]]:
    left_out = allowance.wanted - allowance.paid
    row = {"search": setting.folder.name, "generation": None, "stage": "propose", "reason": allowance.reason}
    return [{**row, "count": left_out}] if left_out else []


def _row(setting: Setting, index: int, architecture: Architecture, role: str, name: str | None) -> dict[str, Any]:
    return population_row(
        architecture,
        search=setting.folder.name,
        generation=None,
        candidate=index,
        sequence_length=setting.recipe.sequence_length,
        origin="preset" if role == "baseline" else "sample",
        operator=f"preset {name}" if role == "baseline" else "promoted from the front",
        parents=() if role == "baseline" else (architecture.id,),
        role=role,
        name=name,
    )
