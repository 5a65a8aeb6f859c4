"""The gated delta rule in chunks (Yang, Kautz and Hatamizadeh 2024, arXiv:2412.06464, section 3).

B batch, T tokens, G key heads, E = 2 G, H value heads, R = H / G, K key width, V value width, F = R V, N chunks of a
span, Q tokens of a chunk, S = 2 Q, X = N B, Z = N B H, Y = B H.

S_t = exp(g_t) S_t-1 + beta_t k_t (v_t - k_t^T exp(g_t) S_t-1)^T, o_t = S_t^T q_t / sqrt(K). Within a chunk this is a
triangular system and matrix products (`delta_chunks`); the state goes from chunk to chunk, so cost and memory are
linear in T. States between chunks and prediction errors are kept for backward, the chunks' matrices are made again.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from harmony_core.models.ops.linear import delta_chunks
from harmony_core.models.ops.linear.decay import decay_of_
from harmony_core.models.ops.linear.delta_chunks import TermGradients, Terms, put_values
from harmony_core.models.ops.linear.document_masks import Masks, masks_of
from harmony_core.models.ops.linear.spans import Span, cut, put, spans_of, stacked
from harmony_core.models.ops.precision import at_least_fp32, without_autocast
from harmony_core.models.ops.running_sum import running_sum
from harmony_core.tiling import span_chunks


def gated_delta_reference(qk_BTEK: Tensor, v_BTHV: Tensor, log_BTH: Tensor, beta_BTH: Tensor) -> tuple[Tensor, Tensor]:
    """The recurrence token by token, y [B, T, H, V] and the last state [B, H, V, K]; for tests.

    Arguments as for `gated_delta`.
    """
    q_BTHK, k_BTHK = (x.repeat_interleave(2 * v_BTHV.shape[2] // qk_BTEK.shape[2], 2) for x in qk_BTEK.chunk(2, 2))
    state_BHVK, outputs = v_BTHV.new_zeros(*v_BTHV[:, 0].shape, qk_BTEK.shape[-1]), []
    for t in range(v_BTHV.shape[1]):
        k_BHK1 = k_BTHK[:, t].unsqueeze(-1)
        state_BHVK = log_BTH[:, t].exp()[..., None, None] * state_BHVK
        error_BHV1 = v_BTHV[:, t].unsqueeze(-1) - state_BHVK @ k_BHK1
        state_BHVK = state_BHVK + beta_BTH[:, t, :, None, None] * error_BHV1 @ k_BHK1.mT
        outputs.append((state_BHVK @ q_BTHK[:, t].unsqueeze(-1)).squeeze(-1) / math.sqrt(qk_BTEK.shape[-1]))
    return torch.stack(outputs, 1), state_BHVK


def gated_delta(
    qk_BTEK: Tensor, v_BTHV: Tensor, log_BTH: Tensor, beta_BTH: Tensor, chunk: int, number_BT: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The rule of every head, starting from a state of zeros; computed in fp32, or in fp64 where it is given that.

    Args:
        qk_BTEK: queries of the G key heads, and then their keys, of length at most one.
        v_BTHV: values; a key head serves H / G consecutive value heads.
        log_BTH: logarithms of the decays, at most 0.
        beta_BTH: how much of a prediction's error is corrected: 0 to 1, or to 2 for negative eigenvalues.
        chunk: tokens Q of a chunk.
        number_BT: int64, which document a token is of, each of which begins with an empty state; None is one a row.

    Returns:
        y [B, T, H, V] and the state after the last token, [B, H, V, K], which has no gradient.
    """
    inputs = (qk_BTEK, v_BTHV, log_BTH, beta_BTH)
    return _GatedDelta.apply(*inputs, chunk, number_BT)  # type: ignore[no-any-return, no-untyped-call]


def gated_delta_step(qk_BEK: Tensor, v_BHV: Tensor, log_BH: Tensor, beta_BH: Tensor, state_BHVK: Tensor) -> Tensor:
    """One token of `gated_delta`, fp32 or fp64: y [B, H, V].

    Args:
        qk_BEK: queries of the G key heads, and then their keys, of length at most one.
        v_BHV: values; a key head serves H / G consecutive value heads.
        log_BH: logarithms of the decays, at most 0.
        beta_BH: how much of a prediction's error is corrected.
        state_BHVK: moved on in place.
    """
    groups, decay_BH = qk_BEK.shape[1] // 2, torch.exp2(log_BH * math.log2(math.e))
    qk_BG2K = qk_BEK.unflatten(1, (2, groups)).transpose(1, 2)
    state_BGRVK = state_BHVK.unflatten(1, (groups, -1))
    # A row times a transposed matrix is ten times as fast as the matrix times a column.
    read_BG2F = qk_BG2K @ state_BGRVK.flatten(2, 3).mT
    read_q_BHV, read_k_BHV = (x.reshape(v_BHV.shape) for x in read_BG2F.unbind(2))
    error_BHV = torch.addcmul(v_BHV, read_k_BHV, decay_BH.unsqueeze(-1), value=-1)
    u_BGRV = error_BHV.mul_(beta_BH.unsqueeze(-1)).unflatten(1, (groups, -1))
    q_BGK, k_BGK = qk_BG2K.unbind(2)
    state_BHVK.mul_(decay_BH[..., None, None])
    state_BGRVK.addcmul_(u_BGRV.unsqueeze(-1), k_BGK[:, :, None, None])
    overlap_BG11 = torch.linalg.vecdot(q_BGK, k_BGK)[..., None, None]
    y_BHV: Tensor = (u_BGRV * overlap_BG11).flatten(1, 2)
    return y_BHV.addcmul_(read_q_BHV, decay_BH.unsqueeze(-1)).mul_(1 / math.sqrt(qk_BEK.shape[-1]))


