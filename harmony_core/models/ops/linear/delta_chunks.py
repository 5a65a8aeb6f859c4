"""Delta rules over chunks of tokens, whatever their decay (arXiv:2412.06464, section 3.3; arXiv:2510.26692, section 3).

N chunks one after the other, B sequences, H heads, Z = N B H, Y = B H, Q tokens of a chunk, S = 2 Q, K key width,
V value width.

With state S before a chunk, the errors e of what it predicts of the values solve a unit triangular system, and outputs
and state follow, where q, k and w are queries, keys and keys with the decays from the chunk's beginning or to its end:

    (I + overlap diag(beta)) e = v - k S,    u = beta e,    y = q S + mix u,    S' = total S + w^T u.

All that knows no state is one product for many chunks; from chunk to chunk go three small products. What belongs to
queries stands above what belongs to keys in one tensor, so that a product serves both. The system is inverted once and
its inverse multiplied: solved for the identity it takes a CPU a fifth of the time that it takes for values and keys.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from harmony_core.models.ops.linear.spans import Span, cut, put, stacked

_NEARLY_NOTHING = 1e-30


class Terms(NamedTuple):
    """What chunks compute from, fp32 or fp64, the chunks in their order.

    Args:
        pairs_ZSQ: q_i k_j with the decay between them, 0 for j > i; and below k_i k_j likewise, read for j < i alone.
        reading_ZSK: queries above keys, with the decay from the chunk's beginning.
        written_ZQK: keys with the decay to the chunk's end.
        beta_ZQ1: how much of an error is corrected.
        total_ZK1: the chunk's whole decay of the state's rows, or [Z, 1, 1].
    """

    pairs_ZSQ: Tensor
    reading_ZSK: Tensor
    written_ZQK: Tensor
    beta_ZQ1: Tensor
    total_ZK1: Tensor


class TermGradients(NamedTuple):
    """Gradients; the rule itself makes dreading = dread before^T, dwritten = u dafter^T, dtotal = before dafter.

    Args:
        dpairs_ZSQ: of `pairs_ZSQ`, not masked.
        dread_ZSV: of what queries and keys read of the state; the lower half is minus the values' gradient.
        u_ZQV: the corrections.
        dbeta_ZQ: of `beta_ZQ1`.
        dafter_ZKV: of the state after each chunk.
    """

    dpairs_ZSQ: Tensor
    dread_ZSV: Tensor
    u_ZQV: Tensor
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
        y_ZQV, error_ZQV, states_NYKV = forward(terms, stacked(rule.v_BTHV, span), state_YKV)
        put(y_BTHV, span, y_ZQV)
        kept += [states_NYKV, error_ZQV] if keep else []
        state_YKV = states_NYKV[-1]
    return y_BTHV, state_YKV.mT.unflatten(0, (y_BTHV.shape[0], -1)), kept


def forward(terms: Terms, v_ZQV: Tensor, state_YKV: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs and errors, [Z, Q, V], and the states before each chunk and after the last, [N + 1, Y, K, V].

    Args:
        terms: of the chunks.
        v_ZQV: their values, overwritten.
        state_YKV: before the first of them.
    """
    each = state_YKV.shape[0]
    mix_ZQQ, overlap_ZQQ = (x * terms.beta_ZQ1.mT for x in terms.pairs_ZSQ.chunk(2, 1))
    q_ZQK, k_ZQK = terms.reading_ZSK.chunk(2, 1)
    written_ZQK, error_ZQV = terms.written_ZQK * terms.beta_ZQ1, torch.empty_like(v_ZQV)
    tensors = (v_ZQV, k_ZQK, _inverse(overlap_ZQQ), written_ZQK.mT, terms.total_ZK1, error_ZQV)
    chunks = list(zip(*(x.split(each) for x in tensors), strict=True))
    states_NYKV = state_YKV.new_empty(len(chunks) + 1, *state_YKV.shape)
    states_NYKV[0] = state_YKV
    for n, (v, k, inverse, written, total, error) in enumerate(chunks):
        before, after = states_NYKV[n], states_NYKV[n + 1]
        torch.bmm(inverse, v.baddbmm_(k, before, alpha=-1), out=error)
        torch.mul(before, total, out=after).baddbmm_(written, error)
    y_ZQV = torch.bmm(q_ZQK, states_NYKV[:-1].flatten(0, 1)).baddbmm_(mix_ZQQ, error_ZQV)
    return y_ZQV, error_ZQV, states_NYKV


