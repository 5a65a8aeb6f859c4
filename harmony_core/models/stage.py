"""A run of a model's blocks, with the embedding if it is the first and the head if it is the last.

One process of a pipeline holds one; a `HybridLM` is the stage that holds all blocks. Parameters have the names that
they have in the whole model, and so first values and checkpoints do not depend on where it is cut.

B batch, T tokens, D model width, V vocabulary, E experts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from harmony_core.architecture import Architecture, MoE
from harmony_core.errors import UserError
from harmony_core.models import groups
from harmony_core.models.context_parallel.group import ContextParallel, TakesContextParallel
from harmony_core.models.expert_parallel import ExpertParallel
from harmony_core.models.moe import MoEModule
from harmony_core.models.norm import RMSNorm
from harmony_core.models.ops.cross_entropy import linear_cross_entropy
from harmony_core.models.parameter import Declared, ParameterSpec, initialise, normal
from harmony_core.models.residual import ResidualBlock

EMBEDDING_STD = 0.02


class Stage(Declared):
    """Blocks `held` of an architecture, and the ends that belong to them.

    Tied embeddings are in the first stage and in the last; whoever trains the two keeps them equal.

    Args:
        architecture: the whole model's.
        held: indices of this stage's blocks, at least one.
    """

    def __init__(self, architecture: Architecture, held: range) -> None:
        super().__init__()
        self.architecture, self.held = architecture, held
        self.is_first, self.is_last = held.start == 0, held.stop == len(architecture.blocks)
        self._compiled = False
        self.recompute_activations = False
        shape, draw = (architecture.vocab_size, architecture.d_model), normal(EMBEDDING_STD)
        self.embedding: nn.Parameter | None = None
        if self.is_first or (self.is_last and architecture.tie_embeddings):
            self.embedding = self.declare("embedding", shape, ParameterSpec(draw, "embedding"))
        # Blocks of other stages leave a place, so that the indices are the model's.
        self.blocks = nn.ModuleList(
            ResidualBlock(block, architecture) if index in held else nn.Identity()
            for index, block in enumerate(architecture.blocks)
        )
        self._held_blocks = {index: self.blocks[index] for index in held}
        self.norm: RMSNorm | None = RMSNorm(shape[1], architecture.norm_epsilon) if self.is_last else None
        self.head: nn.Parameter | None = None
        if self.is_last and not architecture.tie_embeddings:
            self.head = self.declare("head", shape, ParameterSpec(draw, "matrix", shape[1]))

    def initialise(self, seed: int) -> None:
        """Fills the parameters: the values that the whole model has under these names."""
        initialise(self, seed, len(self.architecture.blocks))

    def embed(self, tokens: Tensor) -> Tensor:
        """What the first block reads, [.., D], from int64 tokens [..]."""
        if self.embedding is None:
            raise TypeError("this stage has no embedding")
        x = nn.functional.embedding(tokens, self.embedding)
        multiplier = self.architecture.embedding_multiplier
        return x if multiplier == 1.0 else x * multiplier

    def advance(self, x_BTD: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The residual stream after this stage's blocks, and their auxiliary losses (nats, weighted)."""
        losses = []
        for block in self.residual_blocks().values():
            if self.recompute_activations and torch.is_grad_enabled():
                again = partial(_contexts, block)
                x_BTD, auxiliary = checkpoint(
                    block, x_BTD, use_reentrant=False, preserve_rng_state=False, context_fn=again
                )
            else:
                x_BTD, auxiliary = block(x_BTD)
            if auxiliary is not None:
                losses.append(auxiliary)
        return x_BTD, losses

    def cross_entropy(self, x_BTD: Tensor, targets_BT: Tensor) -> Tensor:
        """Mean cross entropy in nats, a scalar, of the last block's output; fp32 whatever the precision.

        Its gradient is computed along with it, so that no more than a slice of the logits exists at a time.
        """
        if self.norm is None:
            raise TypeError("this stage has no head")
        hidden_BTD = self.scaled(self.norm(x_BTD))
        return linear_cross_entropy(hidden_BTD.flatten(0, 1), self.output_weight, targets_BT.flatten())

    def scaled(self, hidden: Tensor) -> Tensor:
        """What the head multiplies: the normalised stream, divided where the architecture says so."""
        divisor = self.architecture.logits_divisor
        return hidden if divisor == 1.0 else hidden / divisor

    @property
    def output_weight(self) -> nn.Parameter:
        """The head's weight [V, D]: the embedding when tied."""
        weight = self.embedding if self.head is None else self.head
        if weight is None or not self.is_last:
            raise TypeError("this stage has no head")
        return weight

    def use_expert_parallel(self, ep: ExpertParallel) -> None:
        """From now on this process holds its share of the routed experts alone; to be called before `initialise`.

        Raises:
            UserError: the experts of a block do not divide.
        """
        for index, mixture in self.mixtures().items():
            experts = mixture.config.n_routed
            if experts % ep.size:
                raise UserError(f"blocks.{index}.n_routed", experts, f"use a multiple of the {ep.size} ranks of ep")
            mixture.use_expert_parallel(ep)

    def use_context_parallel(self, cp: ContextParallel | None) -> None:
        """From now on sequences are spread over the ranks of `cp`, each with tokens of its own; None ends it.

        `forward` and `loss` are then of this rank's tokens (`cp.shard`), and gradients its share of them
        (`harmony_core.models.context_parallel`).

        Raises:
            UserError: a mixer that has no such form, or a mixture whose loss or capacity is of whole sequences.
        """
        found = self.residual_blocks()
        for index, block in found.items():
            config = self.architecture.blocks[index]
            if config.role == "mixer" and not isinstance(block.inner, TakesContextParallel):
                fix = "it cannot be spread over ranks; use attention or a Hyena operator, or no context parallelism"
                raise UserError(f"blocks.{index}", config.kind, fix)
            if isinstance(config, MoE) and (config.balancing == "aux" or config.capacity_factor is not None):
                fix = "balancing aux and a capacity are of whole sequences; use bias or none, and no capacity"
                raise UserError(f"blocks.{index}", config.kind, fix)
        for block in found.values():
            if isinstance(block.inner, TakesContextParallel):
                block.inner.context_parallel = cp

    def compile_blocks(self) -> None:
        """Lets `torch.compile` compile each block at its next use; equal blocks share what was compiled.

        Decoding is not compiled. The result is the same but for rounding. Needs a C++ compiler on a CPU.
        """
        for block in self.residual_blocks().values():
            block.compile()
        self._compiled = True

    def parameter_groups(
        self,
        learning_rate: float,
        weight_decay: float,
        lr_scaling: Literal["none", "mup"] = "none",
        base_width: int = 128,
    ) -> list[dict[str, Any]]:
        """Groups for AdamW; see `harmony_core.models.groups`."""
        return groups.parameter_groups(self, learning_rate, weight_decay, lr_scaling, base_width)

    def after_step(self, add_over_ranks: Callable[[Tensor], object] | None = None) -> None:
        """To be called after each optimiser step: moves the balancing biases, begins a new load count.

        Args:
            add_over_ranks: sums a tensor in place over the processes that shared the step's tokens.
        """
        routers = [mixture.router for mixture in self.mixtures().values()]
        if routers and add_over_ranks is not None:
            counts = torch.cat([router.counts_E for router in routers])
            add_over_ranks(counts)
            for router, summed in zip(routers, counts.split([len(r.counts_E) for r in routers]), strict=True):
                router.counts_E.copy_(summed)
        for router in routers:
            router.after_step()

    def router_load(self) -> dict[int, Tensor]:
        """By block index, the share of choices that each expert had in the last step: [E], sums to 1."""
        return {index: module.router.load_E for index, module in self.mixtures().items()}

    def load_imbalance(self) -> float:
        """The busiest expert's share over an even one, the worst block of the last step; 1 is even, 0 is no router."""
        return max((float(load.max() * len(load)) for load in self.router_load().values()), default=0.0)

    def kernel_paths(self) -> tuple[str, ...]:
        """`kind: path` for each kind of block, in order of first use."""
        blocks = self.residual_blocks().items()
        paths = dict.fromkeys(f"{self.architecture.blocks[i].kind}: {b.inner.kernel_path()}" for i, b in blocks)
        return (*paths, "torch.compile") if self._compiled else tuple(paths)

    def num_params(self) -> int:
        """Elements of all parameters held here, tied ones once."""
        return sum(parameter.numel() for parameter in self.parameters())

    def residual_blocks(self) -> dict[int, ResidualBlock]:
        """By index in the model, the blocks that are held here, in order."""
        return self._held_blocks  # type: ignore[return-value]

    def mixtures(self) -> dict[int, MoEModule]:
        """By index in the model, the mixtures of experts among them."""
        found = {index: block.inner for index, block in self.residual_blocks().items()}
        return {index: inner for index, inner in found.items() if isinstance(inner, MoEModule)}


def _contexts(block: ResidualBlock) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """For `checkpoint`: around a block's forward pass, and around its repetition in the backward pass."""
    return nullcontext(), _uncounted(block)


@contextmanager
def _uncounted(block: ResidualBlock) -> Iterator[None]:
    """A router has counted these tokens before."""
    if not isinstance(block.inner, MoEModule):
        yield
        return
    block.inner.router.counting = False
    try:
        yield
    finally:
        block.inner.router.counting = True
