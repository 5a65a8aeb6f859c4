"""An op beside its plain form: values and every gradient."""

import torch

from harmony_core.models.router import Router


def routers(model):
    """The routers of all mixtures of experts, in order."""
    return [module for module in model.modules() if isinstance(module, Router)]


def draw(*shape, seed=0, scale=1.0):
    """A leaf of standard normal values that depend on the shape and the seed."""
    tensor = torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape))) * scale
    return tensor.requires_grad_()


def assert_same(fast, plain, inputs, rtol=1e-4, atol=1e-5):
    """`fast` and `plain`, called on the same inputs, agree in values and in every gradient."""
    results = []
    for function in (fast, plain):
        y = function(*inputs)
        seed = torch.Generator().manual_seed(7)
        results.append((y, torch.autograd.grad(y, inputs, torch.randn(y.shape, generator=seed))))
    (y_fast, grads_fast), (y_plain, grads_plain) = results
    torch.testing.assert_close(y_fast, y_plain, rtol=rtol, atol=atol)
    for got, expected in zip(grads_fast, grads_plain, strict=True):
        size = 1 + float(expected.abs().sum()) / max(1, expected.numel())
        torch.testing.assert_close(got, expected, rtol=rtol, atol=3 * atol * size)
