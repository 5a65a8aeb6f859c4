"""Reading a `transformers` configuration so that no field of it goes unseen."""

from __future__ import annotations

import logging
from collections.abc import Container, Iterable, Mapping
from typing import Any

from harmony_core.errors import UserError

_LOG = logging.getLogger(__name__)

# Every configuration has these: names and token ids, what `generate` or another head reads, first values. The longest
# context limits nothing; YaRN without a factor reads it, and then it counts as read.
COMMON = (
    "model_type",
    "architectures",
    "auto_map",
    "transformers_version",
    "_name_or_path",
    "_attn_implementation_autoset",
    "tokenizer_class",
    "torchscript",
    "dtype",
    "id2label",
    "label2id",
    "problem_type",
    "pad_token_id",
    "bos_token_id",
    "eos_token_id",
    "sep_token_id",
    "use_cache",
    "max_position_embeddings",
    "return_dict",
    "output_attentions",
    "output_hidden_states",
    "chunk_size_feed_forward",
    "initializer_range",
)
# Of every configuration: how weights are stored, and how many heads predict further tokens. Neither changes what the
# model computes; `from_hf` says what of them it leaves.
LEFT = ("quantization_config", "num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_modules")
# What goes with them.
BESIDE = (*LEFT, "mtp_layers_block_type", "mtp_use_dedicated_embeddings", "mtp_transformer_layers", "use_mtp")
# Of every configuration: what masks and caches of `transformers` look for, declared by its class or not.
SHARED = ("attention_chunk_size", "is_causal", "layer_types", "num_kv_shared_layers", "sliding_window")
# These would make any configuration another kind of model.
COMMON_FIXED: dict[str, tuple[Any, ...]] = {
    "is_encoder_decoder": (False, None),
    "per_layer_config": (None,),
}


class Fields:
    """The fields of one configuration, each of which is read, allowed by value, harmless, or unknown to its class.

    Args:
        model_type: the family's name.
        values: the configuration as a mapping.
        where: what stands before a field's name in errors.
    """

    def __init__(self, model_type: str, values: Mapping[str, Any], where: str | None = None) -> None:
        self.where = model_type if where is None else where
        self.model_type = model_type
        self.values = values
        self.seen: set[str] = set()

    def get(self, name: str) -> Any:
        """A field's value, None where there is none."""
        self.seen.add(name)
        return self.values.get(name)

    def error(self, name: str, fix: str) -> UserError:
        """What to raise for a field."""
        return UserError(f"{self.where}.{name}", self.values.get(name), fix)

    def integer(self, name: str, least: int = 1, default: int | None = None) -> int:
        """A whole number.

        Args:
            name: the field's.
            least: that it may be.
            default: stands for None, where it is given.

        Raises:
            UserError: it is something else.
        """
        value = self.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise self.error(name, f"use a whole number from {least}")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """A finite number; `default`, where given, stands for None."""
        value = self.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < float("inf"):
            raise self.error(name, "use a number")
        return float(value)

    def flag(self, name: str) -> bool:
        """A truth value; None is False, as `transformers` reads it."""
        value = self.get(name)
        if value not in (True, False, None):
            raise self.error(name, "use true or false")
        return bool(value)

    def choice(self, name: str, meanings: Mapping[str, str]) -> str:
        """What a field's word means here."""
        value = self.get(name)
        if value not in meanings:
            raise self.error(name, f"not supported here; use one of {', '.join(meanings)}")
        return meanings[value]

    def require(self, name: str, allowed: Iterable[Any], fix: str | None = None) -> None:
        """Refuses a field that is there with another value than the allowed ones.

        Args:
            name: the field's.
            allowed: compared by type too.
            fix: what to do about it; None names the allowed values.

        Raises:
            UserError: it has another value.
        """
        self.seen.add(name)
        # This compares types too: 0 is not False, and 1 is not True.
        allowed = tuple(allowed)
        if name in self.values and not any(
            type(self.values[name]) is type(one) and self.values[name] == one for one in allowed
        ):
            words = " or ".join(str(one) for one in allowed)
            raise self.error(name, fix or f"not supported here; use {words}")

    def finish(
        self, harmless: Iterable[str], training_only: Iterable[str] = (), declared: Container[str] | None = None
    ) -> None:
        """Refuses the first field that nobody read and that matters; warns of what is left out.

        Args:
            harmless: fields that change nothing.
            training_only: fields that act while training alone.
            declared: fields that the model's class has, so that it cannot read any other; None is not known.
        """
        known, left_out = {*harmless, *training_only, *self.seen}, []
        for name in self.values:
            if name in known:
                continue
            shared = name in SHARED and self.values[name] is not None
            if shared or declared is None or name in declared:
                fix = f"unknown field of {self.model_type}; leave it out if the model does not read it"
                raise self.error(name, fix)
            left_out.append(name)
        if left_out:
            _LOG.warning("%s: its class has no such fields, left out: %s", self.where, ", ".join(left_out))
        for name in training_only:
            if self.values.get(name):
                _LOG.warning("%s.%s %s acts in training alone; left out", self.where, name, self.values[name])
