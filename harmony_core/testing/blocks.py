"""What every block must hold: counts, causality, gradients, decoding, determinism, precision.

A check takes a block as a configuration names it, `{"kind": ..., field: value}`, small enough for a model of width
`WIDTH`. `CHECKS` are all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from harmony_core.architecture import Architecture, Block, block_from_dict
from harmony_core.models import HybridLM, build

WIDTH, VOCAB, BATCH, LENGTH = 32, 29, 2, 21
MIXER = {"kind": "gqa", "num_heads": 4, "head_dim": 8, "num_kv_heads": 2}
CHANNEL = {"kind": "mlp", "d_ff": 40}

Fields = Mapping[str, Any]
Check = Callable[[Fields], None]


def model_of(*blocks: Fields, tie: bool = True, seed: int = 0) -> HybridLM:
    """A small model of these blocks.

    Args:
        blocks: fields of each, `kind` included.
        tie: whether the head is the embedding.
        seed: of the first weights.
    """
    fields = {"d_model": WIDTH, "vocab_size": VOCAB, "tie_embeddings": tie, "blocks": [dict(one) for one in blocks]}
    return build(Architecture.parse(fields), seed)


def draw_tokens(batch: int = BATCH, length: int = LENGTH, seed: int = 1) -> Tensor:
    """Tokens, int64 [batch, length], each as likely.

    Args:
        batch: sequences.
        length: tokens of each.
        seed: of the draw.
    """
    return torch.randint(VOCAB, (batch, length), generator=torch.Generator().manual_seed(seed))


def closed_loop(block: Fields) -> HybridLM:
    """A mixer needs something that reads it; a channel mixer needs something that mixes tokens."""
    return model_of(block, CHANNEL) if _config(block).role == "mixer" else model_of(MIXER, block)


def check_parameters(block: Fields) -> None:
    """The formula counts the parameters that there are."""
    for tie in (True, False):
        model = model_of(block, tie=tie)
        assert sum(p.numel() for p in model.parameters()) == model.architecture.num_params()
        assert model.num_params() == model.architecture.num_params()


def check_shapes(block: Fields) -> None:
    """Outputs have the shapes and types of a model's, for one token too."""
    model, tokens = model_of(block), draw_tokens()
    assert model(tokens).shape == (BATCH, LENGTH, VOCAB)
    assert model.hidden(tokens).shape == (BATCH, LENGTH, WIDTH)
    assert model(tokens).dtype == torch.float32
    assert model(tokens[:, :1]).shape == (BATCH, 1, VOCAB)


def check_causality(block: Fields) -> None:
    """Changing the future changes nothing before it."""
    model, tokens = closed_loop(block).eval(), draw_tokens()
    changed = tokens.clone()
    changed[:, 13:] = (changed[:, 13:] + 1) % VOCAB
    with torch.no_grad():
        before, after = model(tokens), model(changed)
    torch.testing.assert_close(before[:, :13], after[:, :13], rtol=0, atol=1e-5)
    assert (before[:, 13:] - after[:, 13:]).abs().amax() > 1e-3


def check_memory(block: Fields) -> None:
    """A mixer sees the token before the last."""
    if _config(block).role != "mixer":
        return
    model, tokens = model_of(block).eval(), draw_tokens()
    changed = tokens.clone()
    changed[:, 11] = (changed[:, 11] + 1) % VOCAB
    with torch.no_grad():
        difference = (model(tokens) - model(changed)).abs().amax(dim=(0, 2))
    assert difference[12] > 1e-6


def check_gradients(block: Fields) -> None:
    """Every parameter has a finite gradient that is not zero."""
    model, tokens = closed_loop(block), draw_tokens(4, 32)
    model.loss(tokens[:, :-1], tokens[:, 1:]).total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def check_determinism(block: Fields) -> None:
    """The same seed gives the same bits of weights, loss and gradients; another one other weights."""
    first, again, other = model_of(block), model_of(block), model_of(block, seed=1)
    for (name, a), b in zip(first.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b), name
    assert not torch.equal(first.embedding, other.embedding)
    tokens = draw_tokens()
    losses = []
    for model in (first, again):
        loss = model.loss(tokens[:, :-1], tokens[:, 1:]).total
        loss.backward()
        losses.append(loss)
    assert torch.equal(*losses)
    for (name, a), b in zip(first.named_parameters(), again.parameters(), strict=True):
        assert a.grad is not None
        assert b.grad is not None
        assert torch.equal(a.grad, b.grad), name


