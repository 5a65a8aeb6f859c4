"""Starts a search: prepares its data, settles what must not change later, and writes the manifest."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from harmony_core.architecture import Architecture
from harmony_core.architecture.presets import load_preset, with_vocab
from harmony_core.data import DataManifest, prepare
from harmony_core.errors import UserError
from harmony_core.evaluation.reference import reference_latency
from harmony_core.host import cpu_name, host_name, usable_cores, visible_gpus
from harmony_core.metrics import OWN
from harmony_core.metrics.declaration import declarations
from harmony_core.plugins import used
from harmony_core.results.framing import choose_frame
from harmony_core.search.config import Config
from harmony_core.space import Space, sample
from harmony_core.store import Manifest, SearchFolder, check_unchanged, read_manifest, write_manifest
from harmony_core.workers import Lease

_PACKAGES = (
    "harmony-search",
    "torch",
    "deepspeed",
    "snakemake",
    "numpy",
    "polars",
    "pyarrow",
    "pymoo",
    "moocore",
    "tokenizers",
)


def prepare_data(config: Config, folder: SearchFolder, log: Callable[[str], None]) -> DataManifest:
    """Makes the search's data, and checks what can be checked before a machine is asked for.

    Args:
        config: the search's.
        folder: the search's; data of all searches lies beside its parent.
        log: hears in words what is done.

    Raises:
        UserError: an unknown preset, machine or space, an impossible budget, data too short.
    """
    config.check_names()
    data = prepare(config.data, folder.path.parent.parent / "data", log)
    check_long_enough(config, data)
    # An impossible budget shows at the first draw, so one is made before anything is trained.
    sample(Space.read(config.space), data.vocab_size, np.random.default_rng(0))
    return data


def settle_search(config: Config, folder: SearchFolder, log: Callable[[str], None]) -> Manifest:
    """Writes the search's manifest on the machine that its candidates will run on.

    Args:
        config: the search's.
        folder: the search's.
        log: hears in words what is measured.

    Raises:
        UserError: the search exists with another configuration, or as for `prepare_data`.
    """
    config = config.resolved()
    with Lease(folder.work("settle.lease")):
        if folder.manifest.exists():
            manifest = read_manifest(folder.manifest)
            before = Config.parse(manifest.config)
            check_unchanged(folder.name, before.identity(), config.without_more(before).identity())
            return manifest
        # The step before has made the data and said so. This makes them again if their folder is gone.
        data = prepare_data(config, folder, lambda line: None)
        reference = with_vocab(load_preset(config.latency.reference), data.vocab_size)
        manifest = _manifest(config, data, reference, folder, log)
        write_manifest(folder.manifest, manifest)
        return manifest


def check_long_enough(config: Config, data: DataManifest) -> None:
    """Refuses data in which a split has no whole sequence, or one that is evaluated not the two that have a spread."""
    for name, split in data.splits.items():
        needed = config.recipe.sequence_length * (1 if name == "train" else 2) + 1
        if split.tokens < needed:
            fix = f"the {name} split needs {needed} tokens; give more text or lower recipe.sequence_length"
            raise UserError("data", f"{split.tokens} tokens in {name}", fix)


def _manifest(
    config: Config, data: DataManifest, reference: Architecture, folder: SearchFolder, log: Callable[[str], None]
) -> Manifest:
    import torch

    from harmony_core.training.device import device_for_training
    from harmony_core.training.precision import resolve_precision

    device = device_for_training()
    precision = resolve_precision(config.recipe.precision, device)
    log(f"precision: {config.recipe.precision} -> {precision}")
    latency = reference_latency(config, reference, precision, folder)
    frame = choose_frame(config, data.source, latency[config.latency.objective])
    return Manifest(
        config=config.recorded(),
        plugins=[asdict(plugin) for plugin in used()],
        metrics=declarations(name for name in config.search.metrics if name not in OWN),
        config_hash=config.hash,
        seed=config.search.seed,
        precision=precision,
        packages=versions(),
        git_commit=git_commit(),
        data={
            "id": data.id,
            "source": data.source,
            "checksum": data.checksum,
            "tokenizer_checksum": data.tokenizer_checksum,
            "vocab_size": data.vocab_size,
        },
        machine={
            "host": host_name(),
            "cpu": cpu_name(),
            "cores": usable_cores(),
            "gpus": [torch.cuda.get_device_name(index) for index in range(len(visible_gpus()))],
            "system": platform.platform(),
            "python": platform.python_version(),
        },
        hypervolume=None if frame is None else frame.model_dump(mode="json"),
        reference_latency=latency,
        created_at=datetime.now(UTC),
    )


def versions() -> dict[str, str]:
    """The versions of what a result may hang on, by package."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def git_commit() -> str | None:
    """The commit of the checkout that this code runs from, with `+` where it has been changed."""
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment, check=False)

    try:
        commit = git("rev-parse", "HEAD")
    except FileNotFoundError:
        return None
    if commit.returncode != 0:
        return None
    changed = git("status", "--porcelain", "--untracked-files=no").stdout.strip()
    return commit.stdout.strip() + ("+" if changed else "")
