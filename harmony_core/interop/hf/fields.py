"""Reading a `transformers` configuration so that no field of it goes unseen."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from harmony_core.errors import UserError

_LOG = logging.getLogger(__name__)

# Of every configuration: names and token ids, what `generate` or another head reads, first values. The longest
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
# Of every configuration: what would make it another kind of model.
COMMON_FIXED: dict[str, tuple[Any, ...]] = {
    "is_encoder_decoder": (False, None),
    "quantization_config": (None,),
    "per_layer_config": (None,),
}


class Fields:
    """The fields of one configuration, each of which must be read, allowed by value, or known to be harmless.

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
        """A whole number of at least `least`; `default`, where given, stands for None."""
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
        """Refuses a field that is there with another value than the `allowed` ones."""
        self.seen.add(name)
        # By type too: 0 is not False, nor 1 True.
        allowed = tuple(allowed)
        if name in self.values and not any(
            type(self.values[name]) is type(one) and self.values[name] == one for one in allowed
        ):
            words = " or ".join(str(one) for one in allowed)
            raise self.error(name, fix or f"not supported here; use {words}")

    def finish(self, harmless: Iterable[str], training_only: Iterable[str] = ()) -> None:
        """Refuses the first field that nobody read; says which ones matter to training alone."""
        known = {*harmless, *training_only, *self.seen}
        for name in self.values:
            if name not in known:
                fix = f"unknown field of {self.model_type}; leave it out if the model does not read it"
                raise self.error(name, fix)
        for name in training_only:
            if self.values.get(name):
                _LOG.warning("%s.%s %s acts in training alone; left out", self.where, name, self.values[name])
