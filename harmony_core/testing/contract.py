"""What a block declares of documents, padding, precision and waiting is so; what it cannot do is refused by name.

A document's outputs and gradients are those of the document alone: in fp64 to rounding of it, and beside the form
without boundaries to fp32's, in which that form keeps states and norms. Checks take a block as `blocks` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from harmony_core.architecture import block_from_dict
from harmony_core.errors import UserError
from harmony_core.models.block import BlockModule
from harmony_core.models.documents import Documents
from harmony_core.models.registry import module_for
from harmony_core.testing.blocks import CHANNEL, MIXER, WIDTH, Check, Fields, draw_tokens, model_of

BATCH, LENGTH = 2, 26
# Where documents begin in each row. One has a single token, one is longer than a small chunk.
BEGINNINGS = ((0, 5, 6, 15), (0, 11))

_Run = Callable[[Tensor], Tensor]


def documents() -> Documents:
    """Those of `BEGINNINGS`."""
    starts_BT = torch.zeros(BATCH, LENGTH, dtype=torch.int64)
    for row, beginnings in enumerate(BEGINNINGS):
        starts_BT[row, list(beginnings)] = 1
    return Documents(starts_BT.cumsum(1))


def spans(row: int) -> list[slice]:
    """Where each document of a row lies."""
    ends = (*BEGINNINGS[row][1:], LENGTH)
    return [slice(start, stop) for start, stop in zip(BEGINNINGS[row], ends, strict=True)]


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Normal numbers, fp32."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def check_documents(block: Fields) -> None:
    """A document is what it is alone: in fp64, and to fp32's rounding what the form without boundaries makes of it."""
    if _problem(block) is not None:
        return
    for packed, apart in zip(*_packed_and_alone(block, torch.float64, fast=False), strict=True):
        torch.testing.assert_close(packed, apart, rtol=1e-9, atol=1e-9)
    for packed, apart in zip(*_packed_and_alone(block, torch.float32, fast=True), strict=True):
        size = 1 + float(apart.abs().max())
        torch.testing.assert_close(packed, apart, rtol=1e-4, atol=2e-5 * size)


def check_isolation(block: Fields) -> None:
    """Another document changes no bit of those before it, and nothing after it."""
    if _problem(block) is not None:
        return
    module, x_BTD, whole = _inner(block, torch.float32).eval(), draw(BATCH, LENGTH, WIDTH), documents()
    changed = x_BTD.clone()
    changed[0, 6:15] += 1.0
    with torch.no_grad():
        before, after = (module.forward_documents(x, whole) for x in (x_BTD, changed))
    assert torch.equal(before[0, :6], after[0, :6])
    torch.testing.assert_close(before[0, 15:], after[0, 15:], rtol=0, atol=1e-6)
    assert not torch.allclose(before[0, 6:15], after[0, 6:15], atol=1e-3)


def check_padding(block: Fields) -> None:
    """Padding on either side changes no real position, whatever the tokens there are, and no router counts it."""
    if block_from_dict(dict(block)).padding_problem() is not None:
        return
    is_mixer = block_from_dict(dict(block)).role == "mixer"
    for side in ("left", "right"):
        model = model_of(*((block, CHANNEL) if is_mixer else (MIXER, block)), seed=2).train()
        tokens_BT, filler_BT = draw_tokens(BATCH, 17), draw_tokens(BATCH, 9, seed=7)
        parts = (filler_BT, tokens_BT) if side == "left" else (tokens_BT, filler_BT)
        real_BT = torch.cat([torch.full_like(part, part is tokens_BT) for part in parts], 1).bool()
        expected = model(tokens_BT)
        counts = [buffer for key, buffer in model.named_buffers() if key.endswith("counts_E")]
        before = [buffer.clone() for buffer in counts]
        for buffer in counts:
            buffer.zero_()
        got = model(torch.cat(parts, 1), Documents.padded(real_BT))[real_BT].view_as(expected)
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
        assert all(torch.equal(one, other) for one, other in zip(before, counts, strict=True))


def check_refusal(block: Fields) -> None:
    """What cannot keep documents apart is refused in one line that names it and says what to do."""
    if _problem(block) is None:
        return
    told = None
    try:
        model_of(block)(draw_tokens(BATCH, LENGTH), documents())
    except UserError as refused:
        told = str(refused)
    assert told is not None, f"{block['kind']} took documents that it declares it cannot"
    assert told.startswith(f"blocks.0: {block['kind']}: it "), told
    assert "; use " in told, told
    assert "\n" not in told, told


