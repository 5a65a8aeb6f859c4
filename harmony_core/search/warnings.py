"""What is allowed in a configuration, and hardly ever meant."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from harmony_core.architecture import Architecture
from harmony_core.data.listing import list_files
from harmony_core.search.config import Config

# Of weights that start as they do, a training that moves them by less than this share changes next to nothing.
_LEAST_MOVE = 0.1
# Of the demo's candidates over windows of the validation split (docs/science.md): bits per byte, at so many tokens.
_KNOWN_ERROR, _KNOWN_TOKENS = 0.011, 65536
# Two candidates that are told apart by two standard errors differ by this many bits per byte at most.
_LOOKED_FOR = 0.05
# Bytes of the smaller held-out split of a source, or the share of all text that each of the two gets (docs/design.md).
_HELD_OUT_BYTES = {"shakespeare": 372_137}
_HELD_OUT_SHARE = 0.05


def warnings(config: Config, samples: Sequence[Architecture]) -> Iterator[str]:
    """A line each: key, value, and why it is in doubt.

    Args:
        config: a valid one.
        samples: architectures of its space.
    """
    yield from _schedule(config)
    yield from _rates(config, samples)
    yield from _held_out(config)


def _schedule(config: Config) -> Iterator[str]:
    recipe = config.recipe
    warmup, decay, steps = recipe.warmup_steps, recipe.decay_steps, recipe.at_rung(0).num_steps
    decay = math.ceil(recipe.decay_fraction * steps) if decay else 0
    if warmup + decay > steps:
        yield (
            f"recipe.warmup_tokens: {warmup} steps of warm-up and {decay} of decay overlap in {steps}; "
            "warm up for less, or train longer"
        )
    elif warmup > steps / 2:
        yield f"recipe.warmup_tokens: {warmup} of {steps} steps are warm-up; the rate is hardly ever what it says"
    if recipe.schedule == "wsd" and not decay:
        yield "recipe.decay_fraction: nothing decays, so that losses are those of a rate at its peak"


def _rates(config: Config, samples: Sequence[Architecture]) -> Iterator[str]:
    """AdamW moves a weight by about the rate a step, and a weight starts at about one over the root of the width."""
    recipe = config.recipe
    for rate in recipe.learning_rates:
        for width in sorted({one.d_model for one in samples}):
            scaled = rate * recipe.base_width / width if recipe.lr_scaling == "mup" else rate
            size = width**-0.5
            if scaled > size:
                yield f"recipe.learning_rate: {rate:g} cannot train: a step is larger than a weight of width {width}"
                break
            if scaled * recipe.num_steps < _LEAST_MOVE * size:
                moved = scaled * recipe.num_steps / size
                yield (
                    f"recipe.learning_rate: {rate:g} cannot train: in {recipe.num_steps} steps it moves a weight of "
                    f"width {width} by {moved:.1%} of its size at most"
                )
                break


def _held_out(config: Config) -> Iterator[str]:
    tokens = config.recipe.validation_tokens
    there = _held_out_bytes(config)
    if there is not None and config.data.tokenizer == "byte" and there < tokens:
        yield f"recipe.validation_tokens: {tokens}, of which the held-out splits have only about {there}"
        tokens = max(there, 1)
    error = _KNOWN_ERROR * math.sqrt(_KNOWN_TOKENS / tokens)
    if 2 * error > _LOOKED_FOR:
        yield (
            f"recipe.validation_tokens: {tokens} give a standard error of about {error:.2g} bits per byte; "
            f"candidates that differ by less than {2 * error:.2g} are in no order"
        )


def _held_out_bytes(config: Config) -> int | None:
    """Bytes of a held-out split, where they are known before the text is read."""
    data = config.data
    if data.source == "files":
        sizes = [file.path.stat().st_size for file in list_files(data.paths).files]
        found: int | None = int(_HELD_OUT_SHARE * sum(sizes))
    else:
        found = _HELD_OUT_BYTES.get(data.source)
    known = [one for one in (found, data.max_bytes) if one is not None]
    return min(known, default=None)
