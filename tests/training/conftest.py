"""A small synthetic corpus, prepared once."""

from __future__ import annotations

from pathlib import Path

import pytest

from harmony_core.data import prepare
from harmony_core.data.config import DataConfig


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    manifest = prepare(DataConfig(source="synthetic", max_bytes=60_000), root, lambda line: None)
    return root / manifest.id
