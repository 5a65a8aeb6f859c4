"""The calls of mamba-ssm's and causal-conv1d's kernels, held against stand-ins with their signatures and demands.

There is no GPU here: a stand-in refuses what the kernel would refuse and computes what the kernel documents.
"""

import inspect
import math
import sys

import pytest
import torch

from harmony_core import Architecture
from harmony_core.errors import UserError
from harmony_core.models import build, kernel_packages, kernels
from harmony_core.models.ops.convolution.convolution import conv_silu, conv_silu_reference
from harmony_core.models.ops.ssm.selective_scan import selective_scan_reference
from harmony_core.models.ops.ssm.ssd import ssd_reference
from tests.models.mamba_references import references

WIDTH, LENGTH = 24, 19
BLOCKS = {
    "mamba2": {"kind": "mamba2", "d_state": 4, "head_dim": 8},
    "mamba2-options": {"kind": "mamba2", "d_state": 3, "head_dim": 8, "n_groups": 3, "dt_limit": (0.01, 0.04)},
    "mamba2-open-limit": {"kind": "mamba2", "d_state": 4, "head_dim": 16, "dt_limit": (0.02, None), "conv_bias": False},
    "mamba2-factors": {
        "kind": "mamba2",
        "d_state": 4,
        "head_dim": 8,
        "norm": "none",
        "multipliers": (0.6, 0.5, 2, 1, 1.4),
    },
    "mamba": {"kind": "mamba", "d_state": 4},
    "short_conv": {"kind": "short_conv", "kernel_size": 4},
    "short_conv-bias": {"kind": "short_conv", "bias": True},
    "mamba-norms": {"kind": "mamba", "d_state": 5, "inner_norms": True, "bias": True, "d_conv": 3},
}


def causal_conv1d_fn(
    x,
    weight,
    bias=None,
    seq_idx=None,
    initial_states=None,
    return_final_states=False,
    final_states_out=None,
    activation=None,
):
    assert activation in ("silu", None)
    assert weight.shape[0] == x.shape[1]
    assert 2 <= weight.shape[1] <= 4
    assert bias is None or bias.dtype == weight.dtype
    if x.stride(2) != 1:
        assert x.stride(1) == 1, "channels or tokens are last in memory"
        assert x.shape[1] % 8 == x.stride(0) % 8 == x.stride(2) % 8 == 0
    padded = torch.nn.functional.pad(x.float(), (weight.shape[1] - 1, 0))
    y = torch.nn.functional.conv1d(padded, weight.float().unsqueeze(1), bias, groups=weight.shape[0])
    return (y if activation is None else torch.nn.functional.silu(y)).to(x.dtype)


def mamba_chunk_scan_combined(
    x,
    dt,
    A,
    B,
    C,
    chunk_size,
    D=None,
    z=None,
    dt_bias=None,
    initial_states=None,
    seq_idx=None,
    cu_seqlens=None,
    dt_softplus=False,
    dt_limit=(0.0, float("inf")),
    return_final_states=False,
    return_varlen_states=False,
):
    assert x.dtype == B.dtype == C.dtype
    assert A.dtype == dt_bias.dtype == D.dtype == torch.float32
    assert A.shape == D.shape == dt_bias.shape == x.shape[2:3]
    assert z is None
    dt = dt.float() + dt_bias
    dt = (torch.nn.functional.softplus(dt) if dt_softplus else dt).clamp(*dt_limit)
    y, last = ssd_reference(x.float(), dt, A, B.float(), C.float(), D)
    return (y.to(x.dtype), last) if return_final_states else y.to(x.dtype)


def selective_scan_fn(
    u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False, return_last_state=False
):
    assert u.dtype == delta.dtype == B.dtype == C.dtype
    assert A.dtype == D.dtype == delta_bias.dtype == torch.float32
    assert all(1 in (t.stride(-1), t.shape[-1]) for t in (u, delta, B, C))
    assert u.shape == delta.shape == (u.shape[0], A.shape[0], B.shape[2])
    assert A.shape[1] == B.shape[1] <= 256
    dt = delta.float() + delta_bias[:, None]
    dt = torch.nn.functional.softplus(dt) if delta_softplus else dt
    y, last = selective_scan_reference(u.float().mT, dt.mT, A, B.float().mT, C.float().mT, D)
    y = y.mT.to(u.dtype)
    return (y, last) if return_last_state else y


STAND_INS = {f.__name__: f for f in (causal_conv1d_fn, mamba_chunk_scan_combined, selective_scan_fn)}