def check_decoding(block: Fields) -> None:
    """Token by token it gives what it gives at once."""
    if _config(block).decoding_problem() is not None:
        return
    model, tokens = closed_loop(block).eval(), draw_tokens()
    state = model.init_state(BATCH, LENGTH)
    with torch.no_grad():
        parallel = model(tokens)
    stepped = torch.stack([model.step(tokens[:, t], state) for t in range(LENGTH)], 1)
    torch.testing.assert_close(stepped, parallel, rtol=1e-4, atol=1e-4)
    assert state.position == LENGTH


def check_decoding_memory(block: Fields) -> None:
    """The formula counts what decoding holds."""
    if _config(block).decoding_problem() is not None:
        return
    model = model_of(block)
    config = model.architecture.blocks[0]
    expected = config.kv_cache_elements(LENGTH) + config.state_elements(WIDTH)
    assert model.init_state(3, LENGTH).num_elements() == 3 * expected


def check_bf16(block: Fields) -> None:
    """In bf16 loss and gradients are close to those in fp32, where it declares bf16."""
    if "bf16" not in _config(block).precisions:
        return
    model, tokens = closed_loop(block), draw_tokens(4, 32)
    losses, gradients = [], []
    for enabled in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = model.loss(tokens[:, :-1], tokens[:, 1:]).total
        loss.backward()
        assert loss.dtype == torch.float32
        losses.append(loss.item())
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    assert math.isclose(losses[1], losses[0], rel_tol=5e-3), losses
    assert torch.cosine_similarity(gradients[0], gradients[1], dim=0) > 0.99


def check_bf16_decoding(block: Fields) -> None:
    """So does decoding."""
    if "bf16" not in _config(block).precisions or _config(block).decoding_problem() is not None:
        return
    model, tokens = closed_loop(block).eval(), draw_tokens()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        parallel = model(tokens)
        state = model.init_state(BATCH, LENGTH)
        stepped = torch.stack([model.step(tokens[:, t], state) for t in range(LENGTH)], 1)
    # This compares the mean: where two experts are nearly tied, one rounding may choose the other.
    assert (stepped.float() - parallel.float()).abs().mean() < 0.02


def check_own_weights(block: Fields) -> None:
    """Another block in its neighbour's place leaves its first values alone."""
    original, mutated = model_of(MIXER, block, CHANNEL), model_of(MIXER, block, {"kind": "moe", **_EXPERTS})
    kept = dict(mutated.named_parameters())
    for name, parameter in original.named_parameters():
        if not name.startswith("blocks.2."):
            assert torch.equal(parameter, kept[name]), name


def check_learning(block: Fields) -> None:
    """Eight steps of AdamW lower the loss."""
    model, tokens = closed_loop(block), draw_tokens(4, 32)
    optimizer = torch.optim.AdamW(model.parameter_groups(1e-2, 0.1), fused=True)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = model.loss(tokens[:, :-1], tokens[:, 1:]).total
        loss.backward()
        optimizer.step()
        model.after_step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.2


def check_inference_first(block: Fields) -> None:
    """What is kept of a first forward pass in inference mode leaves training possible."""
    # No other check has asked for this length.
    model, tokens = closed_loop(block), draw_tokens(length=17 + len(str(block["kind"])))
    with torch.inference_mode():
        model(tokens)
    model.loss(tokens, tokens).total.backward()
    assert model.embedding.grad is not None


_EXPERTS = {"n_routed": 5, "d_expert": 12, "top_k": 2}

CHECKS: tuple[Check, ...] = (
    check_parameters,
    check_shapes,
    check_causality,
    check_memory,
    check_gradients,
    check_determinism,
    check_decoding,
    check_decoding_memory,
    check_bf16,
    check_bf16_decoding,
    check_own_weights,
    check_learning,
    check_inference_first,
)


def _config(block: Fields) -> Block:
    return block_from_dict(dict(block))
