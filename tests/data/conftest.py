from collections.abc import Callable
from pathlib import Path

import pytest

from harmony_core.data import DataConfig, DataManifest, prepare


def quiet(line: str) -> None:
    """A log that nobody reads."""


@pytest.fixture(scope="session")
def synthetic_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small prepared folder; tests must not change it."""
    root = tmp_path_factory.mktemp("data")
    manifest = prepare(DataConfig(source="synthetic", max_bytes=40_000), root, quiet)
    return root / manifest.id


@pytest.fixture
def prepare_files(tmp_path: Path) -> Callable[..., tuple[Path, DataManifest]]:
    """Prepares text files; returns the folder and its manifest."""

    def make(path: Path, **options: object) -> tuple[Path, DataManifest]:
        config = DataConfig.parse({"source": "files", "paths": (str(path),), **options})
        manifest = prepare(config, tmp_path / "prepared", quiet)
        return tmp_path / "prepared" / manifest.id, manifest

    return make
