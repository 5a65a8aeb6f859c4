"""Convolution with sums of decaying exponentials, in chunks: linear in the number of tokens, and exact.

h_t = sum over n of R_n exp(p_n t) is the response of the recurrence s_t = exp(p) s_{t-1} + u_t, y_t = R . s_t
(Massaroli et al. 2023, arXiv:2310.18780, section 3). A chunk's own tokens meet in a Toeplitz matrix; what came before
is the state that entered it. Powers are taken of exp(p) < 1 and nothing is divided, so no decay is too small.

B batch, T tokens, Z chunks, Q tokens of a chunk, D channels, N states of a channel.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from harmony_core.models.ops.convolution.blocked import hankel, lag_sums
from harmony_core.models.ops.convolution.layout import channels_first, channels_last
from harmony_core.models.ops.precision import without_autocast


@without_autocast
def modal_filter(a_log_DN: Tensor, residues_DN: Tensor, length: int) -> Tensor:
    """h [D, T] of the first lags, a sum of N decaying exponentials a channel.

    Exponentials are products of two powers, so that none of D x N x T elements are made.

    Args:
        a_log_DN: decay rates -p = exp(a_log).
        residues_DN: R, the weight of each exponential.
        length: T.
    """
    inner = max(1, int(length**0.5))
    rate_DN1 = torch.exp(a_log_DN.float()).unsqueeze(-1)
    lags_Q = torch.arange(inner, device=rate_DN1.device, dtype=rate_DN1.dtype)
    starts_Z = torch.arange(0, length, inner, device=rate_DN1.device, dtype=rate_DN1.dtype)
    coarse_DNZ = residues_DN.unsqueeze(-1) * torch.exp(-rate_DN1 * starts_Z)
    return torch.bmm(coarse_DNZ.mT, torch.exp(-rate_DN1 * lags_Q)).flatten(1)[:, :length]


@without_autocast
def modal_filters(a_log_DN: Tensor, residues_DN: Tensor, chunk: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What `ModalConvolution` takes, with gradients to both parameters.

    Args:
        a_log_DN: decay rates -p = exp(a_log).
        residues_DN: R, the weight of each exponential.
        chunk: tokens Q of a chunk.

    Returns:
        h [D, Q]; how tokens enter the state at their chunk's end [D, Q, N]; how the state that entered a chunk leaves
        through its tokens [D, N, Q]; the state's decay over a chunk [D, N].
    """
    rate_DN1 = torch.exp(a_log_DN.float()).unsqueeze(-1)
    lags = torch.arange(chunk + 1, device=rate_DN1.device, dtype=rate_DN1.dtype)
    powers_DNL = torch.exp(-rate_DN1 * lags)
    leave_DNL = residues_DN.unsqueeze(-1) * powers_DNL
    enter_DQN = powers_DNL[..., :-1].flip(-1).mT
    return leave_DNL[..., :-1].sum(1), enter_DQN, leave_DNL[..., 1:], powers_DNL[..., -1]


def modal_step(u_BD: Tensor, state_BDN: Tensor, a_log_DN: Tensor, residues_DN: Tensor) -> Tensor:
    """One token of the recurrence: R . s, [B, D] fp32.

    Args:
        u_BD: its inputs.
        state_BDN: s, fp32, moved on in place.
        a_log_DN: decay rates -p = exp(a_log).
        residues_DN: R, the weight of each exponential.
    """
    decay_DN = torch.exp(-torch.exp(a_log_DN.float()))
    state_BDN.mul_(decay_DN).add_(u_BD.float().unsqueeze(-1))
    return (state_BDN * residues_DN.float()).sum(-1)


@torch.no_grad()
def modal_state(u_BTD: Tensor, a_log_DN: Tensor, chunk: int) -> Tensor:
    """The state of the recurrence after the last token, [B, D, N] fp32, from a state of zeros.

    Args:
        u_BTD: the inputs.
        a_log_DN: decay rates -p = exp(a_log).
        chunk: tokens that are taken at once; changes roundings alone.
    """
    _, enter_DQN, _, decay_DN = modal_filters(a_log_DN, a_log_DN, chunk)
    # Zeros ahead change no state, and let the last chunk end with the last token.
    ahead_BTD = pad(u_BTD.float(), (0, 0, -u_BTD.shape[1] % chunk, chunk))
    return _entering(_to_chunks(ahead_BTD, chunk), enter_DQN, decay_DN)[:, :, -1].transpose(0, 1).contiguous()


