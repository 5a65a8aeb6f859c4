"""Hardware descriptions and the roofline: what an architecture costs on a named device. Imports no torch."""

from harmony_core.machines.layout import Layout, layouts, nearest
from harmony_core.machines.machine import Compute, Figure, Machine, Precision, Share
from harmony_core.machines.memory import predict_memory_bytes
from harmony_core.machines.roofline import Part, Workload, predict_parts, predict_seconds
from harmony_core.machines.traffic import Traffic, block_traffic, touched_params

__all__ = [
    "Compute",
    "Figure",
    "Layout",
    "Machine",
    "Part",
    "Precision",
    "Share",
    "Traffic",
    "Workload",
    "block_traffic",
    "layouts",
    "nearest",
    "predict_memory_bytes",
    "predict_parts",
    "predict_seconds",
    "touched_params",
]