def backward(terms: Terms, error_ZQV: Tensor, dy_NBHQV: Tensor, dstate_YKV: Tensor) -> tuple[TermGradients, Tensor]:
    """The gradients, and the one of the state before the first chunk.

    Args:
        terms: as for `forward`.
        error_ZQV: what `forward` gave.
        dy_NBHQV: the gradient of the outputs, which may be a view.
        dstate_YKV: the gradient of the state after the last chunk.
    """
    each, length = dstate_YKV.shape[0], dy_NBHQV.shape[3]
    mix_ZQQ, overlap_ZQQ = terms.pairs_ZSQ.chunk(2, 1)
    inverse_ZQQ = _inverse(overlap_ZQQ * terms.beta_ZQ1)
    dread_ZSV = error_ZQV.new_empty(error_ZQV.shape[0], 2 * length, error_ZQV.shape[2])
    dread_ZSV.unflatten(0, dy_NBHQV.shape[:3])[..., :length, :] = dy_NBHQV
    asked_ZQV, du_ZQV = torch.bmm(mix_ZQQ.mT, dread_ZSV[:, :length]), torch.empty_like(error_ZQV)
    tensors = (terms.written_ZQK, inverse_ZQQ.mT, terms.reading_ZSK.mT, terms.total_ZK1, -terms.beta_ZQ1)
    chunks = list(zip(*(x.split(each) for x in (*tensors, asked_ZQV, du_ZQV, dread_ZSV)), strict=True))
    dstates_NYKV = dstate_YKV.new_empty(len(chunks) + 1, *dstate_YKV.shape)
    dstates_NYKV[-1] = dstate_YKV
    for n, (written, inverse, reading, total, minus_beta, asked, du, dread) in reversed(list(enumerate(chunks))):
        before, after = dstates_NYKV[n], dstates_NYKV[n + 1]
        torch.bmm(inverse, asked.baddbmm_(written, after), out=du)
        torch.mul(du, minus_beta, out=dread[:, length:])
        torch.mul(after, total, out=before).baddbmm_(reading, dread)
    u_ZQV = error_ZQV * terms.beta_ZQ1
    gradients = TermGradients(
        dpairs_ZSQ=torch.bmm(dread_ZSV, u_ZQV.mT),
        dread_ZSV=dread_ZSV,
        u_ZQV=u_ZQV,
        dbeta_ZQ=torch.linalg.vecdot(du_ZQV, error_ZQV),
        dafter_ZKV=dstates_NYKV[1:].flatten(0, 1),
    )
    return gradients, dstates_NYKV[0]


def put_values(dv_BTHV: Tensor, span: Span, found: TermGradients) -> None:
    """Writes the values' gradients of a span's chunks.

    Args:
        dv_BTHV: of all tokens, overwritten at the span's.
        span: the chunks.
        found: what `backward` gave of them.
    """
    place = cut(dv_BTHV, span)
    torch.neg(found.dread_ZSV[:, span.length :].unflatten(0, place.shape[:3]), out=place)


def _inverse(system_ZQQ: Tensor) -> Tensor:
    """Of I and what `system_ZQQ` has below its diagonal, without the nearly nothing that strong decays leave in it.

    What is multiplied again and again with 2^-40 ends among the denormal numbers, with which a CPU's products of the
    next steps would be many times as slow. X A = I takes a third less time than A X = I: no copy by columns is made.
    """
    identity_QQ = torch.eye(system_ZQQ.shape[-1], dtype=system_ZQQ.dtype, device=system_ZQQ.device)
    inverse_ZQQ = torch.linalg.solve_triangular(system_ZQQ, identity_QQ, upper=False, left=False, unitriangular=True)
    return torch.nn.functional.hardshrink(inverse_ZQQ, _NEARLY_NOTHING)
