"""Hardware descriptions, the roofline, the planner: an architecture's cost on one device and on many. No torch."""

from harmony_core.machines.cut import Cut, cut_by_flops
from harmony_core.machines.estimate import Estimate, Estimator
from harmony_core.machines.layout import Layout, fitting, layouts, nearest
from harmony_core.machines.machine import Compute, Congestion, Figure, Link, Machine, Precision, Share
from harmony_core.machines.memory import predict_memory_bytes
from harmony_core.machines.planner import Scaled, Search, plan_layouts, search, weak_scaling
from harmony_core.machines.roofline import Part, Workload, predict_parts, predict_seconds
from harmony_core.machines.step import FP32_WEIGHTS, HALF_WEIGHTS, Assumptions, StateBytes, TrainingStep
from harmony_core.machines.traffic import Traffic, block_traffic, touched_params
from harmony_core.machines.verdict import Verdict, verdicts

__all__ = [
    "FP32_WEIGHTS",
    "HALF_WEIGHTS",
    "Assumptions",
    "Compute",
    "Congestion",
    "Cut",
    "Estimate",
    "Estimator",
    "Figure",
    "Layout",
    "Link",
    "Machine",
    "Part",
    "Precision",
    "Scaled",
    "Search",
    "Share",
    "StateBytes",
    "Traffic",
    "TrainingStep",
    "Verdict",
    "Workload",
    "block_traffic",
    "cut_by_flops",
    "fitting",
    "layouts",
    "nearest",
    "plan_layouts",
    "predict_memory_bytes",
    "predict_parts",
    "predict_seconds",
    "search",
    "touched_params",
    "verdicts",
    "weak_scaling",
]
