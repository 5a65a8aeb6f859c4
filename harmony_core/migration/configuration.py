"""A configuration of format version 2 in today's keys."""

from __future__ import annotations

import copy
import math
from typing import Any

from harmony_core import bounds

Json = dict[str, Any]

_LOSS = "val_bits_per_byte"


def migrated_config(old: Json) -> tuple[Json, list[str]]:
    """What a manifest of format version 2 has under `config`, so that today's HARMONY reads it.

    Args:
        old: every key, with its value.

    Returns:
        The configuration, whose keys of today may be lacking where their default is right; and a line for each value
        that is told otherwise than it was.
    """
    config, told = copy.deepcopy(old), []
    recipe = config["recipe"]
    recipe["warmup_tokens"] = _warmup_tokens(recipe)
    told.append(f"recipe.warmup_fraction {recipe.pop('warmup_fraction'):g} -> warmup_tokens {recipe['warmup_tokens']}")
    told += _algorithm(config["search"])
    return config, told


def migrated_start(old: Json, config: Json) -> Json:
    """The configuration of a search's newest start, which says how long it goes on and where it runs.

    Args:
        old: `work/config.json`, in which keys may be lacking.
        config: the search's own, migrated.
    """
    generations = old.get("search", {}).get("generations", 8)
    newest = {name: old.get(name, {}) for name in ("execution", "budget")}
    return {**config, **newest, "search": {**config["search"], "generations": generations}}


def _warmup_tokens(recipe: Json) -> int:
    """The tokens of as many steps as warmed up."""
    step_tokens = int(recipe["batch_size"] * recipe["sequence_length"])
    steps: int = math.ceil(recipe["warmup_fraction"] * (recipe["tokens"] // step_tokens))
    return steps * step_tokens


def _algorithm(search: Json) -> list[str]:
    """Changes what today's algorithms refuse; a search that is over does not hang on it."""
    algorithm, told = search["algorithm"], []
    kind = algorithm["kind"]
    if kind == "regularized_evolution" and algorithm["crossover_probability"]:
        told.append(f"search.algorithm.crossover_probability {algorithm['crossover_probability']:g} -> null")
        algorithm["crossover_probability"] = None
    elif kind != "regularized_evolution" and (algorithm["survivors"] or 0) > search["population"]:
        told.append(f"search.algorithm.survivors {algorithm['survivors']} -> null")
        algorithm["survivors"] = None
    for objective in search["objectives"] if kind == "fitness" else ():
        if objective["target"] is None and objective["name"] != _LOSS:
            # Up to this target a cost is free, as a cost without a target was.
            objective["target"] = bounds.METRIC
            told.append(f"search.objectives: target of {objective['name']} null -> {bounds.METRIC:g}")
    return told
