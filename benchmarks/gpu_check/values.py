"""Every operator's values and gradients on the device, beside the same weights in fp64 on the CPU.

R rows (tokens), V vocabulary, B batch, T tokens, D model width.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.gpu_check.cases import Case, cases
from benchmarks.gpu_check.row import attempted
from benchmarks.gpu_check.settings import SEED, Before, Row, Setting
from harmony_core.architecture import Architecture, block_from_dict
from harmony_core.models import build
from harmony_core.models.block import BlockModule
from harmony_core.models.documents import Documents
from harmony_core.models.ops.cross_entropy import linear_cross_entropy
from harmony_core.training.precision import autocast

# The norm of a difference over that of the fp64 value, at most: of outputs, and of each gradient. TF32 would break
# the first; what bf16 rounds adds up over a sequence.
LIMITS = {"fp32": 1e-3, "bf16": 5e-2}
# A gradient that is smaller than this share of all of them is compared with that share: some are sums of what cancels,
# or zero (of decays where there is one token, of a router that chooses one expert).
_SHARE = 1e-2
_VOCAB_SIZE = 128_256
Found = dict[str, Tensor]


def rows(setting: Setting, before: Before) -> Iterator[Row]:
    """A row a case and precision: relative errors of the output and of the worst gradient, and which that is."""
    for precision in LIMITS:
        identity = {"kind": "loss", "vocab_size": setting.choose(_VOCAB_SIZE, 1031), "precision": precision}
        yield attempted(identity, compare_loss, precision, setting)
    for case in cases(setting):
        reference: list[Found] = []
        for precision in LIMITS:
            identity = {"kind": case.block["kind"], "d_model": case.d_model, "head_width": case.head_width}
            identity |= {"tokens": case.length, "precision": precision, "note": case.note}
            yield attempted(identity, compare, case, precision, setting, reference)


def compare(case: Case, precision: str, setting: Setting, reference: list[Found]) -> Row:
    """The errors of one block.

    Args:
        case: the block and its sizes.
        precision: `fp32`, or `bf16` for autocast.
        setting: the device.
        reference: what fp64 finds; made where it is empty.
    """
    module = module_of(case)
    shape = (case.batch_size, case.length, case.d_model)
    generator = torch.Generator().manual_seed(SEED)
    x_BTD, dy_BTD = (torch.randn(shape, generator=generator) for _ in range(2))
    if not reference:
        reference.append(gradients(copy.deepcopy(module).double(), _in_fp64(case), x_BTD.double(), dy_BTD.double()))
    device = torch.device(setting.device)
    module.to(device)

    def run(module: BlockModule, x_BTD: Tensor) -> Tensor:
        with autocast(device, precision):
            y_BTD: Tensor = module(x_BTD)
        return y_BTD

    begin = time.perf_counter()
    found = gradients(module, run, x_BTD.to(device), dy_BTD.to(device))
    compared = errors(found, reference[0], LIMITS[precision])
    # With what is compiled and tuned at first use, which every new process pays.
    return {**compared, "first_seconds": time.perf_counter() - begin, "path": module.kernel_path()}


def module_of(case: Case) -> BlockModule:
    """The block's module with its first weights, fp32 on the CPU."""
    # One row of vocabulary: the embedding is not used.
    fields = {"d_model": case.d_model, "vocab_size": 1, "blocks": [case.block]}
    inner: BlockModule = build(Architecture.parse(fields), init_seed=SEED).blocks[0].inner  # type: ignore[assignment]
    return inner.train()


def gradients(
    module: BlockModule, run: Callable[[BlockModule, Tensor], Tensor], x_BTD: Tensor, dy_BTD: Tensor
) -> Found:
    """The output, and the gradients of the input and of every parameter that has one.

    Args:
        module: of the block.
        run: its forward pass.
        x_BTD: its input.
        dy_BTD: the output's gradient.
    """
    x_BTD = x_BTD.detach().requires_grad_()
    y_BTD = run(module, x_BTD)
    y_BTD.backward(dy_BTD.to(y_BTD.dtype))
    parameters = {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
    assert x_BTD.grad is not None
    return {"output": y_BTD.detach(), "input": x_BTD.grad, **parameters}


def errors(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], limit: float) -> Row:
    """Relative errors, and whether all of them are within the limit.

    Args:
        found: on the device.
        expected: of the same names, fp64.
        limit: largest relative error.
    """
    output = float((_like(found["output"]) - expected["output"]).norm() / expected["output"].norm())
    gradients = {name: value for name, value in expected.items() if name != "output"}
    least = _SHARE * float(torch.nn.utils.get_total_norm(gradients.values()))
    relative = {
        name: float((_like(found[name]) - value).norm()) / max(float(value.norm()), least)
        for name, value in gradients.items()
    }
    # What is not a number is the worst.
    worst = max(relative, key=lambda name: (math.isnan(relative[name]), relative[name]))
    figures = {"output_error": _short(output), "gradient_error": _short(relative[worst]), "worst_gradient": worst}
    return {**figures, "limit": limit, "ok": output <= limit and relative[worst] <= limit}


def compare_loss(precision: str, setting: Setting) -> Row:
    """The errors of the loss over a large vocabulary.

    Args:
        precision: `fp32`, or `bf16` for autocast.
        setting: the device, and how large.
    """
    vocab_size, width, tokens = setting.choose((_VOCAB_SIZE, 128, 257), (1031, 16, 19))
    generator = torch.Generator().manual_seed(SEED)
    hidden_RD = torch.randn(tokens, width, generator=generator)
    head_VD = 0.1 * torch.randn(vocab_size, width, generator=generator)
    targets_R = torch.randint(vocab_size, (tokens,), generator=generator)
    expected = _loss(lambda h, w: cross_entropy(h @ w.T, targets_R), hidden_RD.double(), head_VD.double())
    device = torch.device(setting.device)
    on_device = targets_R.to(device)

    def run(hidden_RD: Tensor, head_VD: Tensor) -> Tensor:
        with autocast(device, precision):
            return linear_cross_entropy(hidden_RD, head_VD, on_device)

    found = _loss(run, hidden_RD.to(device), head_VD.to(device))
    return errors(found, expected, LIMITS[precision])


def _loss(run: Callable[[Tensor, Tensor], Tensor], hidden_RD: Tensor, head_VD: Tensor) -> Found:
    hidden_RD, head_VD = hidden_RD.requires_grad_(), head_VD.requires_grad_()
    loss = run(hidden_RD, head_VD)
    dhidden_RD, dhead_VD = torch.autograd.grad(loss, (hidden_RD, head_VD))
    return {"output": loss.detach(), "hidden": dhidden_RD, "head": dhead_VD}


def _in_fp64(case: Case) -> Callable[[BlockModule, Tensor], Tensor]:
    """The plainest form of a block: with documents, where it has that, since others keep states in fp32."""
    whole = Documents(torch.zeros(case.batch_size, case.length, dtype=torch.int64))

    keeps = block_from_dict(dict(case.block)).documents_problem() is None
    return lambda module, x_BTD: module.forward_documents(x_BTD, whole) if keeps else module(x_BTD)


def _like(found: Tensor) -> Tensor:
    """In fp64 on the CPU."""
    return found.detach().double().cpu()


def _short(value: float) -> float:
    return float(f"{value:.2e}")