@pytest.fixture
def called(monkeypatch):
    """Puts the stand-ins where the kernels would be, when set to True; counts calls by name."""
    calls = {"on": False}

    def vendor(device_type, waiver):
        source = kernel_packages.KERNELS[waiver][1][0]
        name = source.function
        # A norm with a gate and rotary positions have tests of their own, in Triton's interpreter.
        if not calls["on"] or name not in STAND_INS:
            return None

        def kernel(*args, **kwargs):
            calls[name] = calls.get(name, 0) + 1
            return STAND_INS[name](*args, **kwargs)

        return kernel_packages.Loaded(source.package, kernel)

    monkeypatch.setattr(kernels, "vendor", vendor)
    return calls


def model_of(block):
    return build(Architecture(d_model=WIDTH, vocab_size=17, blocks=[block, {"kind": "mlp", "d_ff": 8}]))


def draw_tokens():
    return torch.randint(17, (2, LENGTH), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ["causal_conv1d_fn", "mamba_chunk_scan_combined", "selective_scan_fn"])
def test_stand_ins_have_the_kernels_signatures(name):
    files = {"causal_conv1d_fn": ("causal_conv1d", "causal_conv1d_interface.py")}
    files["selective_scan_fn"] = ("mamba_ssm", "ops/selective_scan_interface.py")
    files["mamba_chunk_scan_combined"] = ("mamba_ssm", "ops/triton/ssd_combined.py")
    documented = references(*files[name])[name]
    assert inspect.signature(STAND_INS[name]) == inspect.signature(documented)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("name", BLOCKS)
def test_kernels_give_the_same_loss_and_gradients(name, autocast, called):
    model, tokens = model_of(BLOCKS[name]), draw_tokens()
    losses, gradients = [], []
    for called["on"] in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = model.loss(tokens, tokens.roll(-1, 1)).total
        loss.backward()
        losses.append(loss.item())
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    scan = "mamba_chunk_scan_combined" if name.startswith("mamba2") else "selective_scan_fn"
    scans = {} if name.startswith("short_conv") else {scan: 1}
    assert called == {"on": True, "causal_conv1d_fn": 1, **scans}
    assert losses[1] == pytest.approx(losses[0], rel=5e-3 if autocast else 1e-5)
    if autocast:
        assert torch.cosine_similarity(*gradients, dim=0) > 0.99
    else:
        torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("batch", "prompt"), [(2, LENGTH), (2, 1), (1, 1)])
@pytest.mark.parametrize("name", BLOCKS)
def test_kernels_leave_the_same_state_after_a_prompt(name, batch, prompt, called):
    model, tokens = model_of(BLOCKS[name]), draw_tokens()[:batch, :prompt]
    logits, states = [], []
    for called["on"] in (False, True):
        state = model.init_state(batch, LENGTH)
        logits.append(model.prefill(tokens, state))
        states.append(state.blocks[0])
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-5)
    for key in states[0]:
        torch.testing.assert_close(states[1][key], states[0][key], rtol=1e-4, atol=1e-5)


def test_what_the_kernels_do_not_take_is_computed_without_them(called):
    called["on"] = True
    blocks = [{"kind": "mamba", "d_state": 257, "d_conv": 5}, {"kind": "mamba2", "head_dim": 8, "d_conv": 1}]
    blocks.append({"kind": "short_conv", "kernel_size": 7})
    build(Architecture(d_model=WIDTH, vocab_size=17, blocks=blocks))(draw_tokens())
    assert called == {"on": True, "mamba_chunk_scan_combined": 1}


def test_the_convolution_keeps_fp32_taps(called):
    generator = torch.Generator().manual_seed(2)
    x, w = torch.randn(2, 50, 16, generator=generator).bfloat16(), torch.randn(16, 4, generator=generator)
    called["on"] = True
    expected = conv_silu_reference(x.float(), w, None).bfloat16()
    # All but those that the order of a sum rounds the other way.
    assert (conv_silu(x, w, None) == expected).float().mean() > 0.99


def test_the_path_taken_is_said(called):
    assert model_of(BLOCKS["mamba"]).kernel_paths()[0] == "mamba: torch chunked recurrence"
    assert model_of(BLOCKS["mamba2"]).kernel_paths()[0] == "mamba2: torch chunked scan"
    assert model_of(BLOCKS["short_conv"]).kernel_paths()[0] == "short_conv: torch shifted products"
    called["on"] = True
    assert model_of(BLOCKS["short_conv"]).kernel_paths()[0] == "short_conv: causal-conv1d"
    assert [model_of(BLOCKS[name]).kernel_paths()[0] for name in ("mamba", "mamba2")] == [
        "mamba: mamba-ssm",
        "mamba2: mamba-ssm",
    ]


