"""The block: one pre-norm residual sub-layer, known by its configuration before a weight exists."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, TypeVar

from harmony_core.base import Frozen
from harmony_core.errors import UserError

Mode = Literal["train", "prefill", "decode"]
Role = Literal["mixer", "channel"]

_REGISTRY: dict[str, type[Block]] = {}


class Block(Frozen):
    """A sub-layer's hyper-parameters and its cost formulas.

    Counts are of the sub-layer itself; its pre-norm weight (d_model) is the architecture's to add.
    FLOPs count a multiply-add as two, causal attention at its mean visible context, and leave out
    norms, activations and other terms that are linear in d_model without a matrix.
    """

    kind: ClassVar[str]
    role: ClassVar[Role]

    def num_params(self, d_model: int) -> int:
        """All trainable parameters."""
        raise TypeError(f"{type(self).__name__} has no parameter formula")

    def num_active_params(self, d_model: int) -> int:
        """Parameters that one token multiplies with."""
        return self.num_params(d_model)

    def forward_flops_per_token(self, d_model: int, context: int, mode: Mode) -> float:
        """FLOPs of one token's forward pass: mean over a sequence (`prefill`) or the last token (`decode`)."""
        raise TypeError(f"{type(self).__name__} has no FLOP formula")

    def flops_per_token(self, d_model: int, context: int, mode: Mode) -> float:
        """FLOPs per token; `train` is three forward passes (backward costs two, no recomputation)."""
        if mode == "train":
            return 3 * self.forward_flops_per_token(d_model, context, "prefill")
        return self.forward_flops_per_token(d_model, context, mode)

    def kv_elements_per_token(self) -> int:
        """Cache elements that grow with every token (a window caps how many tokens are kept)."""
        return 0

    def kv_bytes_per_token(self, bytes_per_element: int = 2) -> int:
        """Cache bytes that grow with every token; bf16 unless told otherwise."""
        return self.kv_elements_per_token() * bytes_per_element

    def kv_cache_elements(self, context: int) -> int:
        """Cache elements held for a sequence of `context` tokens."""
        return self.kv_elements_per_token() * context

    def state_elements(self, d_model: int) -> int:
        """Elements of recurrent state a sequence, whatever its length."""
        return 0

    def state_bytes(self, d_model: int, bytes_per_element: int = 2) -> int:
        """Bytes of recurrent state a sequence; bf16 unless told otherwise."""
        return self.state_elements(d_model) * bytes_per_element

    def check(self, d_model: int) -> None:
        """Raises ValueError where the block does not fit a model of this width."""

    def check_length(self, sequence_length: int) -> None:
        """Raises ValueError where sequences of this many tokens are too short to train all of the block."""

    def canonical(self) -> Block:
        """The one spelling of what this block computes."""
        return self

    def to_dict(self) -> dict[str, Any]:
        """The kind and every field that differs from its default."""
        return {"kind": self.kind, **self.model_dump(exclude_defaults=True)}


_B = TypeVar("_B", bound=Block)


def register(cls: type[_B]) -> type[_B]:
    """Makes `cls` known under its `kind`; a kind is never taken away, so stored genomes decode."""
    if cls.kind in _REGISTRY:
        raise ValueError(f"block kind {cls.kind!r} is registered twice")
    _REGISTRY[cls.kind] = cls
    return cls


def block_kinds(role: Role | None = None) -> list[str]:
    """Registered kinds in order of registration, of one role or of both."""
    return [kind for kind, cls in _REGISTRY.items() if role in (None, cls.role)]


def block_class(kind: str) -> type[Block]:
    """The configuration class of a kind; UserError names the kinds there are."""
    if kind not in _REGISTRY:
        raise UserError("kind", kind, f"unknown block kind; use one of {', '.join(_REGISTRY)}")
    return _REGISTRY[kind]


def block_from_dict(data: Any) -> Block:
    """Builds a block from `{"kind": ..., field: value}`."""
    if isinstance(data, Block):
        return data
    if not isinstance(data, dict) or "kind" not in data:
        raise ValueError("a block is a mapping with a 'kind'")
    fields = {key: value for key, value in data.items() if key != "kind"}
    return block_class(str(data["kind"])).parse(fields, data["kind"])
