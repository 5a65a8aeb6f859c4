"""Kimi Delta Attention in chunks: the delta rule with a decay of its own for each key channel (arXiv:2510.26692).

B batch, T tokens, H heads, E = 2 H, K key width, V value width, N chunks of a span, Q tokens of a chunk, X = N B,
Z = N B H, Y = B H; 2 stands for queries and keys.

S_t = (I - beta_t k_t k_t^T) diag(exp(g_t)) S_t-1 + beta_t k_t v_t^T, o_t = S_t^T q_t / sqrt(K) (equation 1 and section
3). As `gated_delta`, but for the products within a chunk, whose decays stand under the sum over channels
(`channel_decay`).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from harmony_core.models.ops.linear import delta_chunks
from harmony_core.models.ops.linear.channel_decay import decayed_products, decayed_products_gradients
from harmony_core.models.ops.linear.decay import decay_of_
from harmony_core.models.ops.linear.delta_chunks import TermGradients, Terms, put_values
from harmony_core.models.ops.linear.document_masks import masks_of
from harmony_core.models.ops.linear.spans import Span, cut, put, spans_of, stacked
from harmony_core.models.ops.precision import at_least_fp32, without_autocast
from harmony_core.models.ops.running_sum import running_sum
from harmony_core.tiling import DECAY_BLOCK, span_chunks


def kda_reference(qk_BTEK: Tensor, v_BTHV: Tensor, log_BTHK: Tensor, beta_BTH: Tensor) -> tuple[Tensor, Tensor]:
    """The recurrence token by token, y [B, T, H, V] and the last state [B, H, V, K]; for tests.

    Arguments as for `kda`.
    """
    q_BTHK, k_BTHK = qk_BTEK.chunk(2, 2)
    state_BHVK, outputs = v_BTHV.new_zeros(*v_BTHV[:, 0].shape, qk_BTEK.shape[-1]), []
    for t in range(v_BTHV.shape[1]):
        k_BHK1 = k_BTHK[:, t].unsqueeze(-1)
        state_BHVK = state_BHVK * log_BTHK[:, t].exp().unsqueeze(-2)
        error_BHV1 = v_BTHV[:, t].unsqueeze(-1) - state_BHVK @ k_BHK1
        state_BHVK = state_BHVK + beta_BTH[:, t, :, None, None] * error_BHV1 @ k_BHK1.mT
        outputs.append((state_BHVK @ q_BTHK[:, t].unsqueeze(-1)).squeeze(-1) / math.sqrt(qk_BTEK.shape[-1]))
    return torch.stack(outputs, 1), state_BHVK


def kda(
    qk_BTEK: Tensor, v_BTHV: Tensor, log_BTHK: Tensor, beta_BTH: Tensor, chunk: int, number_BT: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The rule of every head, starting from a state of zeros; computed in fp32, or in fp64 where it is given that.

    Args:
        qk_BTEK: queries of the H heads, and then their keys, of length at most one.
        v_BTHV: values.
        log_BTHK: logarithms of the decays, at most 0.
        beta_BTH: how much of a prediction's error is corrected: 0 to 1, or to 2 for negative eigenvalues.
        chunk: tokens Q of a chunk.
        number_BT: int64, which document a token is of, each of which begins with an empty state; None is one a row.

    Returns:
        y [B, T, H, V] and the state after the last token, [B, H, V, K], which has no gradient.
    """
    inputs = (qk_BTEK, v_BTHV, log_BTHK, beta_BTH)
    return _KDA.apply(*inputs, chunk, number_BT)  # type: ignore[no-any-return, no-untyped-call]


def kda_step(qk_BEK: Tensor, v_BHV: Tensor, log_BHK: Tensor, beta_BH: Tensor, state_BHVK: Tensor) -> Tensor:
    """One token of `kda`, fp32 or fp64: y [B, H, V].

    Args:
        qk_BEK: queries of the H heads, and then their keys, of length at most one.
        v_BHV: values.
        log_BHK: logarithms of the decays, at most 0.
        beta_BH: how much of a prediction's error is corrected.
        state_BHVK: moved on in place.
    """
    q_BHK, k_BHK = qk_BEK.chunk(2, 1)
    state_BHVK.mul_(torch.exp2(log_BHK * math.log2(math.e)).unsqueeze(-2))
    # A row times a transposed matrix is ten times as fast as the matrix times a column.
    read_BH2V = torch.stack((q_BHK, k_BHK), 2) @ state_BHVK.mT
    u_BHV = (v_BHV - read_BH2V[:, :, 1]).mul_(beta_BH.unsqueeze(-1))
    state_BHVK.addcmul_(u_BHV.unsqueeze(-1), k_BHK.unsqueeze(-2))
    overlap_BH1 = torch.linalg.vecdot(q_BHK, k_BHK).unsqueeze(-1)
    return torch.addcmul(read_BH2V[:, :, 0], u_BHV, overlap_BH1).mul_(1 / math.sqrt(qk_BEK.shape[-1]))


