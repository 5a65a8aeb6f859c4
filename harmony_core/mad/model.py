"""The models that tasks train: a stack that answers at every token, or one that says all again from its last vector.

N sequences, T tokens, D model width, V vocabulary.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from harmony_core.architecture import Architecture
from harmony_core.mad.task import MadTask
from harmony_core.models import HybridLM
from harmony_core.models.norm import RMSNorm
from harmony_core.models.ops.matmul import linear
from harmony_core.models.parameter import (
    Declared,
    Draw,
    ParameterSpec,
    constant,
    declared_parameters,
    generator,
    initialise,
    matrix,
    normal,
    uniform,
)
from harmony_core.parametrisation import Parametrisation

# Standard deviation of the authors' embeddings, and of all matrices of their auto-encoder.
_PAPER_STD = 0.02


class Linear(Declared):
    """A matrix and a bias.

    Args:
        inputs: width of what it reads.
        outputs: width of what it gives.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = self.declare("weight", (outputs, inputs), matrix(inputs))
        self.bias = self.declare("bias", (outputs,), ParameterSpec(constant(0.0)))

    def forward(self, x: Tensor) -> Tensor:
        """[.., outputs] from [.., inputs]."""
        return linear(x, self.weight, self.bias)


class MadModel(Declared):
    """A stack and what makes logits of it.

    Args:
        architecture: of the task's vocabulary.
        has_readout: whether the logits come from a matrix of their own with a bias, as the authors' do; otherwise from
            the stack's own head.
    """

    def __init__(self, architecture: Architecture, has_readout: bool) -> None:
        super().__init__()
        self.stack = HybridLM(architecture)
        self.readout = Linear(architecture.d_model, architecture.vocab_size) if has_readout else None

    def forward(self, tokens_NT: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits [N, T, V], and the blocks' auxiliary losses."""
        x_NTD, auxiliary = self.stack.advance(self.stack.embed(tokens_NT))
        return self.logits(self.norm(x_NTD)), auxiliary

    def logits(self, hidden: Tensor) -> Tensor:
        """[.., V] of the normalised stream."""
        hidden = self.stack.scaled(hidden)
        return linear(hidden, self.stack.output_weight) if self.readout is None else self.readout(hidden)

    @property
    def norm(self) -> RMSNorm:
        """The stack's last one."""
        return self.stack.norm

    def initialise(self, seed: int, parametrisation: Parametrisation) -> None:
        """First values as a training of ours has them."""
        initialise(self, seed, len(self.stack.architecture.blocks), parametrisation)

    @torch.no_grad()
    def initialise_as_the_paper(self, seed: int) -> None:
        """First values as the authors' code has them: PyTorch's own for linear layers, whatever they write into.

        Embeddings are drawn with a standard deviation of 0.02; biases, norms, decays and step sizes begin as usual.
        """
        for name, parameter, spec in declared_parameters(self):
            draw = spec.draw
            if spec.tokens:
                draw = normal(_PAPER_STD)
            elif spec.kind == "matrix":
                draw = self.first_matrix(spec.fan_in)
            parameter.copy_(draw(parameter.shape, generator(seed, name)))

    def first_matrix(self, fan_in: int) -> Draw:
        """`torch.nn.Linear`'s first weights."""
        return uniform(-1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))


class AutoEncoder(MadModel):
    """The last token's vector, told apart by positions, through two layers without expansion: every token again.

    Poli et al. 2024, appendix B, and the authors' code: RMSNorm, linear, GELU twice, then the logits.

    Args:
        architecture: of the task's vocabulary; its last norm is the decoder's first.
        has_readout: as for `MadModel`.
        length: tokens of a sequence.
    """

    positions_TD: Tensor

    def __init__(self, architecture: Architecture, has_readout: bool, length: int) -> None:
        super().__init__(architecture, has_readout)
        width, epsilon = architecture.d_model, architecture.norm_epsilon
        self.first, self.second = Linear(width, width), Linear(width, width)
        self.middle_norm, self.last_norm = RMSNorm(width, epsilon), RMSNorm(width, epsilon)
        self.register_buffer("positions_TD", sinusoids(length, width), persistent=False)

    def forward(self, tokens_NT: Tensor) -> tuple[Tensor, list[Tensor]]:
        """As `MadModel.forward`."""
        x_NTD, auxiliary = self.stack.advance(self.stack.embed(tokens_NT))
        x_NTD = self.norm(x_NTD[:, -1:] + self.positions_TD)
        x_NTD = self.middle_norm(nn.functional.gelu(self.first(x_NTD)))
        x_NTD = self.last_norm(nn.functional.gelu(self.second(x_NTD)))
        return self.logits(x_NTD), auxiliary

    def first_matrix(self, fan_in: int) -> Draw:
        """Normal, in the authors' auto-encoder alone."""
        return normal(_PAPER_STD)


def sinusoids(length: int, width: int) -> Tensor:
    """Sines and cosines of the positions [T, D] at frequencies from 1 to 1/10,000; an odd last channel is 0."""
    half = width // 2
    frequencies = 10_000.0 ** -(torch.arange(half) / max(half - 1, 1))
    angles = torch.arange(length)[:, None] * frequencies
    return nn.functional.pad(torch.cat([angles.sin(), angles.cos()], 1), (0, width - 2 * half))


def model_for(task: MadTask, architecture: Architecture, has_readout: bool) -> MadModel:
    """The unfilled model that a task trains.

    Args:
        task: says whether it encodes.
        architecture: of the task's vocabulary.
        has_readout: as for `MadModel`.
    """
    if task.encodes:
        return AutoEncoder(architecture, has_readout, task.length)
    return MadModel(architecture, has_readout)
