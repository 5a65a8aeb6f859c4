"""Who is bred and who survives: objectives, algorithms, the two steps of a generation. Imports no torch."""

from harmony_core.evolution.config import AlgorithmConfig, Objective

__all__ = ["AlgorithmConfig", "Objective"]
