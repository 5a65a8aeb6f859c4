"""What a model family of `transformers` declares: its fields, its blocks, its weights; each in both directions."""

from __future__ import annotations

import abc
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, TypeVar

from pydantic import ValidationError
from typing_extensions import override

from harmony_core.architecture import Architecture, Block
from harmony_core.errors import UserError
from harmony_core.interop.hf.fields import BESIDE, COMMON, COMMON_FIXED, Fields
from harmony_core.interop.hf.library import declared_fields
from harmony_core.interop.hf.weights import Weight, same

_T = TypeVar("_T")
# The tensors of a block, from how their keys begin here and there.
BlockWeights = Callable[[Any, str, str], Iterable[Weight]]
# For each class of block where in a layer it lies, and its tensors.
WeightTable = Mapping[type[Block], tuple[str, BlockWeights]]


class DoesNotFit(Exception):
    """An architecture that a family cannot express."""


def only(values: Iterable[_T]) -> _T:
    """The one value that all of `values` are; `DoesNotFit` for none or several."""
    found = list(dict.fromkeys(values))
    if len(found) != 1:
        raise DoesNotFit
    return found[0]


class Family(abc.ABC):
    """One `model_type`.

    `read` and `weights` say what the model computes; `fields_of` goes back from an architecture, and need not be
    careful: what it gives is read again and compared (`harmony_core.interop.hf.export`).
    """

    model_type: ClassVar[str]
    # The class with the language-model head.
    model_class: ClassVar[str]
    # Fields that do not change what the model computes, for the reasons given where they are listed.
    harmless: ClassVar[tuple[str, ...]] = ()
    # Fields that act while training alone; a warning names them.
    training_only: ClassVar[tuple[str, ...]] = ()
    # Fields with the values that are supported, where they are not read.
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {}
    # What our fields are called in errors.
    names: ClassVar[dict[str, str]] = {
        "num_heads": "num_attention_heads",
        "num_kv_heads": "num_key_value_heads",
        "d_ff": "intermediate_size",
        "top_k": "num_experts_per_tok",
        "n_routed": "the number of experts",
    }
    # Whether the class counts the tokens in its cache by a layer of attention, and fails where there is none.
    cache_needs_attention: ClassVar[bool] = False
    epsilon_field: ClassVar[str] = "rms_norm_eps"
    embedding: ClassVar[str] = "model.embed_tokens.weight"
    final_norm: ClassVar[str] = "model.norm.weight"
    weight_table: ClassVar[WeightTable] = {}

    def variant(self, values: Mapping[str, Any]) -> Family:
        """The family as one configuration lays out its tensors."""
        return self

    def architecture(self, values: Mapping[str, Any]) -> Architecture:
        """The architecture that a configuration describes.

        Raises:
            UserError: names a field that its class reads and nothing here does, or whose value is not supported, and
                what is allowed.
        """
        fields = Fields(self.model_type, values)
        for name, allowed in {**COMMON_FIXED, **self.fixed}.items():
            fields.require(name, allowed)
        head = {
            "d_model": fields.integer("hidden_size"),
            "vocab_size": fields.integer("vocab_size"),
            "norm_epsilon": fields.number(self.epsilon_field),
            **self.head(fields),
        }
        try:
            blocks = tuple(self.blocks(fields))
            fields.finish((*COMMON, *BESIDE, *self.harmless), self.training_only, declared_fields(self.model_type))
            return Architecture.parse({**head, "blocks": blocks}, self.model_type)
        except ValidationError as error:
            detail = error.errors(include_url=False)[0]
            fix = detail["msg"].removeprefix("Value error, ")
            raise self._renamed(UserError(f"{self.model_type}.{error.title.lower()}", "not possible", fix)) from None
        except UserError as error:
            raise self._renamed(error) from None

    def _renamed(self, error: UserError) -> UserError:
        """The error with the family's names of fields for ours."""
        pattern = rf"\b({'|'.join(self.names)})\b"
        field, fix = (re.sub(pattern, lambda one: self.names[one[0]], text) for text in (error.field, error.fix))
        return UserError(field, error.value, fix)

    def head(self, fields: Fields) -> dict[str, Any]:
        """What the family says of embedding and head."""
        return {"tie_embeddings": fields.flag("tie_word_embeddings")}

    @abc.abstractmethod
    def blocks(self, fields: Fields) -> Iterable[Block]:
        """The blocks in order."""

    def fields_of(self, architecture: Architecture) -> dict[str, Any]:
        """Fields of a configuration that may describe the architecture; raises `DoesNotFit`."""
        return {
            "hidden_size": architecture.d_model,
            "vocab_size": architecture.vocab_size,
            self.epsilon_field: architecture.norm_epsilon,
            "tie_word_embeddings": architecture.tie_embeddings,
            **self.block_fields(architecture),
        }

    @abc.abstractmethod
    def block_fields(self, architecture: Architecture) -> dict[str, Any]:
        """`fields_of` the blocks."""

    def weights(self, architecture: Architecture) -> Iterator[Weight]:
        """All tensors of the architecture."""
        yield same("embedding", self.embedding)
        yield same("norm.weight", self.final_norm)
        if not architecture.tie_embeddings:
            yield same("head", "lm_head.weight")
        for index, block in enumerate(architecture.blocks):
            before, behind = f"blocks.{index}.norm.weight", f"blocks.{index}.out_norm.weight"
            if block.norm_position != "post":
                yield same(before, self.norm_name(index))
            if block.norm_position != "pre":
                yield same(behind if block.norm_position == "both" else before, self.out_norm_name(index))
            yield from self.block_weights(block, f"blocks.{index}.inner", index)

    @abc.abstractmethod
    def norm_name(self, index: int) -> str:
        """The key of the norm before block `index`."""

    def out_norm_name(self, index: int) -> str:
        """The key of the norm behind block `index`, in families that have one."""
        raise TypeError(f"{type(self).__name__} has no norms behind its blocks")

    @abc.abstractmethod
    def block_weights(self, block: Block, ours: str, index: int) -> Iterable[Weight]:
        """The tensors of one block.

        Args:
            block: its configuration.
            ours: how its keys begin here.
            index: its place among the architecture's blocks, from 0.
        """

    def layer_weights(self, block: Block, ours: str, layer: str) -> Iterable[Weight]:
        """The tensors of a block of a layer.

        Args:
            block: of `architecture`.
            ours: how its keys begin here.
            layer: how the layer's keys begin there.
        """
        path, weights = next(entry for kind, entry in self.weight_table.items() if isinstance(block, kind))
        return weights(block, ours, f"{layer}.{path}")


