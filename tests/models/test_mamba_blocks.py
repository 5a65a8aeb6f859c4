"""Options of the Mamba blocks, and that a prompt read at once leaves what its tokens one by one would."""

import pytest
import torch

from harmony_core import Architecture
from harmony_core.architecture import Mamba2, block_class
from harmony_core.models import build
from harmony_core.models.mamba2 import Mamba2Module
from harmony_core.models.parameter import initialise

WIDTH, LENGTH, EPSILON = 24, 27, 1e-3
SIZES = {"d_state": 6, "head_dim": 8, "chunk_size": 8}
MAMBA2 = {"kind": "mamba2", **SIZES}
BLOCKS = {
    "mamba2": MAMBA2,
    "mamba2-bias": {**MAMBA2, "bias": True, "conv_bias": False},
    "mamba2-inner-width": {**MAMBA2, "inner_width": 40},
    "mamba2-groups": {**MAMBA2, "n_groups": 3},
    "mamba2-one-norm": {**MAMBA2, "n_groups": 3, "norm_groups": 1},
    "mamba2-more-norms": {**MAMBA2, "n_groups": 2, "norm_groups": 12},
    "mamba2-limit": {**MAMBA2, "dt_limit": (0.01, 0.03)},
    "mamba2-two-taps": {**MAMBA2, "d_conv": 2, "chunk_size": 64},
    "mamba": {"kind": "mamba", "d_state": 4},
    "mamba-bias": {"kind": "mamba", "d_state": 4, "bias": True, "conv_bias": False},
    "mamba-norms": {"kind": "mamba", "d_state": 4, "inner_norms": True, "d_conv": 3},
}


def model_of(block):
    """A model of that block whose vectors, biases above all, are not at their first values."""
    model = build(Architecture(d_model=WIDTH, vocab_size=17, norm_epsilon=EPSILON, blocks=[block]))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1 and "a_log" not in name:
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def draw_tokens(length=LENGTH):
    return torch.randint(17, (2, length), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", BLOCKS)
def test_real_count_is_the_formula(name):
    model = model_of(BLOCKS[name])
    assert model.num_params() == model.architecture.num_params()
    config = model.architecture.blocks[0]
    assert model.init_state(3, 5).num_elements() == 3 * config.state_elements(WIDTH)


@pytest.mark.parametrize("prompt", [1, 2, 3, 4, 8, 13, 16, LENGTH])
@pytest.mark.parametrize("name", BLOCKS)
def test_prefill_then_steps_is_forward(name, prompt):
    model, tokens = model_of(BLOCKS[name]), draw_tokens()
    state = model.init_state(2, LENGTH)
    with torch.no_grad():
        whole = model(tokens)
    logits = [model.prefill(tokens[:, :prompt], state)]
    logits += [model.step(tokens[:, t], state) for t in range(prompt, LENGTH)]
    torch.testing.assert_close(torch.stack(logits, 1), whole[:, prompt - 1 :], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("prompt", [2, 21])
@pytest.mark.parametrize("name", ["mamba2-groups", "mamba-norms"])
def test_prefill_leaves_the_state_of_as_many_steps(name, prompt, autocast):
    model, tokens = model_of(BLOCKS[name]), draw_tokens()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        read, stepped = model.init_state(2, LENGTH), model.init_state(2, LENGTH)
        model.prefill(tokens[:, :prompt], read)
        for t in range(prompt):
            model.step(tokens[:, t], stepped)
    tolerance = {"rtol": 0.05, "atol": 0.05} if autocast else {"rtol": 1e-4, "atol": 1e-5}
    for got, expected in zip(read.blocks, stepped.blocks, strict=True):
        assert got["ssm"].dtype == torch.float32
        for key in expected:
            assert expected[key].abs().sum() > 0
            torch.testing.assert_close(got[key], expected[key], **tolerance)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["mamba", "mamba2"])
def test_biases_are_there_or_none(kind, bias):
    config = block_class(kind)(bias=bias, conv_bias=bias, **({"head_dim": 8} if kind == "mamba2" else {}))
    module = build(Architecture(d_model=WIDTH, vocab_size=17, blocks=[config])).blocks[0].inner
    for name, beside in (("in_bias", "in_proj"), ("conv_bias", "conv"), ("out_bias", "out")):
        found = getattr(module, name)
        assert (found is not None) == bias
        if bias:
            assert found.shape == getattr(module, beside).shape[:1]
            assert not found.any(), "biases begin at zero"


def mixer(**options):
    module = Mamba2Module(Mamba2(**{**SIZES, **options}), WIDTH, EPSILON)
    initialise(module, 0, 1)
    return module


def output_of(module, **changes):
    """The mixer's output after changing parameters by name."""
    with torch.no_grad():
        for name, value in changes.items():
            module.get_parameter(name).copy_(torch.as_tensor(value))
        return module(torch.randn(2, LENGTH, WIDTH, generator=torch.Generator().manual_seed(5)))


@pytest.mark.parametrize(("bias", "limit", "held"), [(-20.0, (0.02, None), 0.02), (4.0, (0.0, 0.05), 0.05)])
def test_step_sizes_are_held_between_the_limits(bias, limit, held):
    module, raw = mixer(dt_limit=limit), torch.randn(3, 6)
    with torch.no_grad():
        module.dt_bias.fill_(bias)
        assert torch.equal(module._step_sizes(raw), torch.full((3, 6), held))
    free = mixer()
    with torch.no_grad():
        free.dt_bias.fill_(bias)
    torch.testing.assert_close(free._step_sizes(raw), torch.nn.functional.softplus(raw + bias))


def test_a_clamped_step_size_has_no_gradient():
    module = mixer(dt_limit=(0.02, None))
    with torch.no_grad():
        module.dt_bias[:3] = -20.0
    module(torch.randn(2, LENGTH, WIDTH)).sum().backward()
    assert not module.dt_bias.grad[:3].any()
    assert module.dt_bias.grad[3:].all()


@pytest.mark.parametrize(("norm_groups", "touched"), [(None, 24), (1, 48), (6, 8)])
def test_norm_groups_are_normalised_one_by_one(norm_groups, touched):
    """What the first head adds to its own 8 channels changes those that are normalised with them, and no others."""
    module, changed = mixer(n_groups=2, norm_groups=norm_groups), []
    for first in (0, WIDTH):
        selection = torch.eye(WIDTH, 48) if first == 0 else torch.eye(48)[WIDTH:]
        quiet = output_of(module, out=selection, skip=torch.ones(6))
        loud = output_of(module, out=selection, skip=torch.tensor([9.0, 1, 1, 1, 1, 1]))
        changed.append((quiet - loud).abs().amax((0, 1)) > 1e-5)
    assert torch.cat(changed).nonzero().flatten().tolist() == list(range(touched))


def test_inner_width_is_free_of_the_model_width():
    module = mixer(inner_width=40)
    assert module.out.shape == (WIDTH, 40)
    assert module.dt_bias.shape == (5,)


def test_a_chunk_size_changes_nothing():
    outputs = [output_of(mixer(chunk_size=chunk)) for chunk in (3, 8, 256)]
    for other in outputs[1:]:
        torch.testing.assert_close(other, outputs[0], rtol=1e-4, atol=1e-5)
