"""One GPU for each child, of those that this process may use."""

from __future__ import annotations

import os

from harmony_core.host import GPU_SHARE, visible_gpus

_CUDA, _ROCM = "CUDA_VISIBLE_DEVICES", ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")


def own_gpu(number: int, sharers: int = 1) -> dict[str, str]:
    """Variables that show a child the GPU of this number alone; the first again after the last, none where none is.

    Where several children share a GPU each is told its even part of the memory.

    The variable that lists them is narrowed. ROCm counts CUDA_VISIBLE_DEVICES among the devices that
    ROCR_VISIBLE_DEVICES leaves (https://rocm.docs.amd.com, "GPU isolation techniques"): of a rank to which Slurm shows
    GPU 4 alone, ROCR_VISIBLE_DEVICES=4, another CUDA_VISIBLE_DEVICES=4 would leave nothing.

    Args:
        number: of the child.
        sharers: children on each GPU.
    """
    gpus = visible_gpus()
    if not gpus:
        return {}
    listing = next((name for name in (_CUDA, *_ROCM) if name in os.environ), _CUDA)
    share = {} if sharers == 1 else {GPU_SHARE: repr(1 / sharers)}
    return {listing: gpus[number % len(gpus)], **share}
