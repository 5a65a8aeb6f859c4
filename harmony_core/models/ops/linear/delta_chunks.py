"""Delta rules over chunks of tokens, whatever their decay (arXiv:2412.06464, section 3.3; arXiv:2510.26692, section 3).

N chunks one after the other, B sequences, H heads, Z = N B H, Y = B H, Q tokens of a chunk, K key width, V value width.

With state S before a chunk, the errors e of what it predicts of the values solve a unit triangular system, and outputs
and state follow, where q, k and w are queries, keys and keys with the decays from the chunk's beginning or to its end:

    (I + overlap diag(beta)) e = v - k S,    u = beta e,    y = q S + mix u,    S' = total S + w^T u.

All that knows no state is one product for many chunks; from chunk to chunk go two small products.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from harmony_core.models.ops.linear.spans import Span, put

_NEARLY_NOTHING = 1e-30


class Terms(NamedTuple):
    """What chunks compute from, fp32 or fp64, the chunks in their order.

    Args:
        mix_ZQQ: q_i k_j with the decay between them, 0 for j > i.
        overlap_ZQQ: k_i k_j with the decay between them for j < i; the rest is not read.
        q_ZQK: queries with the decay from the chunk's beginning.
        k_ZQK: keys with the same.
        written_ZQK: keys with the decay to the chunk's end.
        v_ZQV: values.
        beta_ZQ1: how much of an error is corrected.
        total_ZK1: the chunk's whole decay of the state's rows, or [Z, 1, 1].
    """

    mix_ZQQ: Tensor
    overlap_ZQQ: Tensor
    q_ZQK: Tensor
    k_ZQK: Tensor
    written_ZQK: Tensor
    v_ZQV: Tensor
    beta_ZQ1: Tensor
    total_ZK1: Tensor


class TermGradients(NamedTuple):
    """Gradients of the terms; `dtotal` is left to who knows its shape: it is the product of `before` and `dafter`.

    Args:
        dmix_ZQQ: not masked.
        doverlap_ZQQ: not masked.
        dq_ZQK: of `q_ZQK`.
        dk_ZQK: of `k_ZQK`.
        dwritten_ZQK: of `written_ZQK`.
        dv_ZQV: of `v_ZQV`.
        dbeta_ZQ: of `beta_ZQ1`.
        dafter_ZKV: of the state after each chunk.
    """

    dmix_ZQQ: Tensor
    doverlap_ZQQ: Tensor
    dq_ZQK: Tensor
    dk_ZQK: Tensor
    dwritten_ZQK: Tensor
    dv_ZQV: Tensor
    dbeta_ZQ: Tensor
    dafter_ZKV: Tensor


class Rule(Protocol):
    """A delta rule of some sequences: how its decays make terms of spans of chunks."""

    v_BTHV: Tensor
    spans: list[Span]

    def empty_state(self) -> Tensor:
        """Zeros [Y, K, V]."""

    def queries_and_keys(self, span: Span) -> Tensor:
        """Those of a span's chunks, as `terms` takes them."""

    def decays(self, span: Span) -> Any:
        """Those of a span's chunks, as `terms` takes them."""

    def terms(self, span: Span, qk: Tensor, decays: Any) -> Terms:
        """The terms of a span's chunks.

        Args:
            span: the chunks.
            qk: what `queries_and_keys` gave.
            decays: what `decays` gave.
        """


def run(rule: Rule, keep: bool) -> tuple[Tensor, Tensor, list[Tensor]]:
    """The rule over all its spans.

    Args:
        rule: what is computed.
        keep: whether a backward pass follows.

    Returns:
        Outputs [B, T, H, V]; the state after the last token, [B, H, V, K]; and what `backward` needs, of each span the
        states [N + 1, Y, K, V] and the errors [Z, Q, V].
    """
    y_BTHV = torch.empty_like(rule.v_BTHV, memory_format=torch.contiguous_format)
    state_YKV, kept = rule.empty_state(), []
    for span in rule.spans:
        terms = rule.terms(span, rule.queries_and_keys(span), rule.decays(span))
        y_ZQV, error_ZQV, states_NYKV = forward(terms, state_YKV)
        put(y_BTHV, span, y_ZQV)
        kept += [states_NYKV, error_ZQV] if keep else []
        state_YKV = states_NYKV[-1]
    return y_BTHV, state_YKV.mT.unflatten(0, (y_BTHV.shape[0], -1)), kept


