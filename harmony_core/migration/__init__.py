"""Searches of older formats, written anew in this one's. Imports no torch."""

from harmony_core.migration.folder import Migrated, migrate

__all__ = ["Migrated", "migrate"]
