"""The module side of a block: what every mixer and channel mixer computes, in parallel and token by token.

B batch, T tokens, D model width.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from harmony_core.models.context_parallel.group import ContextParallel
from harmony_core.models.documents import Documents
from harmony_core.models.expert_parallel import ExpertParallel
from harmony_core.models.parameter import Declared

BlockState = dict[str, Tensor]


class BlockModule(Declared):
    """A sub-layer between its pre-norm and the residual addition.

    What of it outlives a step are parameters (`declare`) and buffers (`declare_buffer`), whatever the layout.
    """

    # The ranks that share this block's sequences; set for blocks whose configuration says that they can.
    context_parallel: ContextParallel | None = None

    def forward(self, x_BTD: Tensor) -> Tensor:
        """The sub-layer's output for whole sequences, same shape and device as `x_BTD`."""
        raise TypeError(f"{type(self).__name__} has no parallel form")

    def forward_documents(self, x_BTD: Tensor, documents: Documents) -> Tensor:
        """`forward` of which each document's output is that of the document alone.

        Of a channel mixer, which sees a token at a time, that is `forward`; a mixer says it itself, where its
        configuration has no `documents_problem`.
        """
        y_BTD: Tensor = self(x_BTD)
        return y_BTD

    def forward_with_loss(self, x_BTD: Tensor, documents: Documents | None = None) -> tuple[Tensor, Tensor | None]:
        """`forward` or `forward_documents`, and an auxiliary loss (scalar, nats, already weighted) if there is one."""
        return (self(x_BTD) if documents is None else self.forward_documents(x_BTD, documents)), None

    def init_state(self, batch_size: int, max_context: int, device: torch.device, dtype: torch.dtype) -> BlockState:
        """Zeroed tensors that `step` reads and writes in place; empty for a block without memory.

        Args:
            batch_size: sequences.
            max_context: tokens of a sequence at most; a cache has room for them, or for a window of them.
            device: of the state.
            dtype: of caches and inputs that are kept; recurrent states are fp32.
        """
        return {}

    def prefill(self, x_BTD: Tensor, state: BlockState) -> Tensor:
        """`forward` that leaves `state`, empty before, as `step` would after the T tokens."""
        if state:
            raise TypeError(f"{type(self).__name__} has memory and no prefill")
        y_BTD: Tensor = self(x_BTD)
        return y_BTD

    def step(self, x_BD: Tensor, state: BlockState, position: int) -> Tensor:
        """The sub-layer's output for one token of each sequence.

        Args:
            x_BD: the normed residual stream of the token.
            state: after the tokens before it, from `init_state` or `prefill`; written in place.
            position: the token's, from 0, the same in every sequence.

        Returns:
            [B, D].
        """
        y_B1D: Tensor = self(x_BD.unsqueeze(1))
        return y_B1D.squeeze(1)

    def use_expert_parallel(self, ep: ExpertParallel) -> None:
        """From now on the module holds this rank's share of its routed experts alone, unfilled."""

    def sums_over_ranks(self) -> Sequence[Tensor]:
        """What a step counted on this rank, to be added up in place over its tokens' ranks before `after_step`."""
        return ()

    def after_step(self) -> None:
        """What changes after each optimiser step, by no gradient."""

    def recomputing(self) -> AbstractContextManager[None]:
        """Around a forward pass that is done again for the backward pass: what was counted once counts once."""
        return nullcontext()

    def expert_load(self) -> Tensor | None:
        """The share of choices that each routed expert had in the last step, [E]; None without a router."""
        return None

    def kernel_path(self) -> str:
        """Which implementation computes this block on its parameters' device."""
        return "torch"

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device