def _to_chunks(x_BTD: Tensor, chunk: int) -> Tensor:
    """[D, B, Z, Q], zeros after the last token."""
    x_DBT = channels_first(pad(x_BTD, (0, 0, 0, -x_BTD.shape[1] % chunk)))
    return x_DBT.view(*x_DBT.shape[:2], -1, chunk)


def _products(a_DBZM: Tensor, b_DMK: Tensor) -> Tensor:
    """a b for each channel, [D, B, Z, K]."""
    return torch.bmm(a_DBZM.flatten(1, 2), b_DMK).view(*a_DBZM.shape[:3], b_DMK.shape[2])


def _entering(u_DBZQ: Tensor, enter_DQN: Tensor, decay_DN: Tensor) -> Tensor:
    """The state that enters each chunk, [D, B, Z, N]: zero for the first one."""
    states_DBZN = _products(u_DBZQ, enter_DQN)
    entering_DBZN, decay_D1N = torch.empty_like(states_DBZN), decay_DN.unsqueeze(1)
    entering_DBZN[:, :, 0] = 0
    for z in range(1, states_DBZN.shape[2]):
        before_DBN = entering_DBZN[:, :, z - 1]
        torch.addcmul(states_DBZN[:, :, z - 1], decay_D1N, before_DBN, out=entering_DBZN[:, :, z])
    return entering_DBZN


@dataclass(frozen=True)
class ModalConvolution:
    """Toeplitz products inside chunks, a recurrence between them; filters: those of `modal_filters`.

    Args:
        chunk_size: tokens Q of a chunk.
    """

    chunk_size: int

    def forward(self, u_BTD: Tensor, *filters: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """h conv u; keeps the states that enter the chunks."""
        h_DQ, enter_DQN, leave_DNQ, decay_DN = filters
        u_DBZQ = _to_chunks(u_BTD, self.chunk_size)
        entering_DBZN = _entering(u_DBZQ, enter_DQN, decay_DN)
        y_DBZQ = _products(u_DBZQ, hankel(h_DQ, self.chunk_size, 1).flip(2).mT)
        y_DBZQ.flatten(1, 2).baddbmm_(entering_DBZN.flatten(1, 2), leave_DNQ)
        return channels_last(y_DBZQ.flatten(2), u_BTD.shape[1]), (entering_DBZN,)

    def backward(self, dy_BTD: Tensor, u_BTD: Tensor, kept: tuple[Tensor, ...], *filters: Tensor) -> tuple[Tensor, ...]:
        """The same backwards: gradients of the entering states run from the last chunk to the first.

        Arguments as for `Convolution.backward`.
        """
        h_DQ, enter_DQN, leave_DNQ, decay_DN = filters
        (entering_DBZN,) = kept
        dy_DBZQ, u_DBZQ = _to_chunks(dy_BTD, self.chunk_size), _to_chunks(u_BTD, self.chunk_size)
        dentering_DBZN = _products(dy_DBZQ, leave_DNQ.mT)
        for z in range(dentering_DBZN.shape[2] - 1, 0, -1):
            dentering_DBZN[:, :, z - 1].addcmul_(decay_DN.unsqueeze(1), dentering_DBZN[:, :, z])
        # The state that leaves a chunk enters the next one; nobody reads what leaves the last.
        dstates_DBZN = pad(dentering_DBZN[:, :, 1:], (0, 0, 0, 1))
        ddecay_DN = (dstates_DBZN * entering_DBZN).sum((1, 2))
        du_DBZQ = _products(dy_DBZQ, hankel(h_DQ, self.chunk_size, 1).flip(2))
        du_DBZQ.flatten(1, 2).baddbmm_(dstates_DBZN.flatten(1, 2), enter_DQN.mT)
        u_DRQ, dy_DRQ = u_DBZQ.flatten(1, 2), dy_DBZQ.flatten(1, 2)
        dh_DQ = lag_sums(torch.bmm(dy_DRQ.mT, u_DRQ).flip(2), self.chunk_size)
        denter_DQN = torch.bmm(u_DRQ.mT, dstates_DBZN.flatten(1, 2))
        dleave_DNQ = torch.bmm(entering_DBZN.flatten(1, 2).mT, dy_DRQ)
        return channels_last(du_DBZQ.flatten(2), u_BTD.shape[1]), dh_DQ, denter_DQN, dleave_DNQ, ddecay_DN
