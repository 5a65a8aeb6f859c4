"""What steps a model: DeepSpeed's engines where there is something to spread, a plain loop where one process trains."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from typing_extensions import override

from harmony_core.machines import Layout
from harmony_core.training.device import name_accelerator, uses_gpu
from harmony_core.training.stage_pass import StagePass

# Elements of ZeRO's bucket of gradients. A model with fewer parameters has a bucket of its own size.
_BUCKET = 200_000_000
MicroBatches = Sequence[tuple[Tensor, Tensor]]


def import_deepspeed() -> Any:
    """Imports DeepSpeed quietly; it touches no device and starts no process group.

    Left to itself it asks for devices as it is imported. On a CPU its shared-memory collective is compiled at the first
    start, for 40 s, so it is declared unavailable before anything asks for it; on a GPU even the list asks for devices.
    """
    name_accelerator()
    import deepspeed

    if not uses_gpu():
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    # DeepSpeed calls this collective by its older name.
    warnings.filterwarnings("ignore", message=r".*all_gather_into_tensor.*", category=FutureWarning)
    return deepspeed


def connect_deepspeed() -> Any:
    """DeepSpeed, in the world that exists already."""
    deepspeed = import_deepspeed()
    deepspeed.init_distributed(verbose=False)
    return deepspeed


class Engine(Protocol):
    """Computes gradients, reduces them over ranks, and lets the optimiser step."""

    zero: Any

    def run(self, micro_batches: MicroBatches) -> None:
        """One optimiser step on this replica's (inputs, targets), each int64 [B, T]."""


class PlainEngine:
    """One process, where ZeRO has nothing to spread: the same steps as `DataEngine`, bit for bit, and nothing else.

    DeepSpeed's engine broadcasts weights to nobody, reduces gradients with nobody, and waits for the device to tell
    the time. Arguments as for `DataEngine`.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        layout: Layout,
        micro_batch: int,
        num_micro_batches: int,
        clip: float,
    ) -> None:
        self._module, self._optimizer, self._share = module, optimizer, num_micro_batches
        self.zero = None

    def run(self, micro_batches: MicroBatches) -> None:
        """See `Engine`."""
        for inputs, targets in micro_batches:
            (self._module(inputs, targets) / self._share).backward()
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)


class DataEngine:
    """Layouts of one stage.

    Args:
        module: forward (inputs, targets) returns a scalar loss.
        optimizer: over its parameters.
        layout: the sizes.
        micro_batch: sequences of a forward pass.
        num_micro_batches: forward passes of a step.
        clip: largest gradient norm of a ZeRO optimizer; 0 does not clip.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        layout: Layout,
        micro_batch: int,
        num_micro_batches: int,
        clip: float,
    ) -> None:
        config = _config(module, layout, micro_batch, num_micro_batches, clip)
        self._engine, *_ = connect_deepspeed().initialize(model=module, optimizer=optimizer, config=config)
        self.zero = self._engine.optimizer if layout.zero_stage else None

    def run(self, micro_batches: MicroBatches) -> None:
        """See `Engine`."""
        for inputs, targets in micro_batches:
            self._engine.backward(self._engine(inputs, targets))
            self._engine.step()


class PipelineEngine(DataEngine):
    """Layouts of several stages, whose module is a `harmony_core.training.pipeline.StageModule`: DeepSpeed's 1F1B."""

    @override
    def run(self, micro_batches: MicroBatches) -> None:
        self._engine.train_batch(iter(micro_batches))


def add_expert_mark(stage_pass: StagePass) -> None:
    """Tells DeepSpeed's engines, which look for a module of theirs, that there are experts of their own group."""
    from deepspeed.moe.layer import MoE

    class ExpertMark(MoE):  # type: ignore[misc]
        """Holds nothing and computes nothing."""

        def __init__(self, num_experts: int) -> None:
            nn.Module.__init__(self)
            self.num_experts = num_experts

        def set_deepspeed_parallelism(self, use_data_before_expert_parallel_: bool = False) -> None:
            """The groups are made already."""

    stage = stage_pass.stage
    stage_pass.expert_mark = ExpertMark(max(stage.architecture.blocks[index].num_experts for index in stage.held))


def _config(module: nn.Module, layout: Layout, micro_batch: int, num_micro_batches: int, clip: float) -> dict[str, Any]:
    elements = sum(parameter.numel() for parameter in module.parameters())
    return {
        "train_micro_batch_size_per_gpu": micro_batch,
        "gradient_accumulation_steps": num_micro_batches,
        # Without ZeRO, HARMONY computes the norm and clips.
        "gradient_clipping": clip if layout.zero_stage else 0.0,
        "zero_optimization": {"stage": layout.zero_stage, "reduce_bucket_size": min(_BUCKET, max(elements, 1))},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 10**9,
        # By default each step waits for the device twice, to say how long it took.
        "timers": {"throughput": {"enabled": False, "synchronized": False}},
    }
