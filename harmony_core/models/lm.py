"""The language model: embedding, pre-norm residual blocks, final norm, head.

B batch, T tokens, D model width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harmony_core.architecture import Architecture
from harmony_core.errors import UserError
from harmony_core.models.documents import Documents
from harmony_core.models.kernels import log_paths
from harmony_core.models.norm import RMSNorm
from harmony_core.models.ops.matmul import linear
from harmony_core.models.ops.precision import compute_dtype
from harmony_core.models.stage import Stage
from harmony_core.models.state import DecodingState
from harmony_core.parametrisation import DEFAULT, Parametrisation


@dataclass(frozen=True)
class LossTerms:
    """Scalars in nats, means over tokens; fp32.

    Args:
        cross_entropy: of the next tokens.
        auxiliary: sum of the routers' balancing losses, coefficients included; zero without any.
    """

    cross_entropy: Tensor
    auxiliary: Tensor

    @property
    def total(self) -> Tensor:
        """What training minimises."""
        return self.cross_entropy + self.auxiliary


class HybridLM(Stage):
    """A model as its architecture describes it; `build` also fills the weights.

    Args:
        architecture: width, vocabulary, tying and blocks.
    """

    embedding: nn.Parameter
    norm: RMSNorm

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture, range(len(architecture.blocks)))

    def forward(self, tokens_BT: Tensor, documents: Documents | None = None) -> Tensor:
        """Logits [B, T, V] of the next token, from int64 [B, T]; documents as for `Stage.advance`."""
        return self._logits(self.hidden(tokens_BT, documents))

    def hidden(self, tokens_BT: Tensor, documents: Documents | None = None) -> Tensor:
        """What the head reads: the normalised residual stream [B, T, D]."""
        hidden_BTD: Tensor = self.norm(self._trunk(tokens_BT, documents)[0])
        return hidden_BTD

    def loss(self, tokens_BT: Tensor, targets_BT: Tensor, documents: Documents | None = None) -> LossTerms:
        """Mean loss over all B x T tokens.

        Args:
            tokens_BT: int64.
            targets_BT: int64, each position's next token.
            documents: kept apart from each other; None is one document a row.
        """
        x_BTD, auxiliary = self._trunk(tokens_BT, documents)
        entropy = self.cross_entropy(x_BTD, targets_BT)
        zero = torch.zeros((), device=entropy.device)
        return LossTerms(entropy, torch.stack(auxiliary).sum() if auxiliary else zero)

    def _trunk(self, tokens_BT: Tensor, documents: Documents | None) -> tuple[Tensor, list[Tensor]]:
        log_paths(self.kernel_paths())
        return self.advance(self.embed(tokens_BT), documents)

    def _logits(self, hidden: Tensor) -> Tensor:
        return linear(self.scaled(hidden), self.output_weight)

    def init_state(self, batch_size: int, max_context: int) -> DecodingState:
        """An empty decoding state; caches are in the autocast type where autocast is on.

        Raises:
            UserError: a block that cannot decode.
        """
        for index, config in enumerate(self.architecture.blocks):
            problem = config.decoding_problem()
            if problem is not None:
                raise UserError(f"blocks.{index}", config.kind, f"it {problem}")
        device, dtype = self.embedding.device, compute_dtype(self.embedding)
        blocks = self.residual_blocks().values()
        states = [block.inner.init_state(batch_size, max_context, device, dtype) for block in blocks]
        return DecodingState(states, max_context)

    @torch.no_grad()
    def step(self, tokens_B: Tensor, state: DecodingState) -> Tensor:
        """Logits [B, V] after one more token a sequence; `state` moves on in place.

        Raises:
            UserError: the state is full.
        """
        if state.position >= state.max_context:
            raise UserError("max_context", state.max_context, "the state is full; make it with room for more tokens")
        x_BD = self.embed(tokens_B)
        for block, memory in zip(self.residual_blocks().values(), state.blocks, strict=True):
            x_BD = block.step(x_BD, memory, state.position)
        state.position += 1
        return self._logits(self.norm(x_BD))

    @torch.no_grad()
    def prefill(self, tokens_BT: Tensor, state: DecodingState) -> Tensor:
        """Logits [B, V] after a whole prompt, read at once into an empty `state`.

        Raises:
            UserError: the state is not empty, or has no room for T tokens.
        """
        length = tokens_BT.shape[1]
        if state.position:
            fix = "prefill begins with an empty state; make a new one"
            raise UserError("state", f"at position {state.position}", fix)
        if not 1 <= length <= state.max_context:
            raise UserError("tokens_BT", f"{length} tokens", f"use 1 to max_context {state.max_context}")
        x_BTD = self.embed(tokens_BT)
        for block, memory in zip(self.residual_blocks().values(), state.blocks, strict=True):
            x_BTD = block.prefill(x_BTD, memory)
        state.position = length
        return self._logits(self.norm(x_BTD[:, -1]))


def build(architecture: Architecture, init_seed: int = 0, parametrisation: Parametrisation = DEFAULT) -> HybridLM:
    """The model with its first weights, fp32 on the CPU: a function of the arguments alone.

    Args:
        architecture: what is built.
        init_seed: of the first weights.
        parametrisation: scale of the first weights.
    """
    model = HybridLM(architecture)
    model.initialise(init_seed, parametrisation)
    return model