class Layered(Family):
    """A family whose layers are a token mixer and a channel mixer."""

    norms: ClassVar[tuple[str, str]] = ("input_layernorm", "post_attention_layernorm")
    # Behind the mixer and the channel mixer, where they have norms there.
    out_norms: ClassVar[tuple[str, str]] = ("post_attention_layernorm", "post_feedforward_layernorm")

    @override
    def blocks(self, fields: Fields) -> Iterable[Block]:
        # Equal layers are one object, and so are checked once.
        mixers, channels = self.mixers(fields), self.channels(fields)
        return [block for layer in zip(mixers, channels, strict=True) for block in layer]

    @abc.abstractmethod
    def mixers(self, fields: Fields) -> list[Block]:
        """The token mixer of each layer."""

    @abc.abstractmethod
    def channels(self, fields: Fields) -> list[Block]:
        """The channel mixer of each layer."""

    @override
    def block_fields(self, architecture: Architecture) -> dict[str, Any]:
        roles = [block.role for block in architecture.blocks]
        if roles != ["mixer", "channel"] * (len(roles) // 2):
            raise DoesNotFit
        mixers, channels = list(architecture.blocks[::2]), list(architecture.blocks[1::2])
        return {"num_hidden_layers": len(mixers), **self.layer_fields(architecture, mixers, channels)}

    @abc.abstractmethod
    def layer_fields(self, architecture: Architecture, mixers: list[Block], channels: list[Block]) -> dict[str, Any]:
        """`fields_of` the layers.

        Args:
            architecture: all of it.
            mixers: the token mixer of each layer.
            channels: the channel mixer of each layer.

        Raises:
            DoesNotFit: the family has no fields for these.
        """

    @override
    def norm_name(self, index: int) -> str:
        return f"model.layers.{index // 2}.{self.norms[index % 2]}.weight"

    @override
    def out_norm_name(self, index: int) -> str:
        return f"model.layers.{index // 2}.{self.out_norms[index % 2]}.weight"

    @override
    def block_weights(self, block: Block, ours: str, index: int) -> Iterable[Weight]:
        return self.layer_weights(block, ours, f"model.layers.{index // 2}")
