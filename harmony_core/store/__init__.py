"""A search on disk: schemas, atomic files, manifest, journal, lazy queries. Imports no torch."""

from harmony_core.atomic import atomic_write
from harmony_core.store.candidates import measured
from harmony_core.store.folder import SearchFolder
from harmony_core.store.journal import Journal
from harmony_core.store.manifest import Manifest, check_unchanged, read_manifest, write_manifest
from harmony_core.store.queries import curves, latency, ledger, population, selection, training
from harmony_core.store.rows import population_row
from harmony_core.store.schemas import CURVES, LATENCY, LEDGER, POPULATION, SELECTION, TRAINING
from harmony_core.store.table import read_table, write_table
from harmony_core.store.views import front, leaderboard, lineage, pareto_front, promoted_results, reference_latency

__all__ = [
    "CURVES",
    "LATENCY",
    "LEDGER",
    "POPULATION",
    "SELECTION",
    "TRAINING",
    "Journal",
    "Manifest",
    "SearchFolder",
    "atomic_write",
    "check_unchanged",
    "curves",
    "front",
    "latency",
    "leaderboard",
    "ledger",
    "lineage",
    "measured",
    "pareto_front",
    "population",
    "population_row",
    "promoted_results",
    "read_manifest",
    "read_table",
    "reference_latency",
    "selection",
    "training",
    "write_manifest",
    "write_table",
]
