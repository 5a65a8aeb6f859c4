"""The architecture: width, vocabulary and the ordered blocks; its identity and its costs. No torch here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import SerializeAsAny, ValidationInfo, field_serializer, field_validator, model_validator

from harmony_core.architecture.block import NORM_EPSILON, Block, Mode, block_from_dict
from harmony_core.architecture.demands import Demands
from harmony_core.base import Frozen, canonical_json, digest, read_yaml
from harmony_core.errors import UserError

SCHEMA_VERSION = 1
# Of one repetition: far beyond any model, and few enough to be held in memory where a digit too many was typed.
MAX_BLOCKS = 10_000


class Architecture(Frozen):
    """A language model's shape, from which everything but its weights follows.

    The model is an embedding, residual blocks with their norms in order, a final RMSNorm and an output
    head that shares the embedding's weight when tied.

    Args:
        d_model: width of the residual stream D.
        vocab_size: rows V of the embedding.
        tie_embeddings: whether the output head is the embedding.
        norm_epsilon: epsilon of every RMSNorm.
        embedding_multiplier: factor of the embedded tokens (Granite's, as the next two).
        residual_multiplier: factor of each block's output before it is added.
        logits_divisor: what the logits are divided by.
        blocks: token mixers and channel mixers in order.
    """

    d_model: int
    vocab_size: int
    tie_embeddings: bool = True
    norm_epsilon: float = NORM_EPSILON
    embedding_multiplier: float = 1.0
    residual_multiplier: float = 1.0
    logits_divisor: float = 1.0
    blocks: tuple[SerializeAsAny[Block], ...]

    @field_validator("blocks", mode="before")
    @classmethod
    def _read_blocks(cls, value: Any, info: ValidationInfo) -> tuple[Block, ...]:
        return tuple(_expand(value))

    @field_serializer("blocks")
    def _write_blocks(self, blocks: tuple[Block, ...]) -> list[dict[str, Any]]:
        return [block.to_dict() for block in blocks]

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("d_model", "vocab_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; use at least 1")
        for name in ("norm_epsilon", "embedding_multiplier", "residual_multiplier", "logits_divisor"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; use a positive number")
        if not self.blocks:
            raise ValueError("blocks is empty; use at least one block")
        for index, block in enumerate(self.blocks):
            try:
                block.check(self.d_model)
            except ValueError as error:
                raise ValueError(f"block {index} ({block.kind}): {error}") from None
        return self

    @classmethod
    def from_yaml(cls, path: Path | str) -> Architecture:
        """Reads a file as `to_yaml` writes it; `{repeat: n, blocks: [...]}` stands for n copies."""
        return cls.parse(read_yaml(path), Path(path).name)

    @classmethod
    def from_json(cls, text: str) -> Architecture:
        """Reads what `to_json` wrote; anything else is a `UserError`."""
        try:
            data = json.loads(text)
        except ValueError as error:
            raise UserError("architecture", text[:80], f"not JSON ({error}); give what to_json wrote") from None
        if not isinstance(data, dict) or data.pop("schema_version", None) != SCHEMA_VERSION:
            fix = f"not an architecture of schema version {SCHEMA_VERSION}; give what to_json wrote"
            raise UserError("architecture", text[:80], fix)
        return cls.parse(data)

    def to_yaml(self, path: Path | str | None = None) -> str:
        """The architecture as YAML, one block a line; also written to `path` when one is given."""
        head = {key: value for key, value in self._canonical_fields().items() if key != "blocks"}
        lines = [yaml.safe_dump(head, sort_keys=False), "blocks:\n"]
        for block in self.blocks:
            text = yaml.safe_dump(block.to_dict(), default_flow_style=True, sort_keys=False, width=10_000)
            lines.append(f"- {text}")
        document = "".join(lines)
        if path is not None:
            Path(path).write_text(document, encoding="utf-8")
        return document

    def to_json(self) -> str:
        """Canonical JSON of the architecture as it was written (its spelling kept)."""
        return canonical_json({"schema_version": SCHEMA_VERSION, **self._canonical_fields()})

    def canonical(self) -> Architecture:
        """The same architecture with every block in its one spelling."""
        blocks = tuple(block.canonical_in(self.d_model, self.norm_epsilon) for block in self.blocks)
        return self.model_copy(update={"blocks": blocks})

    def replace(self, **changes: Any) -> Architecture:
        """The architecture with other values of some fields, validated; every field that is not named stays.

        Raises:
            UserError: an unknown field, or a value that does not fit the others.
        """
        return type(self).parse({**dict(self), **changes})

    @property
    def id(self) -> str:
        """First 16 hex digits of the SHA-256 of the canonical architecture's JSON."""
        return digest({"schema_version": SCHEMA_VERSION, **self.canonical()._canonical_fields()})

    def _canonical_fields(self) -> dict[str, Any]:
        return self.model_dump(exclude_defaults=True)

    def check_length(self, sequence_length: int) -> None:
        """Refuses sequences that are too short to train all of a block, such as a window's or a filter's end.

        Raises:
            UserError: names the block, what is too long, and what is allowed.
        """
        for index, block in enumerate(self.blocks):
            try:
                block.check_length(sequence_length)
            except ValueError as error:
                raise UserError(f"blocks.{index}.{block.kind}", f"sequences of {sequence_length}", str(error)) from None

    def check_demands(self, demands: Demands) -> None:
        """Refuses what a block has not got.

        Raises:
            UserError: names the block, what was asked, and what is there instead.
        """
        for index, block in enumerate(self.blocks):
            refused = demands.refused(block)
            if refused is not None:
                raise UserError(f"blocks.{index}.{block.kind}", refused[0], f"it {refused[1]}")

    @property
    def num_mixers(self) -> int:
        """Token mixers among the blocks."""
        return sum(block.role == "mixer" for block in self.blocks)

    def pattern(self) -> str:
        """The kinds in order, layers joined and runs counted: `2x(gqa-mlp) mamba2-moe`."""
        kinds = [block.kind for block in self.blocks]
        roles = [block.role for block in self.blocks]
        if roles == ["mixer", "channel"] * (len(roles) // 2):
            kinds = [f"{mixer}-{channel}" for mixer, channel in zip(kinds[::2], kinds[1::2], strict=True)]
        parts, index = [], 0
        while index < len(kinds):
            run, length = _longest_run(kinds, index)
            unit = " ".join(kinds[index : index + length])
            parts.append(unit if run == 1 else f"{run}x({unit})")
            index += run * length
        return " ".join(parts)

    def num_params(self) -> int:
        """All parameters; tied weights once."""
        return self._count(Block.num_params.__name__) + self._embedding * (1 if self.tie_embeddings else 2)

    def num_active_params(self) -> int:
        """Parameters of one token's pass, the input embedding included; tied weights once."""
        return self._count(Block.num_active_params.__name__) + self._embedding * (1 if self.tie_embeddings else 2)

    def num_non_embedding_params(self) -> int:
        """All parameters without the input embedding's look-up; the output head counts, tied or not."""
        return self._count(Block.num_params.__name__) + self._embedding

    def num_active_non_embedding_params(self) -> int:
        """What one token multiplies with: active parameters and the output head, tied or not."""
        return self._count(Block.num_active_params.__name__) + self._embedding

    def flops_per_token(self, context: int, mode: Mode = "train") -> float:
        """FLOPs a token at `context` tokens of sequence (mean over it) or of cache (`decode`)."""
        if context < 1:
            raise ValueError(f"context is {context}; use at least 1")
        head = 2 * self._embedding * (3 if mode == "train" else 1)
        return head + sum(block.flops_per_token(self.d_model, context, mode) for block in self.blocks)

    def kv_bytes_per_token(self, bytes_per_element: int = 2) -> int:
        """Cache bytes that each token adds, over all blocks; bf16 unless told otherwise."""
        return sum(block.kv_bytes_per_token(bytes_per_element) for block in self.blocks)

    def kv_cache_bytes(self, context: int, bytes_per_element: int = 2) -> int:
        """Cache bytes of one sequence of `context` tokens; windows keep no more than they see."""
        return bytes_per_element * sum(block.kv_cache_elements(context) for block in self.blocks)

    def state_elements(self) -> int:
        """Recurrent state elements a sequence."""
        return sum(block.state_elements(self.d_model) for block in self.blocks)

    def state_bytes(self, bytes_per_element: int = 2) -> int:
        """Recurrent state bytes a sequence; bf16 unless told otherwise."""
        return self.state_elements() * bytes_per_element

    @property
    def _embedding(self) -> int:
        return self.vocab_size * self.d_model

    def _count(self, method: str) -> int:
        blocks = sum(getattr(block, method)(self.d_model) for block in self.blocks)
        return int(blocks) + sum(block.norm_params(self.d_model) for block in self.blocks) + self.d_model


def _expand(entries: Any) -> Iterable[Block]:
    if not isinstance(entries, list | tuple):
        raise ValueError("blocks is a list")
    for index, entry in enumerate(entries):
        if isinstance(entry, Mapping) and "repeat" in entry:
            yield from _repeated(entry)
            continue
        try:
            yield block_from_dict(entry)
        except UserError as error:
            raise UserError(f"{index}.{error.field}", error.value, error.fix) from None


def _repeated(entry: Mapping[str, Any]) -> Iterable[Block]:
    count, unit = entry["repeat"], tuple(_expand(entry.get("blocks", ())))
    if entry.keys() != {"repeat", "blocks"} or type(count) is not int or count < 1 or not unit:
        raise ValueError("a repetition is {repeat: a whole number from 1, blocks: [...]}, with at least one block")
    if count * len(unit) > MAX_BLOCKS:
        raise ValueError(f"repeat is {count} of {len(unit)} blocks; use at most {MAX_BLOCKS} blocks in all")
    return unit * count


def _longest_run(kinds: list[str], start: int) -> tuple[int, int]:
    """The repetition from `start` that covers most blocks: (how often, how long the unit)."""
    best = (1, 1)
    for length in range(1, (len(kinds) - start) // 2 + 1):
        unit, count = kinds[start : start + length], 1
        while kinds[start + count * length : start + (count + 1) * length] == unit:
            count += 1
        if count > 1 and count * length > best[0] * best[1]:
            best = (count, length)
    return best
