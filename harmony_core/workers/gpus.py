"""One GPU for each child, of those that this process may use."""

from __future__ import annotations

import os

from harmony_core.host import visible_gpus

_CUDA, _ROCM = "CUDA_VISIBLE_DEVICES", ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")


def own_gpu(number: int) -> dict[str, str]:
    """Variables that show a child the GPU of this number alone; the first again after the last, none where none is.

    The variable that lists them is narrowed. ROCm counts CUDA_VISIBLE_DEVICES among the devices that
    ROCR_VISIBLE_DEVICES leaves (https://rocm.docs.amd.com, "GPU isolation techniques"): of a rank to which Slurm shows
    GPU 4 alone, ROCR_VISIBLE_DEVICES=4, another CUDA_VISIBLE_DEVICES=4 would leave nothing.
    """
    gpus = visible_gpus()
    if not gpus:
        return {}
    listing = next((name for name in (_CUDA, *_ROCM) if name in os.environ), _CUDA)
    return {listing: gpus[number % len(gpus)]}
