"""The block: one residual sub-layer with its norm, known by its configuration before a weight exists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

from harmony_core.base import Frozen
from harmony_core.errors import UserError
from harmony_core.plugins import find

Mode = Literal["train", "prefill", "decode"]
Role = Literal["mixer", "channel"]
NormPosition = Literal["pre", "post", "both"]

# Of every RMSNorm, unless the architecture says otherwise.
NORM_EPSILON = 1e-5

_REGISTRY: dict[str, type[Block]] = {}


@dataclass(frozen=True)
class Exchange:
    """What ranks that share sequences tell each other at once.

    Args:
        pattern: each rank gathers what all have of all tokens, or gives each of the others a share of its own tokens'.
        elements: of a token.
    """

    pattern: Literal["all_gather", "all_to_all"]
    elements: int


class Block(Frozen):
    """A sub-layer's hyper-parameters and its cost formulas.

    Counts are of the sub-layer itself; its norms' weights (`norm_params`) are the architecture's to add.
    FLOPs count a multiply-add as two, causal attention at its mean visible context, and leave out
    norms, activations and other terms that are linear in d_model without a matrix.

    Args:
        norm_position: RMSNorm of what the sub-layer reads (`pre`), of its output before that is added to the residual
            stream (`post`: OLMo 2, arXiv:2501.00656, section 3.2), or of both (`both`: Gemma 2, arXiv:2408.00118).
    """

    kind: ClassVar[str]
    role: ClassVar[Role]
    # In which the module computes products; states, norms and decays are fp32 in all of them.
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "bf16")
    # Whether a step reads a value back from the device, which waits for all that was started on it.
    waits_for_device: ClassVar[bool] = False
    # The module that registers what computes it (`models.implements`), imported where a model is built, since it needs
    # torch; what is HARMONY's own is imported with `models`.
    implementation: ClassVar[str | None] = None
    # The whole number that sets the block's size and changes nothing else of it, which a budget is solved with.
    width_field: ClassVar[str | None] = None
    # The whole numbers that a wider model has more of, in proportion to its width: heads, ranks, inner widths.
    grows: ClassVar[tuple[str, ...]] = ()
    norm_position: NormPosition = "pre"

    def num_params(self, d_model: int) -> int:
        """All trainable parameters."""
        raise TypeError(f"{type(self).__name__} has no parameter formula")

    def num_active_params(self, d_model: int) -> int:
        """Parameters that one token multiplies with."""
        return self.num_params(d_model)

    def norm_params(self, d_model: int) -> int:
        """Parameters of the norms around the sub-layer."""
        return 2 * d_model if self.norm_position == "both" else d_model

    def forward_flops_per_token(self, d_model: int, context: int, mode: Mode) -> float:
        """FLOPs of one token's forward pass.

        Args:
            d_model: the model's width.
            context: tokens of the sequence.
            mode: `prefill` is the mean over the sequence, `decode` the last token; `train` is not asked for.
        """
        raise TypeError(f"{type(self).__name__} has no FLOP formula")

    def flops_per_token(self, d_model: int, context: int, mode: Mode) -> float:
        """FLOPs per token.

        Args:
            d_model: the model's width.
            context: tokens of the sequence.
            mode: `prefill` and `decode` as for `forward_flops_per_token`; `train` is three forward passes
                (backward costs two, no recomputation).
        """
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

    @property
    def num_experts(self) -> int:
        """Routed experts, which expert ranks share out; 0 without any."""
        return 0

    @property
    def experts_per_token(self) -> int:
        """Routed experts that a token goes to."""
        return 0

    def expert_width(self, d_model: int) -> int:
        """Elements of a token that its routed experts read, and write."""
        return d_model

    @property
    def balancing_rate(self) -> float | None:
        """By how much a bias that evens the experts' load moves after a step; None without one."""
        return None

    def expert_params(self, d_model: int) -> int:
        """Parameters of all routed experts."""
        return 0

    def active_expert_params(self, d_model: int) -> int:
        """Those of them that one token multiplies with."""
        return 0

    def touched_params(self, d_model: int, tokens: float) -> float:
        """Parameters that a pass over `tokens` tokens reads."""
        return self.num_params(d_model)

    def on_expert_rank(self, ranks: int) -> Block:
        """The block as one of `ranks` that share its experts computes it: as many rows, on its share of them."""
        return self

    def context_problem(self, d_model: int, ranks: int) -> str | None:
        """What keeps `ranks` ranks from sharing a sequence in this block; None where nothing does.

        Of a mixer nothing is known until it says how it sees the tokens of others.
        """
        return "needs whole sequences on one rank; use attention or a Hyena operator" if self.role == "mixer" else None

    def context_exchanges(self, d_model: int) -> tuple[Exchange, ...]:
        """What ranks that share sequences tell each other in one pass, in order."""
        if self.role == "mixer":
            raise TypeError(f"{type(self).__name__} does not say what ranks that share sequences tell each other")
        return ()

    def documents_problem(self) -> str | None:
        """Why documents in one sequence are not kept apart; None where each comes out as if it were alone."""
        return "has no reset of its state between documents" if self.role == "mixer" else None

    def padding_problem(self) -> str | None:
        """Why real tokens come out otherwise beside padding; None where they do not.

        Padding is a document of its own, so what keeps documents apart can do with it.
        """
        return self.documents_problem()

    def decoding_problem(self) -> str | None:
        """Why no token can follow another one by itself; None where the module has a state, a prefill and a step."""
        return None

    def check(self, d_model: int) -> None:
        """Raises ValueError where the block does not fit a model of this width."""

    def check_length(self, sequence_length: int) -> None:
        """Raises ValueError where sequences of this many tokens are too short to train all of the block."""

    def canonical(self) -> Block:
        """The one spelling of what this block computes, as far as the block alone tells."""
        return self

    def canonical_in(self, d_model: int, norm_epsilon: float = NORM_EPSILON) -> Block:
        """The one spelling in a model: as `canonical`, without what its width and epsilon say already."""
        return self.canonical()

    def unreached(self) -> str | None:
        """Which part of the block no loss can reach, whatever the weights, and why; None where all of it learns."""
        return None

    def to_dict(self) -> dict[str, Any]:
        """The kind and every field that differs from its default."""
        return {"kind": self.kind, **self.model_dump(exclude_defaults=True)}


