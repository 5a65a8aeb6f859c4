from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.progress.searches import MadeUpSearch


@pytest.fixture
def search(tmp_path: Path) -> Iterator[MadeUpSearch]:
    """A search that is prepared, and has no generation yet."""
    made = MadeUpSearch(tmp_path)
    made.prepare()
    yield made
    made.end()