def forward(terms: Terms, state_YKV: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs and errors, [Z, Q, V], and the states before each chunk and after the last, [N + 1, Y, K, V]."""
    each = state_YKV.shape[0]
    written_ZQK = terms.written_ZQK * terms.beta_ZQ1
    system_ZQQ = terms.overlap_ZQQ * terms.beta_ZQ1.mT
    targets = torch.cat((terms.v_ZQV, terms.k_ZQK), -1)
    solved = _solved(system_ZQQ, targets, upper=False)
    alone_ZQV, reader_ZQK = solved.split((terms.v_ZQV.shape[-1], terms.k_ZQK.shape[-1]), -1)
    error_ZQV = torch.empty_like(terms.v_ZQV)
    chunks = [x.split(each) for x in (alone_ZQV, reader_ZQK, written_ZQK.mT, terms.total_ZK1, error_ZQV)]
    states_NYKV = state_YKV.new_empty(len(chunks[0]) + 1, *state_YKV.shape)
    states_NYKV[0] = state_YKV
    for n, (alone, reader, written, total, error) in enumerate(zip(*chunks, strict=True)):
        before, after = states_NYKV[n], states_NYKV[n + 1]
        torch.baddbmm(alone, reader, before, alpha=-1, out=error)
        torch.mul(before, total, out=after).baddbmm_(written, error)
    mix_ZQQ = terms.mix_ZQQ * terms.beta_ZQ1.mT
    y_ZQV = torch.bmm(terms.q_ZQK, states_NYKV[:-1].flatten(0, 1)).baddbmm_(mix_ZQQ, error_ZQV)
    return y_ZQV, error_ZQV, states_NYKV


def backward(
    terms: Terms, before_ZKV: Tensor, error_ZQV: Tensor, dy_ZQV: Tensor, dstate_YKV: Tensor
) -> tuple[TermGradients, Tensor]:
    """The gradients, and the one of the state before the first chunk.

    Args:
        terms: as for `forward`.
        before_ZKV: the state before each chunk.
        error_ZQV: what `forward` gave.
        dy_ZQV: the gradient of the outputs.
        dstate_YKV: the gradient of the state after the last chunk.
    """
    each, beta_ZQ1 = dstate_YKV.shape[0], terms.beta_ZQ1
    system_ZQQ = (terms.overlap_ZQQ * beta_ZQ1).mT
    targets = torch.cat((torch.bmm(terms.mix_ZQQ.mT, dy_ZQV), terms.written_ZQK), -1)
    solved = _solved(system_ZQQ, targets, upper=True)
    alone_ZQV, reader_ZQK = solved.split((dy_ZQV.shape[-1], terms.written_ZQK.shape[-1]), -1)
    asked_ZKV, k_ZKQ = torch.bmm(terms.q_ZQK.mT, dy_ZQV), (terms.k_ZQK * beta_ZQ1).mT
    du_ZQV, dafter_ZKV = torch.empty_like(dy_ZQV), torch.empty_like(before_ZKV)
    tensors = (alone_ZQV, reader_ZQK, asked_ZKV, k_ZKQ, terms.total_ZK1, du_ZQV, dafter_ZKV)
    for parts in reversed(list(zip(*(x.split(each) for x in tensors), strict=True))):
        alone, reader, asked, k, total, du, dafter = parts
        dafter.copy_(dstate_YKV)
        torch.baddbmm(alone, reader, dafter, out=du)
        dstate_YKV = torch.addcmul(asked, dafter, total).baddbmm_(k, du, alpha=-1)
    dbeta_ZQ = torch.linalg.vecdot(du_ZQV, error_ZQV)
    u_ZQV, dv_ZQV = error_ZQV * beta_ZQ1, du_ZQV.mul_(beta_ZQ1)
    read_ZQV = dv_ZQV.neg()
    gradients = TermGradients(
        dmix_ZQQ=torch.bmm(dy_ZQV, u_ZQV.mT),
        doverlap_ZQQ=torch.bmm(read_ZQV, u_ZQV.mT),
        dq_ZQK=torch.bmm(dy_ZQV, before_ZKV.mT),
        dk_ZQK=torch.bmm(read_ZQV, before_ZKV.mT),
        dwritten_ZQK=torch.bmm(u_ZQV, dafter_ZKV.mT),
        dv_ZQV=dv_ZQV,
        dbeta_ZQ=dbeta_ZQ,
        dafter_ZKV=dafter_ZKV,
    )
    return gradients, dstate_YKV


def _solved(system_ZQQ: Tensor, targets: Tensor, upper: bool) -> Tensor:
    """The unit triangular system's solution, [Z, Q, V + K], without the nearly nothing that strong decays leave in it.

    What is multiplied again and again with 2^-40 ends among the denormal numbers, with which a CPU's products of the
    next steps would be many times as slow.
    """
    solved = torch.linalg.solve_triangular(system_ZQQ, targets, upper=upper, unitriangular=True)
    return torch.nn.functional.hardshrink(solved, _NEARLY_NOTHING)