class _Decays(NamedTuple):
    """Of a span's chunks.

    Args:
        log_ZQK: logarithms to base 2 of the decay from before the chunk's first token to after each token.
        from_start_ZQK: what is left at each token of what was before the chunk.
        to_end_ZQK: what is left at the chunk's end of what each token wrote.
        same_ZQQ: whether two tokens are of one document; None is all.
    """

    log_ZQK: Tensor
    from_start_ZQK: Tensor
    to_end_ZQK: Tensor
    same_ZQQ: Tensor | None


class _Rule:
    """The terms of spans of chunks, and the way back from their gradients."""

    def __init__(self, inputs: tuple[Tensor, ...], chunk: int, number_BT: Tensor | None) -> None:
        self.qk_BTEK, self.v_BTHV, log_BTHK, beta_BTH = (at_least_fp32(x) for x in inputs)
        self.log_BTHK, self.beta_BTH1, self.number_BT = log_BTHK, beta_BTH.unsqueeze(-1), number_BT
        batch, length, self.heads, width = self.v_BTHV.shape
        self.widths, chunk = (self.qk_BTEK.shape[3], width), min(chunk, length)
        self.scales_2111 = self.v_BTHV.new_tensor((1 / math.sqrt(self.widths[0]), 1)).view(2, 1, 1, 1)
        wide = max(width, DECAY_BLOCK * self.widths[0])
        self.spans = spans_of(length, chunk, span_chunks(batch * self.heads, chunk, wide, self.v_BTHV.element_size()))

    def empty_state(self) -> Tensor:
        """[Y, K, V]."""
        return self.v_BTHV.new_zeros(self.v_BTHV.shape[0] * self.heads, *self.widths)

    def queries_and_keys(self, span: Span) -> Tensor:
        """Queries, scaled, and keys, [Z, 2, Q, K], contiguous."""
        qk_NBH2QK = cut(self.qk_BTEK, span).unflatten(2, (2, -1)).transpose(2, 3)
        scaled = torch.mul(qk_NBH2QK, self.scales_2111[:, 0], out=qk_NBH2QK.new_empty(qk_NBH2QK.shape))
        return scaled.flatten(0, 2)

    def decays(self, span: Span) -> _Decays:
        """The decays of a span's chunks."""
        log_ZQK = running_sum(stacked(self.log_BTHK, span) * math.log2(math.e), 1)
        from_start_ZQK, to_end_ZQK = decay_of_(log_ZQK.clone()), decay_of_(log_ZQK[:, -1:] - log_ZQK)
        if self.number_BT is None:
            return _Decays(log_ZQK, from_start_ZQK, to_end_ZQK, None)
        masks = masks_of(self.number_BT, span, log_ZQK.dtype)
        same, entering, leaving = (mask.repeat_interleave(self.heads, 0).squeeze(1) for mask in masks)
        return _Decays(log_ZQK, from_start_ZQK * entering, to_end_ZQK * leaving, same)

    def terms(self, span: Span, qk_Z2QK: Tensor, decays: _Decays) -> Terms:
        """The terms of a span's chunks."""
        products_Z2QQ = decayed_products(qk_Z2QK, decays.log_ZQK)
        if decays.same_ZQQ is not None:
            products_Z2QQ = products_Z2QQ * decays.same_ZQQ.unsqueeze(1)
        return Terms(
            pairs_ZSQ=products_Z2QQ.flatten(1, 2),
            reading_ZSK=(qk_Z2QK * decays.from_start_ZQK.unsqueeze(1)).flatten(1, 2),
            written_ZQK=qk_Z2QK[:, 1] * decays.to_end_ZQK,
            beta_ZQ1=stacked(self.beta_BTH1, span),
            total_ZK1=decays.from_start_ZQK[:, -1:].mT,
        )

    def gradients(
        self, qk_Z2QK: Tensor, decays: _Decays, found: TermGradients, states: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Of scaled queries and of keys, [Z, 2, Q, K], and of the logarithms of the decays, [Z, Q, K].

        Scaling a token's decay scales all that it reads and divides all that it writes, channel by channel.

        Args:
            qk_Z2QK: what `queries_and_keys` gave.
            decays: what `decays` gave.
            found: the gradients of the terms.
            states: before and after each chunk, [Z, K, V].
        """
        before_ZKV, after_ZKV = states
        dproducts_Z2QQ = found.dpairs_ZSQ.unflatten(1, (2, -1))
        # A key reads no error of its own.
        dproducts_Z2QQ[:, 1].tril_(-1)
        if decays.same_ZQQ is not None:
            dproducts_Z2QQ *= decays.same_ZQQ.unsqueeze(1)
        dqk_Z2QK, written_ZQK = decayed_products_gradients(qk_Z2QK, decays.log_ZQK, dproducts_Z2QQ)
        dreading_Z2QK = torch.bmm(found.dread_ZSV, before_ZKV.mT).unflatten(1, (2, -1))
        dqk_Z2QK.addcmul_(dreading_Z2QK, decays.from_start_ZQK.unsqueeze(1))
        written_ZQK = written_ZQK.addcmul_(torch.bmm(found.u_ZQV, found.dafter_ZKV.mT), decays.to_end_ZQK)
        dlog_ZQK = (qk_Z2QK * dqk_Z2QK).sum(1).addcmul_(qk_Z2QK[:, 1], written_ZQK, value=-1)
        dlog_ZQK[:, -1] += (found.dafter_ZKV * after_ZKV).sum(-1)
        dqk_Z2QK[:, 1] += written_ZQK
        # A token's decay stands in every sum from its own on.
        return dqk_Z2QK, running_sum(dlog_ZQK.flip(1), 1).flip(1)


class _KDA(torch.autograd.Function):
    @staticmethod
    @without_autocast
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor]:
        *inputs, chunk, number_BT = arguments
        rule = _Rule(tuple(inputs), chunk, number_BT)
        y_BTHV, last_BHVK, kept = delta_chunks.run(rule, any(ctx.needs_input_grad))
        ctx.save_for_backward(*inputs, *kept)
        ctx.chunk, ctx.number_BT = chunk, number_BT
        ctx.mark_non_differentiable(last_BHVK)
        ctx.set_materialize_grads(False)
        return y_BTHV, last_BHVK

    @staticmethod
    @torch.autograd.function.once_differentiable
    @without_autocast
    def backward(ctx: Any, dy_BTHV: Tensor, _: None) -> tuple[Tensor | None, ...]:
        # They are read once, since activation checkpointing gives them once.
        saved = ctx.saved_tensors
        inputs, kept = saved[:4], saved[4:]
        rule, dy_BTHV = _Rule(inputs, ctx.chunk, ctx.number_BT), at_least_fp32(dy_BTHV)
        whole = (rule.qk_BTEK, rule.v_BTHV, rule.log_BTHK, rule.beta_BTH1)
        dqk, dv, dlog, dbeta = (torch.empty_like(x, memory_format=torch.contiguous_format) for x in whole)
        dstate_YKV = rule.empty_state()
        for index, span in reversed(list(enumerate(rule.spans))):
            states_NYKV, error_ZQV = kept[2 * index : 2 * index + 2]
            qk_Z2QK, decays = rule.queries_and_keys(span), rule.decays(span)
            states = states_NYKV[:-1].flatten(0, 1), states_NYKV[1:].flatten(0, 1)
            dy_NBHQV, terms = cut(dy_BTHV, span), rule.terms(span, qk_Z2QK, decays)
            found, dstate_YKV = delta_chunks.backward(terms, error_ZQV, dy_NBHQV, dstate_YKV)
            dqk_Z2QK, dlog_ZQK = rule.gradients(qk_Z2QK, decays, found, states)
            place_NB2HQK = cut(dqk, span).unflatten(2, (2, -1))
            dqk_NBH2QK = dqk_Z2QK.view(*place_NB2HQK.shape[:2], rule.heads, *dqk_Z2QK.shape[1:])
            torch.mul(dqk_NBH2QK.transpose(2, 3), rule.scales_2111, out=place_NB2HQK)
            put(dlog, span, dlog_ZQK)
            put(dbeta, span, found.dbeta_ZQ.unsqueeze(-1))
            put_values(dv, span, found)
        gradients = (dqk, dv, dlog, dbeta.squeeze(-1))
        return *(g.to(x.dtype) for g, x in zip(gradients, inputs, strict=True)), None, None
