"""The language model: embedding, pre-norm residual blocks, final norm, head.

B batch, T tokens, D model width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from harmony_core.architecture import Architecture, Block, MoE
from harmony_core.errors import UserError
from harmony_core.models import groups
from harmony_core.models.block import BlockState
from harmony_core.models.context_parallel.group import ContextParallel, TakesContextParallel
from harmony_core.models.kernels import log_paths
from harmony_core.models.moe import MoEModule
from harmony_core.models.norm import RMSNorm
from harmony_core.models.ops.cross_entropy import linear_cross_entropy
from harmony_core.models.ops.matmul import linear
from harmony_core.models.ops.precision import compute_dtype
from harmony_core.models.parameter import Declared, ParameterSpec, initialise, normal
from harmony_core.models.registry import module_for
from harmony_core.models.state import DecodingState

EMBEDDING_STD = 0.02


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


class ResidualBlock(nn.Module):
    """x + multiplier x inner(norm(x))."""

    def __init__(self, config: Block, architecture: Architecture) -> None:
        super().__init__()
        d_model, epsilon = architecture.d_model, architecture.norm_epsilon
        self.norm = RMSNorm(d_model, epsilon)
        self.inner = module_for(config, d_model, epsilon)
        self.multiplier = architecture.residual_multiplier

    def forward(self, x_BTD: Tensor) -> tuple[Tensor, Tensor | None]:
        """The residual stream after the block, and its auxiliary loss if it has one."""
        y_BTD, auxiliary = self.inner.forward_with_loss(self.norm(x_BTD))
        return self._add(x_BTD, y_BTD), auxiliary

    def prefill(self, x_BTD: Tensor, state: BlockState) -> Tensor:
        """`forward` that fills an empty decoding state."""
        return self._add(x_BTD, self.inner.prefill(self.norm(x_BTD), state))

    def step(self, x_BD: Tensor, state: BlockState, position: int) -> Tensor:
        """The residual stream of the token at `position`."""
        return self._add(x_BD, self.inner.step(self.norm(x_BD), state, position))

    def _add(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y if self.multiplier == 1.0 else x + y * self.multiplier


class HybridLM(Declared):
    """A model as its architecture describes it; `build` also fills the weights.

    Args:
        architecture: width, vocabulary, tying and blocks.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        shape, draw = (architecture.vocab_size, architecture.d_model), normal(EMBEDDING_STD)
        self.embedding = self.declare("embedding", shape, ParameterSpec(draw, "embedding"))
        self.blocks = nn.ModuleList(ResidualBlock(block, architecture) for block in architecture.blocks)
        self.norm = RMSNorm(shape[1], architecture.norm_epsilon)
        self._compiled = False
        self.head: nn.Parameter | None = None
        if not architecture.tie_embeddings:
            self.head = self.declare("head", shape, ParameterSpec(draw, "matrix", shape[1]))

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Logits [B, T, V] of the next token, from int64 [B, T]."""
        return self._logits(self.hidden(tokens_BT))

    def hidden(self, tokens_BT: Tensor) -> Tensor:
        """What the head reads: the normalised residual stream [B, T, D]."""
        return self._trunk(tokens_BT)[0]

    def loss(self, tokens_BT: Tensor, targets_BT: Tensor) -> LossTerms:
        """Mean loss over all B x T tokens; `targets_BT` holds each position's next token.

        Cross entropy is fp32 whatever the precision, and its gradient is computed along with it, so that
        no more than a slice of the logits exists at a time.
        """
        hidden_BTD, auxiliary = self._trunk(tokens_BT)
        hidden_BTD = self._scaled(hidden_BTD)
        entropy = linear_cross_entropy(hidden_BTD.flatten(0, 1), self.output_weight, targets_BT.flatten())
        zero = torch.zeros((), device=entropy.device)
        return LossTerms(entropy, torch.stack(auxiliary).sum() if auxiliary else zero)

    def _trunk(self, tokens_BT: Tensor) -> tuple[Tensor, list[Tensor]]:
        log_paths(self.kernel_paths())
        x_BTD = self._embed(tokens_BT)
        losses = []
        for block in self.blocks:
            x_BTD, auxiliary = block(x_BTD)
            if auxiliary is not None:
                losses.append(auxiliary)
        return self.norm(x_BTD), losses

    def _embed(self, tokens: Tensor) -> Tensor:
        x = nn.functional.embedding(tokens, self.embedding)
        multiplier = self.architecture.embedding_multiplier
        return x if multiplier == 1.0 else x * multiplier

    def _scaled(self, hidden: Tensor) -> Tensor:
        divisor = self.architecture.logits_divisor
        return hidden if divisor == 1.0 else hidden / divisor

    def _logits(self, hidden: Tensor) -> Tensor:
        return linear(self._scaled(hidden), self.output_weight)

    @property
    def output_weight(self) -> nn.Parameter:
        """The head's weight [V, D]: the embedding when tied."""
        return self.embedding if self.head is None else self.head

    def init_state(self, batch_size: int, max_context: int) -> DecodingState:
        """An empty decoding state; caches are in the autocast type where autocast is on."""
        device, dtype = self.embedding.device, compute_dtype(self.embedding)
        blocks = [block.inner.init_state(batch_size, max_context, device, dtype) for block in self._residual_blocks()]
        return DecodingState(blocks, max_context)

    @torch.no_grad()
    def step(self, tokens_B: Tensor, state: DecodingState) -> Tensor:
        """Logits [B, V] after one more token a sequence; `state` moves on in place.

        Raises:
            UserError: the state is full.
        """
        if state.position >= state.max_context:
            raise UserError("max_context", state.max_context, "the state is full; make it with room for more tokens")
        x_BD = self._embed(tokens_B)
        for block, memory in zip(self._residual_blocks(), state.blocks, strict=True):
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
        x_BTD = self._embed(tokens_BT)
        for block, memory in zip(self._residual_blocks(), state.blocks, strict=True):
            x_BTD = block.prefill(x_BTD, memory)
        state.position = length
        return self._logits(self.norm(x_BTD[:, -1]))

    def use_context_parallel(self, cp: ContextParallel | None) -> None:
        """From now on sequences are spread over the ranks of `cp`, each with tokens of its own; None ends it.

        `forward` and `loss` are then of this rank's tokens (`cp.shard`), and gradients its share of them
        (`harmony_core.models.context_parallel`).

        Raises:
            UserError: a mixer that has no such form, or a mixture whose loss or capacity is of whole sequences.
        """
        for index, (config, block) in enumerate(zip(self.architecture.blocks, self._residual_blocks(), strict=True)):
            if config.role == "mixer" and not isinstance(block.inner, TakesContextParallel):
                fix = "it cannot be spread over ranks; use attention or a Hyena operator, or no context parallelism"
                raise UserError(f"blocks.{index}", config.kind, fix)
            if isinstance(config, MoE) and (config.balancing == "aux" or config.capacity_factor is not None):
                fix = "balancing aux and a capacity are of whole sequences; use bias or none, and no capacity"
                raise UserError(f"blocks.{index}", config.kind, fix)
        for block in self._residual_blocks():
            if isinstance(block.inner, TakesContextParallel):
                block.inner.context_parallel = cp

    def compile_blocks(self) -> None:
        """Lets `torch.compile` compile each block at its next use; equal blocks share what was compiled.

        Decoding is not compiled. The result is the same but for rounding. Needs a C++ compiler on a CPU.
        """
        for block in self.blocks:
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

    def after_step(self) -> None:
        """To be called after each optimiser step: moves the balancing biases, begins a new load count."""
        for module in self._mixtures().values():
            module.router.after_step()

    def router_load(self) -> dict[int, Tensor]:
        """By block index, the share of choices that each expert had in the last step: [E], sums to 1."""
        return {index: module.router.load_E for index, module in self._mixtures().items()}

    def load_imbalance(self) -> float:
        """The busiest expert's share over an even one, the worst block of the last step; 1 is even, 0 is no router."""
        return max((float(load.max() * len(load)) for load in self.router_load().values()), default=0.0)

    def kernel_paths(self) -> tuple[str, ...]:
        """`kind: path` for each kind of block, in order of first use."""
        pairs = zip(self.architecture.blocks, self._residual_blocks(), strict=True)
        paths = dict.fromkeys(f"{config.kind}: {block.inner.kernel_path()}" for config, block in pairs)
        return (*paths, "torch.compile") if self._compiled else tuple(paths)

    def num_params(self) -> int:
        """Elements of all parameters, tied ones once: what `Architecture.num_params` says."""
        return sum(parameter.numel() for parameter in self.parameters())

    def _residual_blocks(self) -> list[ResidualBlock]:
        return list(self.blocks)  # type: ignore[arg-type]

    def _mixtures(self) -> dict[int, MoEModule]:
        found = enumerate(block.inner for block in self._residual_blocks())
        return {index: inner for index, inner in found if isinstance(inner, MoEModule)}


def build(architecture: Architecture, init_seed: int = 0) -> HybridLM:
    """The model with its first weights, fp32 on the CPU: a function of the architecture and the seed alone."""
    model = HybridLM(architecture)
    initialise(model, init_seed, len(architecture.blocks))
    return model
