"""The made-up searches of the rooms below, which leave the results that are looked at here."""

from tests.evolution.conftest import measure, start
from tests.store.conftest import evaluate, folder, make_row

__all__ = ["evaluate", "folder", "make_row", "measure", "start"]
