"""Products with a weight, activations, the feed-forward network, and the dense channel mixer."""

import pytest
import torch
from torch.nn.functional import gelu, silu

from harmony_core.architecture import MLP
from harmony_core.architecture.mlp import GATED
from harmony_core.models import kernels
from harmony_core.models.mlp import MLPModule
from harmony_core.models.ops import activation, feed_forward, matmul
from harmony_core.models.parameter import initialise
from tests.models.comparison import assert_same, draw

KINDS = ["swiglu", "geglu", "bilinear", "clamped_swiglu", "gelu", "relu2"]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [((2, 7, 12), (20, 12)), ((1, 1, 12), (3, 12)), ((5, 40), (8, 40)), ((0, 6), (4, 6))])
def test_linear(shape, bias):
    inputs = [draw(*shape[0]), draw(*shape[1])] + [draw(shape[1][0], seed=3)] * bias
    assert_same(matmul.linear, torch.nn.functional.linear, inputs)
    with torch.no_grad():
        torch.testing.assert_close(matmul.linear(*inputs), torch.nn.functional.linear(*inputs))


def test_linear_takes_any_strides():
    base, w = draw(6, 9, 8), draw(5, 6)
    assert_same(
        lambda b, w: matmul.linear(b.permute(1, 2, 0), w),
        lambda b, w: torch.nn.functional.linear(b.permute(1, 2, 0), w),
        (base, w),
    )


@pytest.mark.parametrize(
    ("rows", "widths", "kernel"),
    [
        (5, (512, 512), "oneDNN"),
        (1, (512, 512), "plain"),
        (1, (2048, 512), "oneDNN"),
        (2, (512, 512), "weight first"),
        (3, (512, 1024), "weight first"),
        (4, (512, 1032), "oneDNN"),
        (4, (64, 64), "plain"),
    ],
)
def test_every_product_is_the_product(rows, widths, kernel):
    x, w, bias = (draw(*shape).detach() for shape in ((rows, widths[1]), widths, (widths[0],)))
    assert kernels.product_kernel(x, w) == kernel
    for addend in (None, bias):
        y = matmul.product(x, w, addend)
        torch.testing.assert_close(y, torch.nn.functional.linear(x, w, addend), rtol=1e-4, atol=1e-3)
        assert y.is_contiguous()
        strided = matmul.product(x.T.contiguous().T, w, addend)
        torch.testing.assert_close(strided, y, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("widths", "dtype", "first"),
    [
        ((128, 512), torch.float32, True),
        ((4, 8), torch.float32, False),
        ((64, 1032), torch.float32, False),
        ((128, 512), torch.bfloat16, False),
    ],
)
def test_stacked_products_are_slices_products(widths, dtype, first):
    w = draw(5, *widths).detach()
    slices = [(0, 0, 1), (1, 1, 3), (3, 3, 9), (4, 9, 12)]
    x = draw(12, widths[1]).detach().to(dtype)
    assert kernels.stack_is_read_first(x, w) == first
    expected = torch.cat([x[start:end] @ w[index].T.to(dtype) for index, start, end in slices])
    y = matmul.stacked_products(x, w, slices)
    assert y.dtype == dtype
    assert y.is_contiguous()
    torch.testing.assert_close(y, expected, rtol=1e-2 if dtype == torch.bfloat16 else 1e-4, atol=1e-3)


@pytest.mark.parametrize(("rows", "widths"), [(9, (6, 4)), (600, (40, 6)), (600, (6, 40)), (0, (3, 2))])
def test_weight_gradient(rows, widths):
    dy, x = draw(rows, widths[0]).detach(), draw(rows, widths[1]).detach()
    gradient = matmul.weight_gradient(dy, x)
    torch.testing.assert_close(gradient, dy.T @ x, rtol=1e-4, atol=1e-4)
    assert gradient.is_contiguous()


def test_linear_keeps_types_under_autocast():
    x, w, bias = draw(6, 8), draw(4, 8), draw(4)
    with torch.autocast("cpu", torch.bfloat16):
        y = matmul.linear(x, w, bias)
        with torch.no_grad():
            assert torch.equal(matmul.linear(x, w, bias), y)
    assert y.dtype == torch.bfloat16
    for gradient in torch.autograd.grad(y.float().sum(), (x, w, bias)):
        assert gradient.dtype == torch.float32


def test_activations_are_their_papers():
    # Some beyond the limits of those that have them.
    x = 5 * draw(3, 8).detach()
    assert x.min() < -7 < 7 < x.max()
    gate, up = x.chunk(2, -1)
    expected = {
        "swiglu": silu(gate) * up,
        "geglu": gelu(gate, approximate="none") * up,
        "bilinear": gate * up,
        "clamped_swiglu": gate.clamp(max=7) * (1.702 * gate.clamp(max=7)).sigmoid() * (up.clamp(-7, 7) + 1),
        "gelu": 0.5 * x * (1 + torch.erf(x / 2**0.5)),
        "relu2": x.clamp_min(0) ** 2,
    }
    for kind in KINDS:
        torch.testing.assert_close(activation.forward(x, kind)[0], expected[kind])
        torch.testing.assert_close(activation.activate_reference(x, kind), expected[kind])


