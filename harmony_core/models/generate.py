"""Sampling from a model, token by token with a cache.

B batch, T tokens, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harmony_core.errors import UserError
from harmony_core.models.lm import HybridLM


@torch.inference_mode()
def generate(
    model: HybridLM,
    prompt_BT: Tensor,
    num_tokens: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Continues each prompt by `num_tokens` tokens: int64 [B, T + num_tokens].

    The prompt is read in one parallel pass; each token after it costs one `step`. Evaluation mode (no
    dropout exists, but a mixture counts its load while training) is the caller's to set.

    Args:
        model: on the device of the prompt.
        prompt_BT: int64, at least one token; prompts are of one length (padding would enter recurrent states).
        num_tokens: how many tokens are added.
        temperature: divides the logits; 0 takes the likeliest token always.
        top_k: only the K likeliest tokens may be drawn; None is all.
        top_p: only the smallest set of likeliest tokens whose probability reaches this may be drawn
            (Holtzman et al. 2020, arXiv:1904.09751, section 3.1), counted after temperature and top_k; None is all.
        generator: of the draws, on the model's device; needed unless temperature is 0.

    Raises:
        UserError: an empty prompt, ids outside of the vocabulary, a negative number of tokens, or a temperature, top_k
            or top_p out of range.
    """
    _check(prompt_BT, num_tokens, temperature, model.architecture.vocab_size, top_k, top_p, generator)
    tokens_BT = prompt_BT.new_empty(prompt_BT.shape[0], prompt_BT.shape[1] + num_tokens)
    tokens_BT[:, : prompt_BT.shape[1]] = prompt_BT
    if num_tokens == 0:
        return tokens_BT
    state = model.init_state(prompt_BT.shape[0], tokens_BT.shape[1] - 1)
    logits_BV = model.prefill(prompt_BT, state)
    for position in range(prompt_BT.shape[1], tokens_BT.shape[1]):
        tokens_BT[:, position] = sample(logits_BV, temperature, top_k, top_p, generator)
        if position + 1 < tokens_BT.shape[1]:
            logits_BV = model.step(tokens_BT[:, position], state)
    return tokens_BT


def sample(
    logits_BV: Tensor,
    temperature: float,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """One token a row, int64 [B]; `generate` checks what it is given.

    Args:
        logits_BV: of the next token.
        temperature: divides the logits; 0 takes the likeliest token.
        top_k: only the K likeliest tokens may be drawn; None is all.
        top_p: only the smallest set of likeliest tokens whose probability reaches this may be drawn; None is all.
        generator: of the draws, on the logits' device; not read where temperature is 0.
    """
    if temperature < torch.finfo(torch.float32).tiny:
        likeliest_B: Tensor = logits_BV.argmax(-1)
        return likeliest_B
    # One sort serves both limits. It is stable, so that the order of equal logits is settled.
    sorted_BV, order_BV = torch.sort(logits_BV.float(), dim=-1, descending=True, stable=True)
    # The likeliest token's logit becomes zero, so that a low temperature overflows towards probability zero alone.
    sorted_BV = (sorted_BV - sorted_BV[:, :1]) / temperature
    if top_k is not None:
        sorted_BV[:, top_k:] = float("-inf")
    probabilities_BV: Tensor = sorted_BV.softmax(-1)
    if top_p is not None:
        before_BV = probabilities_BV.cumsum(-1) - probabilities_BV
        # The likeliest token stays, whatever rounding says.
        before_BV[:, 0] = 0.0
        probabilities_BV = probabilities_BV.masked_fill(before_BV >= top_p, 0.0)
    place_B1 = torch.multinomial(probabilities_BV, 1, generator=generator)
    drawn_B1: Tensor = order_BV.gather(1, place_B1)
    return drawn_B1.squeeze(1)


def _check(
    prompt_BT: Tensor,
    num_tokens: int,
    temperature: float,
    vocab_size: int,
    top_k: int | None,
    top_p: float | None,
    generator: torch.Generator | None,
) -> None:
    if prompt_BT.ndim != 2 or prompt_BT.numel() == 0:
        raise UserError("prompt_BT", f"shape {list(prompt_BT.shape)}", "use [B, T] with at least one token")
    least, most = (int(end) for end in prompt_BT.aminmax())
    if least < 0 or most >= vocab_size:
        raise UserError("prompt_BT", f"ids {least} to {most}", f"use ids from 0 to {vocab_size - 1}")
    if num_tokens < 0:
        raise UserError("num_tokens", num_tokens, "use 0 or more")
    if not 0 <= temperature < float("inf"):
        raise UserError("temperature", temperature, "use 0 (the likeliest token) or a positive number")
    if top_k is not None and not 1 <= top_k <= vocab_size:
        raise UserError("top_k", top_k, f"use 1 to the vocabulary's {vocab_size}")
    if top_p is not None and not 0 < top_p <= 1:
        raise UserError("top_p", top_p, "use more than 0 and at most 1")
    if temperature > 0 and generator is None:
        raise UserError("generator", None, "give a torch.Generator, so that draws can be repeated, or temperature 0")