def check_precisions(block: Fields) -> None:
    """In each precision that it declares its output is finite, with documents and without."""
    config = block_from_dict(dict(block))
    assert set(config.precisions) <= {"fp32", "bf16"}
    module, x_BTD = module_for(config, WIDTH, 1e-5), draw(BATCH, LENGTH, WIDTH)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(0))
    for precision in config.precisions:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            assert module(x_BTD).isfinite().all()
            if config.documents_problem() is None:
                both = module.forward_documents(x_BTD, documents()), module(x_BTD)
                assert both[0].dtype == both[1].dtype
                assert both[0].isfinite().all()


def check_waiting(block: Fields) -> None:
    """A step reads a value back from the device where it declares so, and nowhere else."""
    config, module = block_from_dict(dict(block)), _inner(block, torch.float32)
    x_BTD, whole = draw(4, LENGTH * 4, WIDTH), documents()
    whole = Documents(whole.number_BT.repeat(2, 4).sort(1).values)
    module(x_BTD)
    with noted_reads() as found:
        y_BTD, auxiliary = module.forward_with_loss(x_BTD.requires_grad_())
        (y_BTD.sum() if auxiliary is None else y_BTD.sum() + auxiliary).backward()
        if config.documents_problem() is None:
            module.forward_documents(x_BTD, whole).sum().backward()
        module.after_step()
    assert bool(found) == config.waits_for_device, found


CHECKS: tuple[Check, ...] = (
    check_documents,
    check_isolation,
    check_padding,
    check_refusal,
    check_precisions,
    check_waiting,
)


class HostReads(TorchDispatchMode):
    """Operations whose results a device has to be waited for; values that Python reads are noted beside them."""

    ASKING = ("nonzero", "masked_select", "_local_scalar_dense", "unique", "bincount", "equal.default")

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(function)
        chosen = args[1] if name.startswith("aten.index.") else ()
        if any(asking in name for asking in self.ASKING) or any(
            t is not None and t.dtype == torch.bool for t in chosen
        ):
            self.found.append(name)
        return function(*args, **(kwargs or {}))


@contextmanager
def noted_reads() -> Iterator[list[str]]:
    """Names of what is read back meanwhile."""
    reads = HostReads()
    names = ("item", "tolist", "numpy", "cpu", "__bool__", "__int__", "__float__", "__index__")
    plain = {name: getattr(Tensor, name) for name in names}
    for name, method in plain.items():
        setattr(Tensor, name, _noting(name, method, reads.found))
    try:
        with reads:
            yield reads.found
    finally:
        for name, method in plain.items():
            setattr(Tensor, name, method)


def _noting(name: str, method: Callable[..., Any], found: list[str]) -> Callable[..., Any]:
    def noted(self: Tensor, *args: Any) -> Any:
        found.append(name)
        return method(self, *args)

    return noted


def _problem(block: Fields) -> str | None:
    return block_from_dict(dict(block)).documents_problem()


def _alone(length: int) -> Documents:
    return Documents(torch.zeros(1, length, dtype=torch.int64))


def _inner(block: Fields, dtype: torch.dtype) -> BlockModule:
    module: Any = model_of(block, seed=1).blocks[0]
    return module.inner.to(dtype).train()  # type: ignore[no-any-return]


def _packed_and_alone(block: Fields, dtype: torch.dtype, fast: bool) -> tuple[list[Tensor], list[Tensor]]:
    module, x_BTD, whole = _inner(block, dtype), draw(BATCH, LENGTH, WIDTH).to(dtype), documents()
    packed = _outputs_and_gradients(module, x_BTD, [(-1, slice(None), lambda x: module.forward_documents(x, whole))])

    def one(x_1TD: Tensor) -> Tensor:
        return module(x_1TD) if fast else module.forward_documents(x_1TD, _alone(x_1TD.shape[1]))

    pieces = [(row, span, one) for row in range(BATCH) for span in spans(row)]
    return packed, _outputs_and_gradients(module, x_BTD, pieces)


def _outputs_and_gradients(
    module: BlockModule, x_BTD: Tensor, pieces: Sequence[tuple[int, slice, _Run]]
) -> list[Tensor]:
    """Of y weighed with fixed numbers: outputs, the input's gradient, the parameters'; `pieces` run one by one."""
    module.zero_grad()
    x_BTD = x_BTD.detach().clone().requires_grad_()
    weights_BTD = draw(*x_BTD.shape, seed=3).to(x_BTD.dtype)
    y_BTD = torch.zeros_like(x_BTD)
    for row, span, run in pieces:
        rows = slice(None) if row < 0 else slice(row, row + 1)
        y = run(x_BTD[rows, span])
        (y * weights_BTD[rows, span]).sum().backward()
        y_BTD[rows, span] = y.detach()
    assert x_BTD.grad is not None
    return [y_BTD, x_BTD.grad, *(p.grad.clone() for p in module.parameters() if p.grad is not None)]
