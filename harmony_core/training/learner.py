"""A model with its optimiser, spread over the processes of a layout: batches in, losses out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn

from harmony_core.architecture import Architecture
from harmony_core.errors import UserError
from harmony_core.machines import Estimator, Layout, Machine, Partition, TrainingStep, partition_by_flops
from harmony_core.models import Stage
from harmony_core.models.determinism import use_deterministic
from harmony_core.models.parameter import declared_parameters
from harmony_core.training.batches import on_its_way
from harmony_core.training.collectives import largest, sum_over_world
from harmony_core.training.engine import DataEngine, Engine, PipelineEngine, PlainEngine, add_expert_mark
from harmony_core.training.gradient_norm import GradientNorm
from harmony_core.training.rank_mesh import RankMesh, make_groups
from harmony_core.training.recipe import Recipe
from harmony_core.training.rendezvous import World, start
from harmony_core.training.stage_pass import StagePass
from harmony_core.training.state import TrainingState


@dataclasses.dataclass(frozen=True)
class StepLosses:
    """One optimiser step: mean losses in nats per token, the gradient norm before clipping, how uneven experts were.

    `load_imbalance` is the busiest expert's share over an even one, in the worst block; 0 without experts.
    """

    cross_entropy: float
    auxiliary: float
    gradient_norm: float
    load_imbalance: float


class Learner:
    """What the trainer trains: weights from a seed, AdamW, clipping, the recipe's precision, on any layout.

    All processes of the layout make one and call the same methods in the same order; all get the same answers.

    Args:
        architecture: the model's.
        recipe: its precision must be resolved.
        init_seed: seed of the weights.
        device: where this process computes.
        layout: how the training is spread.
        machine: what it runs on: a pipeline is cut by the time and memory that are predicted there; None cuts it by
            FLOPs and parameters.
        separator: the token that each document begins with; read where the recipe has document boundaries.

    Raises:
        UserError: the layout does not fit the architecture, the recipe or the number of processes.
    """

    def __init__(
        self,
        architecture: Architecture,
        recipe: Recipe,
        init_seed: int,
        device: torch.device,
        layout: Layout | None = None,
        machine: Machine | None = None,
        separator: int | None = None,
    ) -> None:
        layout = layout or Layout()
        layout.check(architecture, recipe.batch_size, recipe.sequence_length)
        if recipe.document_boundaries:
            if separator is None:
                raise ValueError("the recipe has document boundaries, and nobody says which token begins a document")
            layout.check_documents()
        if layout.tp > 1:
            raise UserError("layout.tp", layout.tp, "the trainer splits no matrices; use pp, dp, ep and cp")
        start(World.from_environment())
        if layout.num_processes != dist.get_world_size():
            fix = f"it needs {layout.num_processes} processes, and there are {dist.get_world_size()}; start as many"
            raise UserError("layout", str(layout), fix)
        use_deterministic(recipe.deterministic, device)
        self.recipe, self.device, self.layout = recipe, device, layout
        self.mesh = RankMesh(layout, dist.get_rank())
        self._groups = make_groups(self.mesh, architecture.tie_embeddings)
        self.stage = self._build(architecture, init_seed, machine)
        self._num_micro_batches = layout.num_micro_batches(recipe.batch_size)
        begins = separator if recipe.document_boundaries else None
        self._pass = StagePass(self.stage, recipe.precision, device, self._num_micro_batches, begins)
        self._optimizer = self._make_optimizer()
        self._peaks = [group["lr"] for group in self._optimizer.param_groups]
        self._engine = self._make_engine()
        self._norm = GradientNorm(self._copies(), recipe.gradient_clip or math.inf)
        if self._engine.zero is None:
            self._optimizer.register_step_pre_hook(self._norm.clip)
        else:
            self._norm.take_over(self._engine.zero)
        self.state = TrainingState(self.stage, self._optimizer, self._engine.zero, self.mesh)

    def _build(self, architecture: Architecture, init_seed: int, machine: Machine | None) -> Stage:
        stage = Stage(architecture, stages_of(architecture, self.recipe, self.layout, machine)[self.mesh.stage])
        if self._groups.experts is not None:
            stage.use_expert_parallel(self._groups.experts)
        if self._groups.context is not None:
            stage.use_context_parallel(self._groups.context)
        stage.initialise(init_seed, self.recipe.parametrisation)
        stage.recompute_activations = self.layout.activation_checkpointing
        stage.keeps_documents = self.recipe.document_boundaries
        if self.recipe.compile:
            stage.compile_blocks()
        return stage.to(self.device)

    def _make_optimizer(self) -> torch.optim.Optimizer:
        recipe = self.recipe
        groups = self.stage.parameter_groups(
            recipe.peak_learning_rate, recipe.weight_decay, recipe.lr_scaling, recipe.base_width, recipe.parametrisation
        )
        if self.layout.ep > 1:
            groups = [part for group in groups for part in self._experts_apart(group)]
        if self._groups.ends is not None:
            groups = [part for group in groups for part in self._embedding_apart(group)]
        return torch.optim.AdamW(groups, betas=(recipe.beta1, recipe.beta2), eps=recipe.epsilon, fused=True)

    def _experts_apart(self, group: dict[str, Any]) -> list[dict[str, Any]]:
        """A parameter group as DeepSpeed wants it: experts, which have a group of ranks of their own, by themselves."""
        spread = self._spread()
        chosen: dict[bool, list[nn.Parameter]] = {False: [], True: []}
        for parameter in group["params"]:
            if parameter in spread:
                parameter.allreduce, parameter.group_name = False, self._groups.expert_name
            chosen[parameter in spread].append(parameter)
        rest = {key: value for key, value in group.items() if key not in ("params", "names")}
        marks: dict[bool, dict[str, Any]] = {False: {}, True: {"moe": True, "name": self._groups.expert_name}}
        return [{**rest, **marks[apart], "params": found} for apart, found in chosen.items() if found]

    def _embedding_apart(self, group: dict[str, Any]) -> list[dict[str, Any]]:
        """A parameter group with the tied embedding by itself.

        ZeRO joins a group's parameters and cuts the whole. AdamW's kernel rounds the last few elements of a piece in
        another way than the others, so both copies of the embedding must be cut alike to stay equal.
        """
        embedding = self.stage.embedding
        parts = [[p for p in group["params"] if p is embedding], [p for p in group["params"] if p is not embedding]]
        rest = {key: value for key, value in group.items() if key not in ("params", "names")}
        return [{**rest, "params": part} for part in parts if part]

    def _spread(self) -> set[nn.Parameter]:
        """Parameters that are experts held by some ranks only."""
        declared = declared_parameters(self.stage) if self.layout.ep > 1 else ()
        return {parameter for _, parameter, spec in declared if spec.stacked}

    def _copies(self) -> dict[nn.Parameter, int]:
        """Of each parameter, the ranks with the same values in its gradient; 0 for the embedding's second place."""
        ranks, spread = self.layout.data_ranks, self._spread()
        copies = {p: ranks // self.layout.ep if p in spread else ranks for p in self.stage.parameters()}
        if self._groups.ends is not None and self.stage.is_last and self.stage.embedding is not None:
            copies[self.stage.embedding] = 0
        return copies

    def _make_engine(self) -> Engine:
        layout, clip = self.layout, self.recipe.gradient_clip
        if self._spread():
            add_expert_mark(self._pass)
        arguments = (self._optimizer, layout, layout.micro_batch(self.recipe.batch_size), self._num_micro_batches, clip)
        if layout.num_processes == 1:
            return PlainEngine(self._pass, *arguments)
        if layout.pp == 1:
            return DataEngine(self._pass, *arguments)
        from harmony_core.training.pipeline import StageModule

        return PipelineEngine(StageModule(self._pass, self.mesh, self._groups.ends), *arguments)

    def step(
        self, rows_BT: np.ndarray | Tensor, learning_rate_factor: float, meanwhile: Callable[[], None] | None = None
    ) -> StepLosses:
        """One optimiser step on int64 [B, T + 1], inputs and targets overlapping by all but one token.

        Args:
            rows_BT: this replica's share of the batch: rows `mesh.replica` x B to (`mesh.replica` + 1) x B of it.
            learning_rate_factor: the schedule's multiple of the peak learning rate.
            meanwhile: done once the device has all that it is to compute, and before anything waits for it.
        """
        for group, peak in zip(self._optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * learning_rate_factor
        inputs, targets = self._inputs_and_targets(rows_BT)
        size = len(rows_BT) // self._num_micro_batches
        self._pass.begin_step()
        self._engine.run(list(zip(inputs.split(size), targets.split(size), strict=True)))
        self.stage.after_step(self._sum_over_data_ranks if self.layout.data_ranks > 1 else None)
        if meanwhile is not None:
            meanwhile()
        losses = sum_over_world(torch.stack([self._pass.cross_entropy, self._pass.auxiliary]))
        cross_entropy, auxiliary = (losses / self.layout.data_ranks).tolist()
        (imbalance,) = largest([self.stage.load_imbalance()])
        return StepLosses(cross_entropy, auxiliary, self._norm.last, imbalance)

    def _inputs_and_targets(self, rows_BT: np.ndarray | Tensor) -> tuple[Tensor, Tensor]:
        rows = rows_BT if isinstance(rows_BT, Tensor) else on_its_way(rows_BT, self.device)
        inputs, targets = rows[:, :-1], rows[:, 1:]
        cp = self._groups.context
        return (inputs, targets) if cp is None else (cp.shard(inputs), cp.shard(targets))

    def _sum_over_data_ranks(self, x: Tensor) -> None:
        dist.all_reduce(x, group=self._groups.data)

    @torch.no_grad()
    def evaluate(self, rows_BT: np.ndarray) -> NDArray[np.float64]:
        """Nats of each row of int64 [B, T + 1] (the whole batch, on every rank), summed over its T targets: [B].

        Each replica reads its share; where the rows do not divide, some are read twice and counted once.
        """
        share = math.ceil(len(rows_BT) / self.layout.dp)
        first = self.mesh.replica * share
        counted = max(0, min(share, len(rows_BT) - first))
        inputs, targets = self._inputs_and_targets(rows_BT[np.arange(first, first + share) % len(rows_BT)])
        nats_B = torch.zeros(len(rows_BT), dtype=torch.float64, device=self.device)
        size = self.layout.micro_batch_size or share
        self._pass.eval()
        for begin in range(0, share, size):
            last = self._forward(inputs[begin : begin + size])
            if self.stage.is_last:
                for row in range(begin, min(begin + size, counted)):
                    part = targets[row : row + 1]
                    nats_B[first + row] = (
                        self._pass.loss(last[row - begin : row - begin + 1], part).double() * part.numel()
                    )
        self._pass.train()
        found: NDArray[np.float64] = sum_over_world(nats_B).cpu().numpy()
        return found

    def _forward(self, tokens_BT: Tensor) -> Tensor:
        """One forward pass through all stages; each rank returns its own stage's activations [B, T, D]."""
        x = tokens_BT
        if not self.stage.is_first:
            # As `StagePass` sends it.
            dtype = torch.bfloat16 if self.recipe.precision == "bf16" else torch.float32
            x = torch.empty(*tokens_BT.shape, self.stage.architecture.d_model, device=self.device, dtype=dtype)
            dist.recv(x, self.mesh.previous)
        x_BTD: Tensor = self._pass(x)
        if not self.stage.is_last:
            dist.send(x_BTD.contiguous(), self.mesh.next)
        return x_BTD


def stages_of(architecture: Architecture, recipe: Recipe, layout: Layout, machine: Machine | None) -> Partition:
    """The blocks of each pipeline stage; no result depends on them.

    Args:
        architecture: the model.
        recipe: gives batch, sequence length and precision.
        layout: gives the number of stages.
        machine: stages are cut to its times and memory; None cuts by FLOPs.

    Raises:
        UserError: no cut fits the machine's memory.
    """
    if machine is None or layout.pp == 1:
        return partition_by_flops(architecture, layout.pp, recipe.sequence_length)
    precision = recipe.resolved_precision
    estimator = Estimator(architecture, machine, TrainingStep(recipe.batch_size, recipe.sequence_length, precision))
    found = estimator.cut(layout)
    if found is None:
        fix = f"its stages do not fit the memory of {machine.name}; see harmony plan"
        raise UserError("layout", str(layout), fix)
    return found
