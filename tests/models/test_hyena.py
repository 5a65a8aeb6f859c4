"""The Hyena operators as modules: their formula, first values, decoding state, and every path that computes them."""

import math

import pytest
import torch

from harmony_core.architecture import block_from_dict
from harmony_core.models import hyena, hyena_li
from harmony_core.models.parameter import initialise
from harmony_core.models.registry import module_for

WIDTH, BATCH = 12, 2
BLOCKS = {
    "se": {"kind": "hyena_se", "num_groups": 4},
    "se-short": {"kind": "hyena_se", "num_groups": 12, "filter_length": 1, "short_filter_length": 1},
    "mr": {"kind": "hyena_mr", "num_groups": 3, "filter_length": 20, "decay_range": [-1.0, 1.0]},
    "li": {"kind": "hyena_li", "state_size": 4, "chunk_size": 8},
}


def module_of(name, seed=0):
    """A module whose filters are far from their beginning close to zero."""
    module = module_for(block_from_dict(BLOCKS[name]), WIDTH, 1e-5)
    initialise(module, seed, 1)
    with torch.no_grad():
        for key in ("filter", "out_bias", "skip"):
            parameter = getattr(module, key, None)
            if parameter is not None:
                parameter.normal_(generator=torch.Generator().manual_seed(seed))
    return module


def inputs(length):
    return torch.randn(BATCH, length, WIDTH, generator=torch.Generator().manual_seed(9))


def written_out(module, x_BTD):
    """The operator token by token, as section 2 of the paper has it."""
    z, length = x_BTD @ module.in_proj.T, x_BTD.shape[1]
    taps = module.conv.shape[1]
    short = [sum(z[:, t - k] * module.conv[:, taps - 1 - k] for k in range(min(taps, t + 1))) for t in range(length)]
    x2, x1, v = torch.stack(short, 1).split(WIDTH, -1)
    u = x1 * v
    if hasattr(module, "a_log"):
        lags = torch.arange(length)
        h = (module.residues.unsqueeze(-1) * torch.exp(-module.a_log.exp().unsqueeze(-1) * lags)).sum(1)
    else:
        groups, filter_taps = module.filter.shape
        h = torch.zeros(WIDTH, max(length, filter_taps))
        for channel in range(WIDTH):
            group = channel * groups // WIDTH
            decay = module.decay[group] if hasattr(module, "decay") else 1.0
            h[channel, :filter_taps] = module.filter[group] * decay
    y = torch.stack([sum(u[:, t - k] * h[:, k] for k in range(t + 1)) for t in range(length)], 1)
    if module.skip is not None:
        y = y + module.skip * u
    return (x2 * y) @ module.out.T + module.out_bias


@pytest.mark.parametrize("length", [1, 5, 43])
@pytest.mark.parametrize("name", BLOCKS)
def test_forward_is_the_formula(name, length):
    module = module_of(name)
    torch.testing.assert_close(module(inputs(length)), written_out(module, inputs(length)), rtol=1e-4, atol=1e-5)


def test_the_direct_term_is_left_out_of_se_alone():
    assert [module_of(name).skip is None for name in BLOCKS] == [True, True, False, False]


def test_decay_falls_from_one_and_faster_from_group_to_group():
    module = module_of("mr")
    last = torch.exp(-torch.tensor([0.1, 1.0, 10.0]))
    torch.testing.assert_close(module.decay[:, 0], torch.ones(3))
    torch.testing.assert_close(module.decay[:, -1], last)
    halfway = 10 / 19
    torch.testing.assert_close(module.decay[:, 10], last**halfway)
    assert "decay" not in module.state_dict()


def test_decay_over_longer_sequences_than_the_filter():
    block = block_from_dict({**BLOCKS["mr"], "decay_span": 191})
    decay = module_for(block, WIDTH, 1e-5).decay
    torch.testing.assert_close(decay[:, 19], torch.exp(-torch.tensor([0.1, 1.0, 10.0]) * 0.1))


def test_first_values():
    blocks = {"mr": {"kind": "hyena_mr", "num_groups": 256}, "li": {"kind": "hyena_li"}}
    mr, li = (module_for(block_from_dict(block), 256, 1e-5) for block in blocks.values())
    for module in (mr, li):
        initialise(module, 0, 1)
        assert torch.equal(module.skip, torch.ones(256))
        assert torch.equal(module.out_bias, torch.zeros(256))
    assert mr.filter.std().item() == pytest.approx(1e-5 / math.sqrt(128), rel=0.05)
    assert li.residues.std().item() == pytest.approx(0.1 / 4, rel=0.05)
    # Poles are -e^p e^gamma, p = -1 and e^gamma between 0.01 and 0.1.
    rates = li.a_log.exp() * math.e
    assert 0.01 <= rates.min() < 0.011
    assert 0.099 < rates.max() <= 0.1
    assert rates.mean().item() == pytest.approx(0.055, rel=0.02)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("length", [1, 2, 7, 19, 20, 21, 43])
@pytest.mark.parametrize("name", BLOCKS)
def test_prefill_leaves_the_state_of_as_many_steps(name, length, dtype):
    module, x = module_of(name), inputs(length)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        read, stepped = (module.init_state(BATCH, length, x.device, dtype) for _ in range(2))
        y = module.prefill(x, read)
        steps = torch.stack([module.step(x[:, t], stepped, t) for t in range(length)], 1)
        assert torch.equal(y, module(x))
    loose = {"rtol": 0.05, "atol": 0.05} if dtype == torch.bfloat16 else {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(steps, y, **loose)
    assert set(read) == set(stepped)
    for key, value in read.items():
        assert value.dtype == stepped[key].dtype
        torch.testing.assert_close(value, stepped[key], **loose)


@pytest.mark.parametrize("name", BLOCKS)
def test_every_path_computes_the_same(name, monkeypatch):
    """What a GPU would take, on this machine."""
    results = []
    for fir, modal in (("direct", "chunked"), ("blocked", "FFT"), ("FFT", "FFT")):
        monkeypatch.setattr(hyena, "fir_path", lambda device, taps, chosen=fir: chosen)
        monkeypatch.setattr(hyena_li, "modal_path", lambda device, chosen=modal: chosen)
        module, x = module_of(name), inputs(43).requires_grad_()
        y = module(x)
        y.square().sum().backward()
        results.append((module.kernel_path(), [y, x.grad, *(p.grad for p in module.parameters())]))
    (path, expected), *others = results
    assert {path, *(other for other, _ in others)} >= {path, "torch FFT convolution"}
    for _, found in others:
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_long_filters_go_through_an_fft():
    short, long = ({"kind": "hyena_mr", "num_groups": 2, "filter_length": taps} for taps in (256, 257))
    paths = [module_for(block_from_dict(block), WIDTH, 1e-5).kernel_path() for block in (short, long)]
    assert paths == ["oneDNN direct convolution", "torch FFT convolution"]


def test_channels_of_a_group_share_their_filter():
    module = module_of("se")
    with torch.no_grad():
        module.filter[1] = 0
    z = torch.randn(1, 9, 3 * WIDTH)
    convolved = module._gate(z)
    assert convolved[..., 3:6].abs().max() == 0
    assert convolved[..., :3].abs().min() > 0
    assert convolved[..., 6:].abs().min() > 0