@pytest.mark.parametrize(("limit", "said"), [((0.0, None), (0.0, math.inf)), ((0.1, 0.5), (0.1, 0.5))])
def test_no_upper_limit_is_infinity_to_the_kernel(limit, said, monkeypatch, called):
    seen = []

    def scan(*args, **kwargs):
        seen.append(kwargs["dt_limit"])
        return mamba_chunk_scan_combined(*args, **kwargs)

    monkeypatch.setitem(STAND_INS, "mamba_chunk_scan_combined", scan)
    called["on"] = True
    model_of({**BLOCKS["mamba2"], "dt_limit": limit})(draw_tokens())
    assert seen == [said]


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """A kernel whose package is not there, which a folder of the test's may change; what was loaded is forgotten."""
    sources = (kernel_packages.Source("broken_kernels", "scan"), kernel_packages.Source("also_broken", "scan"))
    monkeypatch.setitem(kernel_packages.KERNELS, "kda", ("some-package", sources))
    monkeypatch.delenv(kernel_packages.WAIVED, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    kernel_packages.load.cache_clear()
    yield lambda: kernels.vendor("cuda", "kda")
    kernel_packages.load.cache_clear()
    for name in ("broken_kernels", "also_broken"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("content", [None, "raise ImportError('libcudart.so')", "raise RuntimeError('no driver')", ""])
def test_a_kernel_that_cannot_be_had_on_a_gpu_is_an_error(content, tmp_path, asked):
    if content is not None:
        (tmp_path / "broken_kernels.py").write_text(content)
    with pytest.raises(UserError, match=r"kernel kda: broken_kernels cannot be had .*HARMONY_PLAIN_KERNELS=kda"):
        asked()
    assert kernels.vendor("cpu", "kda") is None
    assert ("kda" in kernel_packages.absent()) == (content is None)


def test_a_kernel_is_waived_by_name(monkeypatch, asked):
    monkeypatch.setenv(kernel_packages.WAIVED, "mamba-scan, kda")
    assert asked() is None


def test_a_waiver_of_nothing_is_refused(monkeypatch, asked):
    monkeypatch.setenv(kernel_packages.WAIVED, "flash")
    with pytest.raises(UserError, match=r"HARMONY_PLAIN_KERNELS: flash: use names of .*mamba2-scan"):
        asked()


def test_the_next_source_is_taken_where_the_first_is_not_there(tmp_path, asked):
    (tmp_path / "also_broken.py").write_text("def scan(): return 3")
    assert asked().package == "also_broken"
    assert asked().function() == 3


def test_a_package_without_its_extension_is_none(tmp_path, monkeypatch, asked):
    """mamba-ssm's newest versions import all the same, and fail at the first call."""
    (tmp_path / "also_broken.py").write_text("def scan(): return 3")
    needing = kernel_packages.Source("also_broken", "scan", "an_extension_that_nobody_built")
    monkeypatch.setitem(kernel_packages.KERNELS, "kda", ("some-package", (needing,)))
    with pytest.raises(UserError, match="an_extension_that_nobody_built"):
        asked()


def test_gfx90a_has_no_kernel_of_the_delta_rules(monkeypatch, caplog):
    monkeypatch.setattr(kernels, "gpu_architecture", lambda: "gfx90a")
    monkeypatch.setattr(kernels, "vendor", lambda device, name: kernel_packages.Loaded("fla", max))
    kernels._say_no_delta_kernel.cache_clear()
    for rule in ("gated-delta-rule", "kda"):
        assert kernels.delta_kernel(rule, "cuda", torch.bfloat16, 64) is None
        assert kernels.delta_path(rule, "cuda", 64).endswith("does not compile for gfx90a)")
    assert caplog.text.count("plain PyTorch, which is slower") == 1
    monkeypatch.setattr(kernels, "gpu_architecture", lambda: "gfx942")
    assert kernels.delta_kernel("kda", "cuda", torch.bfloat16, 64) is max
    assert kernels.delta_kernel("kda", "cuda", torch.float32, 64) is None
    assert kernels.delta_kernel("kda", "cuda", torch.bfloat16, 320) is None
