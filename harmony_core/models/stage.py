"""A run of a model's blocks, with the embedding if it is the first and the head if it is the last.

One process of a pipeline holds one; a `HybridLM` is the stage that holds all blocks. Parameters have the names that
they have in the whole model, and so first values and checkpoints do not depend on where it is cut.

B batch, T tokens, D model width, V vocabulary, E experts.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from harmony_core.architecture import Architecture
from harmony_core.errors import UserError
from harmony_core.models import groups
from harmony_core.models.context_parallel.group import ContextParallel
from harmony_core.models.documents import Documents
from harmony_core.models.expert_parallel import ExpertParallel
from harmony_core.models.norm import RMSNorm
from harmony_core.models.ops.cross_entropy import linear_cross_entropy
from harmony_core.models.parameter import Declared, ParameterSpec, initialise, normal
from harmony_core.models.residual import ResidualBlock
from harmony_core.parametrisation import DEFAULT, Parametrisation


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
        # Whether the trainer gives `advance` documents. The log and the results say so; nothing else reads it.
        self.keeps_documents = False
        shape, draw = (architecture.vocab_size, architecture.d_model), normal(1.0)
        self.embedding: nn.Parameter | None = None
        if self.is_first or (self.is_last and architecture.tie_embeddings):
            self.embedding = self.declare("embedding", shape, ParameterSpec(draw, "embedding", tokens=True))
        # Blocks of other stages leave a place, so that the indices are the model's.
        self.blocks = nn.ModuleList(
            ResidualBlock(block, architecture) if index in held else nn.Identity()
            for index, block in enumerate(architecture.blocks)
        )
        self._held_blocks = {index: self.blocks[index] for index in held}
        self.norm: RMSNorm | None = RMSNorm(shape[1], architecture.norm_epsilon) if self.is_last else None
        self.head: nn.Parameter | None = None
        if self.is_last and not architecture.tie_embeddings:
            self.head = self.declare("head", shape, ParameterSpec(draw, "matrix", shape[1], tokens=True))

    def initialise(self, seed: int, parametrisation: Parametrisation = DEFAULT) -> None:
        """Fills the parameters: the values that the whole model has under these names."""
        initialise(self, seed, len(self.architecture.blocks), parametrisation)

    def embed(self, tokens: Tensor) -> Tensor:
        """What the first block reads, [.., D], from int64 tokens [..]."""
        if self.embedding is None:
            raise TypeError("this stage has no embedding")
        x = nn.functional.embedding(tokens, self.embedding)
        multiplier = self.architecture.embedding_multiplier
        return x if multiplier == 1.0 else x * multiplier

    def advance(self, x_BTD: Tensor, documents: Documents | None = None) -> tuple[Tensor, list[Tensor]]:
        """The residual stream after this stage's blocks, and their auxiliary losses (nats, weighted).

        Args:
            x_BTD: what the first of them reads.
            documents: which tokens belong together; None is each row by itself, in faster forms.

        Raises:
            UserError: documents, or padding, and a block that does not keep them apart.
        """
        losses = []
        if documents is not None:
            self._check_documents(documents)
        for block in self.residual_blocks().values():
            if self.recompute_activations and torch.is_grad_enabled():
                again = partial(_contexts, block)
                x_BTD, auxiliary = checkpoint(
                    block, x_BTD, documents, use_reentrant=False, preserve_rng_state=False, context_fn=again
                )
            else:
                x_BTD, auxiliary = block(x_BTD, documents)
            if auxiliary is not None:
                losses.append(auxiliary)
        return x_BTD, losses

    def _check_documents(self, documents: Documents) -> None:
        for index, block in self.residual_blocks().items():
            config = self.architecture.blocks[index]
            problem = config.documents_problem() if documents.real_BT is None else config.padding_problem()
            if problem is None and block.inner.context_parallel is not None:
                problem = "cannot keep documents apart where ranks share sequences; use context parallelism of 1"
            if problem is not None:
                raise UserError(f"blocks.{index}", config.kind, f"it {problem}")

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
        for index, block in self.residual_blocks().items():
            experts = self.architecture.blocks[index].num_experts
            if experts % ep.size:
                raise UserError(f"blocks.{index}.n_routed", experts, f"use a multiple of the {ep.size} ranks of ep")
            block.inner.use_expert_parallel(ep)

    def use_context_parallel(self, cp: ContextParallel | None) -> None:
        """From now on sequences are spread over the ranks of `cp`, each with tokens of its own; None ends it.

        `forward` and `loss` are then of this rank's tokens (`cp.shard`), and gradients its share of them
        (`harmony_core.models.context_parallel`).

        Raises:
            UserError: a block that needs whole sequences.
        """
        found = self.residual_blocks()
        for index in found:
            config = self.architecture.blocks[index]
            # This asks for one rank, since only some ways of exchanging need channels that divide.
            problem = config.context_problem(self.architecture.d_model, 1)
            if problem is not None:
                fix = f"it {problem}, or no context parallelism"
                raise UserError(f"blocks.{index}", config.kind, fix)
        for block in found.values():
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
        parametrisation: Parametrisation = DEFAULT,
    ) -> list[dict[str, Any]]:
        """Groups for AdamW (`harmony_core.models.groups`).

        Args:
            learning_rate: the recipe's peak, before each group's multiplier.
            weight_decay: of matrices.
            lr_scaling: `mup` divides a matrix's rate by width over `base_width`; `none` does not.
            base_width: `d_model` that the rate was tuned at.
            parametrisation: gives the multipliers of residual matrices, embeddings and vectors.
        """
        width_factor = base_width / self.architecture.d_model if lr_scaling == "mup" else 1.0
        return groups.parameter_groups(self, learning_rate, weight_decay, width_factor, parametrisation)

    def after_step(self, add_over_ranks: Callable[[Tensor], object] | None = None) -> None:
        """To be called after each optimiser step: blocks do what they do then, such as moving a balancing bias.

        Args:
            add_over_ranks: sums a tensor in place over the processes that shared the step's tokens.
        """
        inners = [block.inner for block in self.residual_blocks().values()]
        counts = [count for inner in inners for count in inner.sums_over_ranks()]
        if counts and add_over_ranks is not None:
            # One exchange carries all counts.
            joined = torch.cat([count.flatten() for count in counts])
            add_over_ranks(joined)
            for count, summed in zip(counts, joined.split([count.numel() for count in counts]), strict=True):
                count.copy_(summed.view_as(count))
        for inner in inners:
            inner.after_step()

    def router_load(self) -> dict[int, Tensor]:
        """By block index, the share of choices that each expert had in the last step: [E], sums to 1."""
        loads = {index: block.inner.expert_load() for index, block in self.residual_blocks().items()}
        return {index: load_E for index, load_E in loads.items() if load_E is not None}

    def load_imbalance(self) -> float:
        """The busiest expert's share over an even one, the worst block of the last step; 1 is even, 0 is no router."""
        return max((float(load.max() * len(load)) for load in self.router_load().values()), default=0.0)

    def kernel_paths(self) -> tuple[str, ...]:
        """`kind: path` for each kind of block, in order of first use."""
        blocks = self.residual_blocks().items()
        paths = dict.fromkeys(f"{self.architecture.blocks[i].kind}: {b.inner.kernel_path()}" for i, b in blocks)
        # Mixers that keep documents apart take plain forms, whatever they take without.
        notes = {"torch.compile": self._compiled, "documents apart in plain PyTorch": self.keeps_documents}
        return (*paths, *(note for note, holds in notes.items() if holds))

    def num_params(self) -> int:
        """Elements of all parameters held here, tied ones once."""
        return sum(parameter.numel() for parameter in self.parameters())

    def residual_blocks(self) -> dict[int, ResidualBlock]:
        """By index in the model, the blocks that are held here, in order."""
        return self._held_blocks  # type: ignore[return-value]


def _contexts(block: ResidualBlock) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """For `checkpoint`: around a block's forward pass, and around its repetition in the backward pass."""
    return nullcontext(), block.inner.recomputing()
