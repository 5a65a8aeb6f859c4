"""Decoding with a cache beside the peer: greedy, each side in a plain loop of its own.

B batch, T tokens, V vocabulary.
"""

from __future__ import annotations

import inspect
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.operators.pair import batch, both
from benchmarks.operators.settings import DECODE_BATCH, DECODE_PROMISE, NEW_TOKENS, Setting
from benchmarks.operators.timing import interleaved, ratios, speeds
from harmony_core.models import keep_freed_memory

LOGIT_TOLERANCE = 1e-4


class Decoded(NamedTuple):
    """Seconds of the prompt and of the tokens after it; logits [B, V] after both; the tokens, int64 [B, new]."""

    prompt_seconds: float
    seconds: float
    first_BV: Tensor
    last_BV: Tensor
    tokens_BT: Tensor


def measure(family: str, setting: Setting, prompt_length: int, attention: str, rounds: int) -> dict[str, Any]:
    """Both sides in turns after one prompt; to be run in a process of its own."""
    keep_freed_memory()
    models = both(family, setting, attention)
    prompt_BT = batch(DECODE_BATCH, prompt_length).tokens_BT
    loops = {"harmony": our_loop, "transformers": their_loop}
    sides = {name: loops[name](model.eval(), prompt_BT) for name, model in models.items()}
    with torch.inference_mode():
        found = interleaved(sides, rounds)
    ours, theirs = (found[name][0] for name in models)
    differences = {
        "first": difference(ours.first_BV, theirs.first_BV),
        "last": difference(ours.last_BV, theirs.last_BV),
    }
    equal = float((ours.tokens_BT == theirs.tokens_BT).float().mean())
    # Of two nearly equal logits rounding may take either, and what follows is then another text.
    compared = differences if equal == 1 else {"first": differences["first"]}
    if max(compared.values()) > LOGIT_TOLERANCE:
        raise RuntimeError(f"the sides' logits differ, relative to the largest: {compared}")
    seconds = {name: [one.seconds for one in each] for name, each in found.items()}
    prompt = {name: [one.prompt_seconds for one in each] for name, each in found.items()}
    return {
        **speeds(seconds, DECODE_BATCH * NEW_TOKENS, DECODE_PROMISE),
        "milliseconds_per_step": {
            name: round(1e3 * statistics.median(each) / NEW_TOKENS, 3) for name, each in seconds.items()
        },
        "prompt_ratio": ratios(prompt["transformers"], prompt["harmony"]),
        **{f"{name}_logits_difference": value for name, value in differences.items()},
        "equal_tokens": round(equal, 3),
    }


def difference(ours_BV: Tensor, theirs_BV: Tensor) -> float:
    """The largest difference over the largest of theirs."""
    return float(f"{float((ours_BV - theirs_BV).abs().max() / theirs_BV.abs().max()):.1e}")


def our_loop(model: Any, prompt_BT: Tensor) -> Callable[[], Decoded]:
    """`prefill`, then `step` a token."""

    def run() -> Decoded:
        start = time.perf_counter()
        state = model.init_state(prompt_BT.shape[0], prompt_BT.shape[1] + NEW_TOKENS)
        first_BV = logits_BV = model.prefill(prompt_BT, state)
        tokens, middle = [], time.perf_counter()
        for _ in range(NEW_TOKENS):
            tokens.append(logits_BV.argmax(-1))
            logits_BV = model.step(tokens[-1], state)
        return Decoded(middle - start, time.perf_counter() - middle, first_BV, logits_BV, torch.stack(tokens, 1))

    return run


def their_loop(model: Any, prompt_BT: Tensor) -> Callable[[], Decoded]:
    """The model called with its own cache, without `generate`, whose bookkeeping would cost it more.

    Positions are handed in, as `generate` does: without them Bamba takes every token for the first one.
    """
    takes_positions = "position_ids" in inspect.signature(model.forward).parameters
    length = prompt_BT.shape[1]
    positions_T1 = torch.arange(length, length + NEW_TOKENS).unsqueeze(1)

    def run() -> Decoded:
        start = time.perf_counter()
        answer = model(input_ids=prompt_BT, use_cache=True, logits_to_keep=1)
        # State space models have another name for it.
        name = "past_key_values" if "past_key_values" in answer else "cache_params"
        cache = {name: answer[name]}
        first_BV = logits_BV = answer.logits[:, -1]
        tokens, middle = [], time.perf_counter()
        for position_1 in positions_T1:
            tokens.append(logits_BV.argmax(-1))
            place = {"position_ids": position_1.unsqueeze(0)} if takes_positions else {}
            logits_BV = model(input_ids=tokens[-1].unsqueeze(1), use_cache=True, **place, **cache).logits[:, -1]
        return Decoded(middle - start, time.perf_counter() - middle, first_BV, logits_BV, torch.stack(tokens, 1))

    return run
