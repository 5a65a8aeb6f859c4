"""Attention and Mamba-2 side by side in one layer (Falcon-H1 2025, arXiv:2507.22448).

B batch, T tokens, D model width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from typing_extensions import override

from harmony_core.architecture import Parallel
from harmony_core.models.block import BlockModule, BlockState
from harmony_core.models.documents import Documents
from harmony_core.models.ops.scaling import scaled
from harmony_core.models.parameter import ParameterSpec
from harmony_core.models.registry import implements, module_for


@implements("parallel")
class ParallelModule(BlockModule):
    """The modules of both blocks over one input, added up; every form is theirs.

    Together they begin as large as one block does: what each writes into the residual stream begins at 1 / sqrt(2).

    Args:
        config: both blocks, and the factors of what they read and write.
        d_model: width D.
        norm_epsilon: of their norms.
    """

    def __init__(self, config: Parallel, d_model: int, norm_epsilon: float) -> None:
        super().__init__()
        self.config = config
        self.attention = module_for(config.attention, d_model, norm_epsilon)
        self.ssm = module_for(config.ssm, d_model, norm_epsilon)
        for branch in (self.attention, self.ssm):
            branch.specs |= {name: _halved(spec) for name, spec in branch.specs.items() if spec.residual}

    @override
    def forward(self, x_BTD: Tensor) -> Tensor:
        return self._added(x_BTD, self.attention, self.ssm)

    @override
    def forward_documents(self, x_BTD: Tensor, documents: Documents) -> Tensor:
        forms = (branch.forward_documents for branch in (self.attention, self.ssm))
        return self._added(x_BTD, *(partial(form, documents=documents) for form in forms))

    def _added(self, x: Tensor, attention: Callable[[Tensor], Tensor], ssm: Callable[[Tensor], Tensor]) -> Tensor:
        """The block's output [.., D] from forms of its branches."""
        c = self.config
        heads = scaled(attention(scaled(x, c.attention_in_multiplier)), c.attention_out_multiplier)
        return heads + scaled(ssm(scaled(x, c.ssm_in_multiplier)), c.ssm_out_multiplier)

    @override
    def init_state(self, batch_size: int, max_context: int, device: torch.device, dtype: torch.dtype) -> BlockState:
        cache, state = (
            branch.init_state(batch_size, max_context, device, dtype) for branch in (self.attention, self.ssm)
        )
        # Each finds its own tensors by their names.
        assert not cache.keys() & state.keys(), "two tensors of one name"
        return cache | state

    @override
    def prefill(self, x_BTD: Tensor, state: BlockState) -> Tensor:
        return self._added(x_BTD, *(partial(branch.prefill, state=state) for branch in (self.attention, self.ssm)))

    @override
    def step(self, x_BD: Tensor, state: BlockState, position: int) -> Tensor:
        steps = (partial(branch.step, state=state, position=position) for branch in (self.attention, self.ssm))
        return self._added(x_BD, *steps)

    @override
    def kernel_path(self) -> str:
        return f"{self.attention.kernel_path()} beside {self.ssm.kernel_path()}"


def _halved(spec: ParameterSpec) -> ParameterSpec:
    """The specification of a matrix whose first values have half the variance."""
    return replace(spec, draw=lambda shape, generator: spec.draw(shape, generator) / math.sqrt(2))
