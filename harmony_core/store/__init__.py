"""A search on disk: schemas, atomic files, manifest, journal, lazy queries. Imports no torch."""

from harmony_core.atomic import atomic_write
from harmony_core.store.evaluators import best_runs
from harmony_core.store.folder import SearchFolder
from harmony_core.store.journal import Journal
from harmony_core.store.manifest import Manifest, check_unchanged, read_manifest, write_manifest
from harmony_core.store.queries import curves, latency, ledger, population, results, selection, training
from harmony_core.store.rows import population_row
from harmony_core.store.run import Run
from harmony_core.store.schemas import CURVES, LATENCY, LEDGER, POPULATION, SELECTION, TRAINING, with_metrics
from harmony_core.store.stages import Stage, missing, missing_lines, stages
from harmony_core.store.table import read_table, write_table

__all__ = [
    "CURVES",
    "LATENCY",
    "LEDGER",
    "POPULATION",
    "SELECTION",
    "TRAINING",
    "Journal",
    "Manifest",
    "Run",
    "SearchFolder",
    "Stage",
    "atomic_write",
    "best_runs",
    "check_unchanged",
    "curves",
    "latency",
    "ledger",
    "missing",
    "missing_lines",
    "population",
    "population_row",
    "read_manifest",
    "read_table",
    "results",
    "selection",
    "stages",
    "training",
    "with_metrics",
    "write_manifest",
    "write_table",
]
