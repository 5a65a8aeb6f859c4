"""Who is bred and who survives: objectives, algorithms, the two steps of a generation. Imports no torch."""

from harmony_core.evolution.registry import AlgorithmConfig
from harmony_core.search.objective import Objective

__all__ = ["AlgorithmConfig", "Objective"]
