"""Exported code is copied to a cache before it is imported: one of the run's own, not the user's."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from transformers import dynamic_module_utils


@pytest.fixture(autouse=True, scope="session")
def modules_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = str(tmp_path_factory.mktemp("modules"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", folder)
        yield
    if folder in sys.path:
        sys.path.remove(folder)
