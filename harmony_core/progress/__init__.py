"""How far a search is, read from its files alone, whoever runs it and wherever. Imports no torch."""

from harmony_core.progress.generation import Failure, GenerationProgress
from harmony_core.progress.pace import Pace
from harmony_core.progress.search import ProgressReader, SearchProgress
from harmony_core.progress.under_way import UnderWay
from harmony_core.progress.waiting import note_waiting, read_waiting

__all__ = [
    "Failure",
    "GenerationProgress",
    "Pace",
    "ProgressReader",
    "SearchProgress",
    "UnderWay",
    "note_waiting",
    "read_waiting",
]
