"""What a kind of block costs, known in one place: the traffic of its activations, its operators' work, its memory.

A kind's file here holds a `BlockCosts` of it; a kind without one is refused by whoever asks, whatever it asks for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from harmony_core.architecture import Block

Work = dict[str, float]

# The residual addition (read 2 D, write D) around every block, and a norm (read and write D) before or behind it.
_ADDITION_ELEMENTS = 3
_NORM_ELEMENTS = 2
# Operations that a norm starts, its backward pass included.
NORM_KERNELS = 9.0


@dataclass(frozen=True)
class Shape:
    """What runs through a block.

    Args:
        d_model: width of the residual stream.
        batch_size: sequences.
        context: tokens a sequence.
        typed_bytes: bytes of an element in the type of the products.
        fused: a GPU's kernels: attention keeps no scores, where the CPU's keeps them while no query sees more than 512
            keys (`models/ops/attention/blocked_plan.py`); feed-forwards keep no opened gate, and experts, in grouped
            products, no rows but their projections (`models/ops/moe/grouped_experts.py`).
    """

    d_model: int
    batch_size: int
    context: int
    typed_bytes: int
    fused: bool = False

    @property
    def tokens(self) -> int:
        """Tokens that pass through the block."""
        return self.batch_size * self.context


@dataclass(frozen=True)
class Traffic:
    """One forward pass of one block.

    Counts are of the plain PyTorch reference without fusion: each operation reads its inputs and writes its outputs
    once, attention's scores and a scan's inner states stay on the chip, a norm reads and writes, a residual addition
    reads two and writes one. They say where time goes, not to the last byte.

    Args:
        elements: activation elements a token, read and written.
        kernels: operations started, however many tokens there are.
    """

    elements: int
    kernels: int


@dataclass(frozen=True)
class KeptMemory:
    """Elements of each token, but for `once`; counted from the modules: what each autograd function saves.

    Args:
        typed: kept for backward, in the type of the products.
        fp32: kept for backward, in fp32 whatever the type of the products.
        working_typed: made in the block's backward pass beside what is kept, when it is most.
        working_fp32: the same in fp32.
        once: kept for backward in fp32, however many tokens there are.
    """

    typed: float
    fp32: float = 0.0
    working_typed: float = 0.0
    working_fp32: float = 0.0
    once: float = 0.0


_B = TypeVar("_B", bound=Block)


class BlockCosts(ABC, Generic[_B]):
    """What blocks of one class cost, norm and residual addition left out."""

    @abstractmethod
    def traffic(self, block: _B, d_model: int) -> Traffic:
        """Activations moved and kernels started."""

    @abstractmethod
    def work(self, block: _B, shape: Shape, train: bool) -> tuple[Work, Work]:
        """The operators' work, in the units of `OperatorCosts`.

        Args:
            block: of a class that these costs are registered for.
            shape: width, context, tokens and precision that it runs with.
            train: whether a backward pass follows; it decides what attention over long contexts computes twice.

        Returns:
            Units a token, and units a block, each by the name of its cost.
        """

    @abstractmethod
    def kept_memory(self, block: _B, shape: Shape) -> KeptMemory:
        """What it keeps for its backward pass, and makes in it."""

    def traffic_with_norm(self, block: _B, d_model: int) -> Traffic:
        """`traffic`, and that of the block's norms and of the residual addition behind it."""
        inner, norms = self.traffic(block, d_model), num_norms(block)
        around = (_ADDITION_ELEMENTS + _NORM_ELEMENTS * norms) * d_model
        return Traffic(around + inner.elements, 1 + norms + inner.kernels)

    def elements(self, block: _B, shape: Shape) -> float:
        """Activation elements that a token reads and writes, norm and residual addition included."""
        return float(self.traffic_with_norm(block, shape.d_model).elements)


_COSTS: dict[type[Block], BlockCosts[Any]] = {}
_C = TypeVar("_C", bound=type[BlockCosts[Any]])


def prices(*classes: type[Block]) -> Callable[[_C], _C]:
    """Registers a `BlockCosts` for classes of blocks, and for those derived from them that have none of their own."""

    def add(cls: _C) -> _C:
        for block_class in classes:
            if block_class in _COSTS:
                raise ValueError(f"{block_class.__name__} has two costs")
            _COSTS[block_class] = cls()
        return cls

    return add


def num_norms(block: Block) -> int:
    """RMSNorms around a block."""
    return 2 if block.norm_position == "both" else 1


def costs_of(block: Block) -> BlockCosts[Any]:
    """The costs of a block's class.

    Raises:
        TypeError: nobody said what it costs.
    """
    for cls in type(block).__mro__:
        if cls in _COSTS:
            return _COSTS[cls]
    raise TypeError(f"the cost model does not know {block.kind!r}; add it to machines/blocks/")