_B = TypeVar("_B", bound=Block)


def changed_fields(block: Block, fields: dict[str, Any]) -> Block:
    """The block with these values, which are known to be valid; the very block where none of them is another one."""
    changes = {name: value for name, value in fields.items() if value != getattr(block, name)}
    return block.model_copy(update=changes) if changes else block


def register(cls: type[_B]) -> type[_B]:
    """Makes `cls` known under its `kind`; a kind is never taken away, so stored genomes decode."""
    if cls.kind in _REGISTRY:
        raise ValueError(f"block kind {cls.kind!r} is registered twice")
    _REGISTRY[cls.kind] = cls
    return cls


def block_kinds(role: Role | None = None) -> list[str]:
    """Registered kinds in order of registration, of one role or of both."""
    return [kind for kind, cls in _REGISTRY.items() if role in (None, cls.role)]


def is_block_kind(kind: str) -> bool:
    """Whether HARMONY or a distribution that is installed has such blocks."""
    return find("blocks", kind, _REGISTRY) is not None


def block_class(kind: str) -> type[Block]:
    """The configuration class of a kind; UserError names the kinds there are."""
    found = find("blocks", kind, _REGISTRY)
    if found is None:
        raise UserError("kind", kind, f"unknown block kind; use one of {', '.join(_REGISTRY)}")
    return found


def block_from_dict(data: Any) -> Block:
    """Builds a block from `{"kind": ..., field: value}`."""
    if isinstance(data, Block):
        return data
    if not isinstance(data, dict) or "kind" not in data:
        raise ValueError("a block is a mapping with a 'kind'")
    fields = {key: value for key, value in data.items() if key != "kind"}
    return block_class(str(data["kind"])).parse(fields, data["kind"])
