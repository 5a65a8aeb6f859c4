"""Hardware descriptions, the roofline, the planner: an architecture's cost on one device and on many. No torch."""

from harmony_core.machines.blocks import Traffic
from harmony_core.machines.comparison import Comparison, comparisons
from harmony_core.machines.estimate import Estimate, Estimator
from harmony_core.machines.layout import Layout, fitting, layouts, nearest
from harmony_core.machines.machine import Compute, Congestion, Figure, Link, Machine, Precision, Share
from harmony_core.machines.partition import Partition, partition_by_flops
from harmony_core.machines.planner import PlanningResult, Scaled, fitted, plan_layouts, search, weak_scaling
from harmony_core.machines.roofline import Part, Workload, predict_parts, predict_seconds
from harmony_core.machines.step import FP32_WEIGHTS, HALF_WEIGHTS, Assumptions, StateBytes, TrainingStep
from harmony_core.machines.traffic import block_traffic

__all__ = [
    "FP32_WEIGHTS",
    "HALF_WEIGHTS",
    "Assumptions",
    "Comparison",
    "Compute",
    "Congestion",
    "Estimate",
    "Estimator",
    "Figure",
    "Layout",
    "Link",
    "Machine",
    "Part",
    "Partition",
    "PlanningResult",
    "Precision",
    "Scaled",
    "Share",
    "StateBytes",
    "Traffic",
    "TrainingStep",
    "Workload",
    "block_traffic",
    "comparisons",
    "fitted",
    "fitting",
    "layouts",
    "nearest",
    "partition_by_flops",
    "plan_layouts",
    "predict_parts",
    "predict_seconds",
    "search",
    "weak_scaling",
]
