"""A prepared search: synthetic text, predicted latency, no candidate yet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harmony_core.architecture import Architecture
from harmony_core.evaluation.prepare import settle_search
from harmony_core.search.config import Config
from harmony_core.search.opened import OpenedSearch
from harmony_core.store import SearchFolder, population_row

CONFIG = {
    "search": {"name": "small", "population": 4},
    "space": str(Path(__file__).parents[1] / "workflow" / "tiny-space.yaml"),
    "data": {"source": "synthetic", "max_bytes": 60_000},
    "recipe": {
        "tokens": 1024,
        "batch_size": 4,
        "sequence_length": 64,
        "precision": "fp32",
        "validation_tokens": 512,
    },
    "latency": {"source": "predicted:cpu", "batch_size": 2, "context": 64},
}


@pytest.fixture
def prepared(tmp_path: Path) -> Callable[..., OpenedSearch]:
    """Prepares a search with some sections' keys changed."""

    def prepare(**changes: dict[str, Any]) -> OpenedSearch:
        data: dict[str, Any] = {**CONFIG, "execution": {}, "promote": {}}
        for section, values in changes.items():
            data[section] = {**data[section], **values}
        folder = SearchFolder(tmp_path / "results" / "small")
        settle_search(Config.parse(data), folder, lambda line: None)
        return OpenedSearch.open(folder.path)

    return prepare


@pytest.fixture
def candidates() -> Callable[..., list[dict[str, Any]]]:
    """Population rows of architectures with the given blocks."""

    def rows(*stacks: list[dict[str, Any]]) -> list[dict[str, Any]]:
        built = [Architecture.parse({"d_model": 32, "vocab_size": 257, "blocks": stack}) for stack in stacks]
        return [
            population_row(
                architecture,
                search="small",
                generation=0,
                candidate=index,
                sequence_length=64,
                origin="sample",
                operator="given",
            )
            for index, architecture in enumerate(built)
        ]

    return rows