class _Decays(NamedTuple):
    """Of a span's chunks.

    Args:
        between_XHQQ: what is left at token i of what token j wrote, 0 for j > i.
        from_start_XHQ1: what is left at each token of what was before the chunk.
        to_end_XHQ1: what is left at the chunk's end of what each token wrote.
    """

    between_XHQQ: Tensor
    from_start_XHQ1: Tensor
    to_end_XHQ1: Tensor

    @classmethod
    def of(cls, log_XHQ1: Tensor, masks: Masks | None) -> _Decays:
        """From the logarithms to base 2."""
        sums_XHQ1, length = running_sum(log_XHQ1, 2), log_XHQ1.shape[2]
        future_QQ = log_XHQ1.new_full((length, length), float("-inf")).triu_(1)
        between_XHQQ = decay_of_((sums_XHQ1 - sums_XHQ1.mT).add_(future_QQ))
        to_end_XHQ1 = decay_of_(sums_XHQ1[:, :, -1:] - sums_XHQ1)
        decays = cls(between_XHQQ, decay_of_(sums_XHQ1), to_end_XHQ1)
        if masks is not None:
            for decay, mask in zip(decays, masks, strict=True):
                decay.mul_(mask)
        return decays


class _Rule:
    """The terms of spans of chunks, and the way back from their gradients."""

    def __init__(self, inputs: tuple[Tensor, ...], chunk: int, number_BT: Tensor | None) -> None:
        self.qk_BTEK, self.v_BTHV, log_BTH, beta_BTH = (at_least_fp32(x) for x in inputs)
        self.log_BTH1 = (log_BTH * math.log2(math.e)).unsqueeze(-1)
        self.beta_BTH1, self.number_BT = beta_BTH.unsqueeze(-1), number_BT
        batch, length, heads, width = self.v_BTHV.shape
        self.groups, self.widths = self.qk_BTEK.shape[2] // 2, (self.qk_BTEK.shape[3], width)
        self.scales_2111 = self.v_BTHV.new_tensor((1 / math.sqrt(self.widths[0]), 1)).view(2, 1, 1, 1)
        self.parts = (-1, self.groups, heads // self.groups)
        chunk = min(chunk, length)
        most = span_chunks(batch * heads, chunk, max(self.widths), self.v_BTHV.element_size())
        self.spans = spans_of(length, chunk, most)

    def empty_state(self) -> Tensor:
        """[Y, K, V]."""
        return self.v_BTHV.new_zeros(self.v_BTHV.shape[0] * self.v_BTHV.shape[2], *self.widths)

    def queries_and_keys(self, span: Span) -> Tensor:
        """Queries, scaled, above keys, [X, G, 2 Q, K], contiguous."""
        qk_NBG2QK = cut(self.qk_BTEK, span).unflatten(2, (2, -1)).transpose(2, 3)
        scaled = torch.mul(qk_NBG2QK, self.scales_2111[:, 0], out=qk_NBG2QK.new_empty(qk_NBG2QK.shape))
        return scaled.flatten(3, 4).flatten(0, 1)

    def decays(self, span: Span) -> _Decays:
        """The decays of a span's chunks."""
        masks = None if self.number_BT is None else masks_of(self.number_BT, span, self.v_BTHV.dtype)
        return _Decays.of(cut(self.log_BTH1, span).flatten(0, 1), masks)

    def terms(self, span: Span, qk_XGSK: Tensor, decays: _Decays) -> Terms:
        """The terms of a span's chunks."""
        k_XGQK = qk_XGSK[:, :, span.length :]
        between, from_start, to_end = (x.unflatten(1, self.parts[1:]) for x in decays)
        products_XG12QQ = (qk_XGSK @ k_XGQK.mT).unflatten(2, (1, 2, -1))
        qk_XG12QK = qk_XGSK.unflatten(2, (1, 2, -1))
        return Terms(
            pairs_ZSQ=(between.unsqueeze(3) * products_XG12QQ).flatten(3, 4).flatten(0, 2),
            reading_ZSK=(from_start.unsqueeze(3) * qk_XG12QK).flatten(3, 4).flatten(0, 2),
            written_ZQK=(to_end * k_XGQK.unsqueeze(2)).flatten(0, 2),
            beta_ZQ1=stacked(self.beta_BTH1, span),
            total_ZK1=decays.from_start_XHQ1[:, :, -1:].flatten(0, 1),
        )

    def gradients(self, qk_XGSK: Tensor, decays: _Decays, found: TermGradients, before_ZKV: Tensor) -> Tensor:
        """Of scaled queries above keys, [X G, 2 Q, K]; a key head's are summed over its value heads by the products."""
        length, parts = qk_XGSK.shape[2] // 2, self.parts
        between, from_start, to_end = (x.unflatten(1, parts[1:]) for x in decays)
        dproducts_XG2QQ = (found.dpairs_ZSQ.view(*parts, 2, length, length) * between.unsqueeze(3)).sum(2)
        # A key reads no error of its own.
        dproducts_XG2QQ[:, :, 1].tril_(-1)
        dproducts, qk = dproducts_XG2QQ.flatten(2, 3).flatten(0, 1), qk_XGSK.flatten(0, 1)
        # What keys get by being read is summed by itself: products into a part of a larger tensor are slower.
        dqk, dk = torch.bmm(dproducts, qk[:, length:]), torch.bmm(dproducts.mT, qk)
        dread = (found.dread_ZSV.view(*parts, 2, length, self.widths[1]) * from_start.unsqueeze(3)).flatten(3, 4)
        writing = found.u_ZQV.view(*parts, length, self.widths[1]) * to_end
        states = (x.view(*parts, *x.shape[1:]) for x in (before_ZKV, found.dafter_ZKV))
        heads = (x.flatten(0, 1).unbind(1) for x in (dread, writing, *states))
        for dread_head, writing_head, before, dafter in zip(*heads, strict=True):
            dqk.baddbmm_(dread_head, before.mT)
            dk.baddbmm_(writing_head, dafter.mT)
        dqk[:, length:] += dk
        return dqk


class _GatedDelta(torch.autograd.Function):
    @staticmethod
    @without_autocast
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor]:
        *inputs, chunk, number_BT = arguments
        rule = _Rule(tuple(inputs), chunk, number_BT)
        y_BTHV, last_BHVK, kept = delta_chunks.run(rule, any(ctx.needs_input_grad))
        ctx.save_for_backward(*inputs, y_BTHV, *kept)
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
        inputs, (y_BTHV, *kept) = saved[:4], saved[4:]
        rule, dy_BTHV = _Rule(inputs, ctx.chunk, ctx.number_BT), at_least_fp32(dy_BTHV)
        dqk, dv = (torch.empty_like(x, memory_format=torch.contiguous_format) for x in (rule.qk_BTEK, y_BTHV))
        dlog, dbeta = torch.empty_like(rule.log_BTH1), torch.empty_like(rule.beta_BTH1)
        dstate_YKV = rule.empty_state()
        for index, span in reversed(list(enumerate(rule.spans))):
            states_NYKV, error_ZQV = kept[2 * index : 2 * index + 2]
            qk_XGSK, decays = rule.queries_and_keys(span), rule.decays(span)
            terms, dy_NBHQV = rule.terms(span, qk_XGSK, decays), cut(dy_BTHV, span)
            found, dstate_YKV = delta_chunks.backward(terms, error_ZQV, dy_NBHQV, dstate_YKV)
            before_ZKV, after_ZKV = (x.flatten(0, 1) for x in (states_NYKV[:-1], states_NYKV[1:]))
            dqk_NBG2QK = rule.gradients(qk_XGSK, decays, found, before_ZKV).view(
                span.chunks, -1, rule.groups, 2, span.length, rule.widths[0]
            )
            place_NB2GQK = cut(dqk, span).unflatten(2, (2, -1))
            torch.mul(dqk_NBG2QK.transpose(2, 3), rule.scales_2111, out=place_NB2GQK)
            put_values(dv, span, found)
            put(dbeta, span, found.dbeta_ZQ.unsqueeze(-1))
            # Scaling token j's decay scales all that it reads and divides all that it writes.
            y, dy, v, dv_span = (x[:, span.tokens] for x in (y_BTHV, dy_BTHV, rule.v_BTHV, dv))
            dsums_BTH1 = (dy * y).addcmul_(dv_span, v, value=-1).sum(-1, keepdim=True)
            dsums_NBHQ1 = cut(dsums_BTH1, span._replace(start=0))
            dends_Z = (found.dafter_ZKV * after_ZKV).sum((1, 2))
            dsums_NBHQ1[..., -1, 0] += dends_Z.view(dsums_NBHQ1.shape[:3])
            # A token's decay stands in every sum from its own on.
            put(dlog, span, running_sum(dsums_NBHQ1.flip(3), 3).flip(3))
        gradients = (dqk, dv, dlog.squeeze(-1), dbeta.squeeze(-1))
        return *(g.to(x.dtype) for g, x in zip(gradients, inputs, strict=True)), None, None
