"""The mode in which a GPU repeats its bits; a CPU does in any.

On a GPU sums by atomic additions, and tuning that picks another kernel from run to run, change the last bits. In this
mode PyTorch takes its deterministic algorithms and raises where it has none, no kernel is tuned, and mamba-ssm adds up
in a workspace. Sums between processes are the collectives' own: the same while topology and NCCL's algorithm are.
"""

from __future__ import annotations

import os

import torch

from harmony_core.models.triton_tuning import pin_picks

# Packages whose kernels are tuned.
_TUNED = ("fla", "mamba_ssm")


def use_deterministic(wanted: bool, device: torch.device) -> None:
    """Switches the mode for all that this process computes from now on; to be called before its first product.

    Args:
        wanted: whether bits are to be repeated.
        device: where it computes; on a CPU nothing changes.
    """
    if device.type == "cpu":
        return
    if wanted:
        # cuBLAS reads it when it starts, mamba-ssm at each call; Triton's picks differ from node to node.
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
        os.environ["MAMBA_DETERMINISTIC"] = "1"
        pin_picks(_TUNED)
    torch.use_deterministic_algorithms(wanted)
    # It would fill every new tensor with not-a-numbers, to find who reads what nobody wrote.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
