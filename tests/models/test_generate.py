"""Prompts read at once, sampling, and what is refused."""

import pytest
import torch

from harmony_core import Architecture
from harmony_core.errors import UserError
from harmony_core.models import build, generate
from harmony_core.models.generate import sample
from tests.models.test_conformance import BATCH, CASES, LENGTH, closed_loop, draw_tokens

LOGITS = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()


def draws(count=4000, **limits):
    generator = torch.Generator().manual_seed(0)
    rows = sample(LOGITS.expand(count, -1), generator=generator, **limits)
    return torch.bincount(rows, minlength=4) / count


@pytest.mark.parametrize("prompt", [1, 3, 4, 5, LENGTH - 1])
@pytest.mark.parametrize("block", CASES)
def test_a_prompt_read_at_once_is_the_prompt_read_step_by_step(block, prompt):
    model, tokens = closed_loop(block).eval(), draw_tokens()
    stepped, read = (model.init_state(BATCH, LENGTH) for _ in range(2))
    for position in range(prompt):
        expected = model.step(tokens[:, position], stepped)
    torch.testing.assert_close(model.prefill(tokens[:, :prompt], read), expected, rtol=1e-4, atol=1e-4)
    assert read.position == prompt
    for one, other in zip(read.blocks, stepped.blocks, strict=True):
        for name, tensor in one.items():
            torch.testing.assert_close(tensor, other[name], rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        parallel = model(tokens)
    for position in range(prompt, LENGTH):
        logits = model.step(tokens[:, position], read)
        torch.testing.assert_close(logits, parallel[:, position], rtol=1e-4, atol=1e-4)


def test_greedy_tokens_are_the_likeliest_of_the_parallel_form():
    model = closed_loop("gqa").eval()
    tokens = generate(model, draw_tokens(length=5), 9, temperature=0)
    with torch.no_grad():
        likeliest = model(tokens).argmax(-1)
    assert tokens.shape == (BATCH, 14)
    assert torch.equal(tokens[:, :5], draw_tokens(length=5))
    assert torch.equal(tokens[:, 5:], likeliest[:, 4:-1])


def test_the_generator_alone_decides():
    model, prompt = closed_loop("mamba2").eval(), draw_tokens(length=5)
    first, again, other = (
        generate(model, prompt, 16, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(generate(model, prompt, 0, temperature=0), prompt)


def test_draws_follow_the_distribution():
    torch.testing.assert_close(draws(temperature=1.0), LOGITS[0].exp(), rtol=0, atol=0.03)
    sharper = (LOGITS[0] / 0.5).softmax(0)
    torch.testing.assert_close(draws(temperature=0.5), sharper, rtol=0, atol=0.03)


@pytest.mark.parametrize("temperature", [1e-6, 1e-38, 1e-42, 1e-320])
def test_a_temperature_near_zero_takes_the_likeliest(temperature):
    assert draws(temperature=temperature)[0] == 1
    assert draws(temperature=temperature, top_k=3, top_p=0.9)[0] == 1


def test_top_k_leaves_the_likeliest():
    torch.testing.assert_close(draws(temperature=1.0, top_k=2), torch.tensor([5 / 8, 3 / 8, 0, 0]), rtol=0, atol=0.03)
    assert draws(temperature=3.0, top_k=1)[0] == 1
    assert sample(LOGITS.flip(1), 1e30, top_k=1, generator=torch.Generator()).item() == 3


def test_top_p_leaves_the_smallest_set_that_reaches_it():
    assert (draws(temperature=1.0, top_p=0.6) > 0).tolist() == [True, True, False, False]
    assert (draws(temperature=1.0, top_p=0.97) > 0).tolist() == [True] * 4
    assert draws(temperature=1.0, top_p=1e-6)[0] == 1
    # Reached exactly is reached.
    halves = torch.zeros(50, 2)
    assert not sample(halves, 1.0, top_p=0.5, generator=torch.Generator().manual_seed(0)).any()
    # After top_k the two that are left hold 0.625 and 0.375.
    assert draws(temperature=1.0, top_k=2, top_p=0.6)[0] == 1


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({"temperature": -1.0}, "temperature: -1"),
        ({"temperature": float("nan")}, "temperature: nan"),
        ({"top_k": 0}, "top_k: 0"),
        ({"top_k": 30}, "top_k: 30"),
        ({"top_p": 0.0}, "top_p: 0"),
        ({"top_p": 1.5}, "top_p: 1.5"),
        ({"generator": None}, "generator: None"),
    ],
)
def test_limits_out_of_range_are_refused(limits, told):
    model = closed_loop("gqa").eval()
    with pytest.raises(UserError, match=told):
        generate(model, draw_tokens(), 2, **{"generator": torch.Generator(), **limits})


def test_prompts_that_are_none_are_refused():
    model = closed_loop("gqa").eval()
    empty = torch.zeros(2, 0, dtype=torch.int64)
    outside = (torch.tensor([[3, 29]]), r"ids 3 to 29: use ids from 0 to 28")
    for prompt, told in ((empty, r"shape \[2, 0\]"), (torch.tensor([1]), r"shape \[1\]"), outside):
        with pytest.raises(UserError, match=told):
            generate(model, prompt, 2, temperature=0)
    with pytest.raises(UserError, match="num_tokens: -1"):
        generate(model, draw_tokens(), -1, temperature=0)


def test_prefill_refuses_what_it_cannot_hold():
    model, tokens = closed_loop("gqa"), draw_tokens()
    with pytest.raises(UserError, match=f"max_context {LENGTH - 1}"):
        model.prefill(tokens, model.init_state(BATCH, LENGTH - 1))
    state = model.init_state(BATCH, LENGTH)
    model.step(tokens[:, 0], state)
    with pytest.raises(UserError, match="at position 1"):
        model.prefill(tokens[:, 1:], state)


def test_multipliers_of_the_stream_are_one_computation_in_every_form():
    plain = {"d_model": 32, "vocab_size": 29, "blocks": [CASES["gqa"], CASES["mlp"]]}
    scaled = {**plain, "embedding_multiplier": 3.0, "residual_multiplier": 0.4, "logits_divisor": 5.0}
    model, other = build(Architecture(**scaled)).eval(), build(Architecture(**plain)).eval()
    tokens = draw_tokens()
    with torch.no_grad():
        x = 3 * model.embedding[tokens]
        for block in model.blocks:
            x = x + 0.4 * block.inner(block.norm(x))
        expected = model.norm(x) @ model.embedding.T / 5
        logits = model(tokens)
    torch.testing.assert_close(logits, expected)
    assert (logits - other(tokens)).abs().max() > 0.1
    entropy = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten())
    assert model.loss(tokens, tokens).cross_entropy.item() == pytest.approx(entropy.item(), rel=1e-5)
    state = model.init_state(BATCH, LENGTH)
    torch.testing.assert_close(model.prefill(tokens[:, :7], state), logits[:, 6], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.step(tokens[:, 7], state), logits[:, 7], rtol=1e-4, atol=1e-5)


def test_norm_epsilon_is_every_norms():
    blocks = [CASES["mha-qk-norm"], CASES["mla"]]
    model = build(Architecture(d_model=32, vocab_size=29, norm_epsilon=0.5, blocks=blocks))
    found = [module.epsilon for module in model.modules() if hasattr(module, "epsilon")]
    assert found
    assert set(found) == {0.5}