@pytest.mark.parametrize("shape", [(3, 5, 16), (1, 2), (0, 4)])
@pytest.mark.parametrize("kind", KINDS)
def test_activation_gradient(kind, shape):
    x = draw(*shape, scale=5.0)
    y = activation.activate_reference(x, kind)
    dy = draw(*y.shape, seed=9).detach()
    (expected,) = torch.autograd.grad(y, x, dy)
    with torch.no_grad():
        opened = activation.forward(x, kind)[1]
        torch.testing.assert_close(activation.backward(dy, x, opened, kind), expected)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(2, 7, 12), (1, 12), (600, 12)])
def test_feed_forward(shape, kind, bias):
    wide = 10 * activation.gates(kind)
    inputs = [draw(*shape), draw(wide, 12), draw(12, 10)] + [draw(wide), draw(12)] * bias

    def ordered(function):
        return lambda x, up, down, up_bias=None, down_bias=None: function(x, up, up_bias, down, down_bias, kind)

    assert_same(ordered(feed_forward.feed_forward), ordered(feed_forward.feed_forward_reference), inputs, 1e-3)
    with torch.no_grad():
        fast, plain = (ordered(f)(*inputs) for f in (feed_forward.feed_forward, feed_forward.feed_forward_reference))
        torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", sorted(GATED))
def test_a_factor_of_the_gate_comes_before_it_opens(kind):
    inputs = [draw(3, 7, 12), draw(20, 12), draw(20), draw(12, 10), draw(12)]
    fast, plain = (
        lambda *t, f=function: f(*t, kind, 0.3)
        for function in (feed_forward.feed_forward, feed_forward.feed_forward_reference)
    )
    assert_same(fast, plain, inputs, 1e-3)
    with torch.no_grad():
        torch.testing.assert_close(fast(*inputs), plain(*inputs), rtol=1e-4, atol=1e-4)
    scaled = [x.detach().clone() for x in inputs]
    scaled[1][:10] *= 0.3
    scaled[2][:10] *= 0.3
    torch.testing.assert_close(plain(*inputs), feed_forward.feed_forward_reference(*scaled, kind))


def test_feed_forward_keeps_its_input_the_projection_and_the_opened_gate_alone():
    x, up, down = draw(50, 8), draw(24, 8), draw(8, 12)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        feed_forward.feed_forward(x, up, None, down, None, "swiglu")
    activations = [t for t in kept if t.data_ptr() not in (up.data_ptr(), down.data_ptr())]
    assert sorted(t.numel() for t in activations) == [50 * 8, 50 * 12, 50 * 24]
    assert any(t.data_ptr() == x.data_ptr() for t in activations)


@pytest.mark.parametrize("trained", ["x", "up", "down", "up_bias", "down_bias"])
def test_feed_forward_with_one_trained_input(trained):
    shapes = {"x": (5, 8), "up": (12, 8), "up_bias": (12,), "down": (8, 6), "down_bias": (8,)}
    inputs = {name: draw(*shape) for name, shape in shapes.items()}
    frozen = {name: t if name == trained else t.detach() for name, t in inputs.items()}
    gradients = []
    for function in (feed_forward.feed_forward, feed_forward.feed_forward_reference):
        (gradient,) = torch.autograd.grad(function(*frozen.values(), "geglu").square().sum(), inputs[trained])
        gradients.append(gradient)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_module_has_the_counted_parameters(kind, bias):
    config = MLP(d_ff=20, activation=kind, bias=bias)
    module = MLPModule(config, 12, 1e-5)
    initialise(module, 0, 1)
    shapes = {name: tuple(p.shape) for name, p in module.named_parameters()}
    wide = 40 if kind in GATED else 20
    expected = {"up": (wide, 12), "down": (12, 20)}
    if bias:
        expected |= {"up_bias": (wide,), "down_bias": (12,)}
    else:
        assert module.up_bias is module.down_bias is None
    assert shapes == expected
    assert sum(p.numel() for p in module.parameters()) == config.num_params(12)


def test_module_with_biases_is_the_formula():
    module = MLPModule(MLP(d_ff=20, activation="geglu", bias=True), 12, 1e-5)
    with torch.no_grad():
        for index, parameter in enumerate(module.parameters()):
            parameter.copy_(draw(*parameter.shape, seed=index))
    x = draw(2, 5, 12)
    gate, up = (x @ module.up.T + module.up_bias).chunk(2, -1)
    expected = (gelu(gate) * up) @ module.down.T + module.down_bias
    torch.testing.assert_close(module(x), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(module.step(x[:, 2], {}, 2), expected[:, 2], rtol=1e-4, atol=1e-4)


def test_module_with_factors_is_the_formula():
    config = MLP(d_ff=20, bias=True, gate_multiplier=0.5, out_multiplier=0.3)
    module = MLPModule(config, 12, 1e-5)
    initialise(module, 0, 1)
    x = draw(2, 5, 12)
    gate, up = (x @ module.up.T + module.up_bias).chunk(2, -1)
    expected = 0.3 * ((silu(0.5 * gate) * up) @ module.down.T + module.down_bias)
    torch.testing.assert_close(module(x), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(module.step(x[:, 2], {}, 2), expected[:, 2], rtol=1e-4, atol=1e-4)
