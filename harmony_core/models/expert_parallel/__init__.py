"""Routed experts spread over processes: every token reaches every expert that it chose, wherever that is."""

from harmony_core.models.expert_parallel.dispatch import dispatched_experts
from harmony_core.models.expert_parallel.group import ExpertParallel

__all__ = ["ExpertParallel", "dispatched_experts"]
