"""The stages of a layout as DeepSpeed's pipeline knows them. Importing this imports DeepSpeed's pipeline engine."""

from __future__ import annotations

import contextlib
import io

import torch.distributed as dist
from deepspeed.runtime.pipe.module import PipelineModule
from deepspeed.runtime.pipe.topology import PipeDataParallelTopology
from torch import nn

from harmony_core.training.rank_mesh import RankMesh
from harmony_core.training.stage_pass import StagePass


class StageModule(PipelineModule):  # type: ignore[misc]
    """One layer a stage: where the model is cut is decided before, by predicted cost.

    Args:
        stage_pass: this rank's stage.
        mesh: where this rank stands.
        ends: the group in which tied embeddings' gradients are summed, or None.
    """

    def __init__(self, stage_pass: StagePass, mesh: RankMesh, ends: dist.ProcessGroup | None) -> None:
        layout = mesh.layout
        layers = [stage_pass if stage == mesh.stage else nn.Identity() for stage in range(layout.pp)]
        # DeepSpeed prints the stages.
        with contextlib.redirect_stdout(io.StringIO()):
            super().__init__(
                layers=layers,
                topology=PipeDataParallelTopology(num_pp=layout.pp, num_dp=layout.data_ranks),
                loss_fn=stage_pass.loss,
                partition_method="uniform",
            )
        weight = stage_pass.stage.embedding
        self._tied = [(weight, ends)] if ends is not None and weight is not None else []

    def get_tied_weights_and_groups(self) -> list[tuple[nn.Parameter, dist.ProcessGroup]]:
        """What the engine sums over stages before it averages over data ranks."""
        return self._tied
