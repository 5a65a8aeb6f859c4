"""Exported code is copied to a cache before it is imported: one of the run's own, not the user's."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True, scope="session")
def _modules(modules_cache: None) -> None:
    """For all tests of this room."""
