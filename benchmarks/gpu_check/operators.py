"""Operators at width 4,096 and long sequences, forward and backward, beside other libraries' in the same run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from benchmarks.gpu_check.clock import OURS, beside
from benchmarks.gpu_check.peers import OPERATORS, Missing, Operator, Sizes
from benchmarks.gpu_check.row import attempted, said
from benchmarks.gpu_check.settings import SEED, Before, Row, Setting

_LENGTHS = (2048, 8192, 32_768)
_FULL, _SMALL = Sizes(4096, 128, 128_256), Sizes(16, 8, 29)


def rows(setting: Setting, before: Before) -> Iterator[Row]:
    """A row an operator and length: milliseconds of a forward and a backward pass, and the peers' over ours.

    Short sequences of everything come first, in case that time runs out.
    """
    sizes = setting.choose(_FULL, _SMALL)
    for length in setting.choose(_LENGTHS, (12,)):
        for operator in OPERATORS:
            identity = {"operator": operator.name, "d_model": sizes.d_model, "tokens": length}
            identity["precision"] = "fp32" if setting.small else "bf16"
            yield attempted(identity, measured, operator, sizes, length, setting)
            if not setting.small:
                torch.cuda.empty_cache()


def measured(operator: Operator, sizes: Sizes, length: int, setting: Setting) -> Row:
    """Milliseconds of ours and of every peer that is here, its largest difference from ours, and who is missing.

    Args:
        operator: what is compared.
        sizes: its widths.
        length: tokens of the one sequence.
        setting: where.
    """
    dtype = torch.float32 if setting.small else torch.bfloat16
    generator = torch.Generator(setting.device).manual_seed(SEED)
    with torch.device(setting.device):
        drawn = operator.inputs(sizes, length, dtype, lambda *shape: torch.randn(shape, generator=generator))
    inputs = [x.detach().requires_grad_(x.is_floating_point()) for x in drawn]
    sides = {OURS: _pass(operator.ours, inputs)}
    expected = sides[OURS]()
    differences, missing = {}, {}
    for name, make in operator.peers.items():
        try:
            run = _pass(make(), inputs)
            differences[name] = _difference(run(), expected)
        except Missing as why:
            missing[name] = str(why)
        except Exception as error:
            # A peer that cannot do this is no reason not to measure the others.
            missing[name] = said(error)
        else:
            sides[name] = run
    return {**beside(sides, setting), "difference_from_harmony": differences, "not_measured": missing}


def _pass(run: Callable[..., Tensor], inputs: Sequence[Tensor]) -> Callable[[], Sequence[Tensor]]:
    """A forward and a backward pass; answers with the output and the gradients."""
    asked = [x for x in inputs if x.requires_grad]

    def both() -> Sequence[Tensor]:
        y = run(*inputs)
        # The output serves as its own gradient: it is there, and as large.
        return (y.detach(), *torch.autograd.grad(y, asked, y.detach()))

    return both


def _difference(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The largest norm of a difference over that of ours, of output and gradients."""
    relative = [(a - b).float().norm() / b.float().norm() for a, b in zip(found, expected, strict=True)]
    return float(f"{float(torch.stack(relative).max()):.2e}")
