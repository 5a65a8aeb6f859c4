"""A hybrid language model exported by HARMONY, in plain PyTorch: every formula once, nothing for speed.

Tensor names carry their shape: B batch, T tokens, S tokens seen (cached ones and T), D model width, V vocabulary,
H query heads, G key/value heads or groups of B and C, K head width, E experts or joined channels, I inner width,
P channels of a Mamba-2 head, N state width, L latent width, R rows (tokens of all sequences).

Every block is a function of the tokens given, of a dictionary that holds what it remembers of those before them (empty
at the start, filled in place), and of where the tokens stand. Padding is what a row does not have: attention does not
see it, convolutions and recurrences read zeros there, which is what they read before a sequence begins.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from .configuration_harmony import HarmonyConfig

State = dict[str, Tensor]
GATED = ("swiglu", "geglu", "bilinear", "clamped_swiglu", "geglu_tanh")


class Tokens(NamedTuple):
    """Where the tokens given stand.

    Args:
        positions_BT: of each in its own sequence, int64 on the CPU; one row where all are the same.
        real_BS: which tokens, the cached ones first, are no padding; None where all are.
        sdpa: whether attention is torch's function, or written out.
    """

    positions_BT: Tensor
    real_BS: Tensor | None = None
    sdpa: bool = True

    def without_padding(self, x_BTE: Tensor) -> Tensor:
        """Zeros in the place of padding."""
        return x_BTE if self.real_BS is None else x_BTE * self.real_BS[:, -x_BTE.shape[1] :, None]


def parameter(*shape: int) -> nn.Parameter:
    """An unfilled parameter."""
    return nn.Parameter(torch.empty(shape))


class RMSNorm(nn.Module):
    """x / rms(x) x weight over groups of the last dimension, in fp32.

    Args:
        width: of the last dimension.
        epsilon: added to the mean square.
        groups: equal shares of the width, each normed by itself.
    """

    def __init__(self, width: int, epsilon: float, groups: int = 1) -> None:
        super().__init__()
        self.weight, self.epsilon, self.groups = parameter(width), epsilon, groups

    def forward(self, x: Tensor) -> Tensor:
        """[.., width] in and out, in the type of `x`."""
        grouped = x.float().unflatten(-1, (self.groups, -1))
        normed = grouped * torch.rsqrt(grouped.square().mean(-1, keepdim=True) + self.epsilon)
        weighted: Tensor = self.weight.float() * normed.flatten(-2)
        return weighted.to(x.dtype)


def activate(projected: Tensor, activation: str) -> Tensor:
    """The activation of a feed-forward network; gate and up are joined, the gate first."""
    if activation in GATED:
        gate, up = projected.chunk(2, -1)
        if activation == "clamped_swiglu":
            gate = gate.clamp(max=7.0)
            return gate * torch.sigmoid(1.702 * gate) * (up.clamp(-7.0, 7.0) + 1)
        if activation != "bilinear":
            tanh = "tanh" if activation == "geglu_tanh" else "none"
            gate = F.silu(gate) if activation == "swiglu" else F.gelu(gate, approximate=tanh)
        return gate * up
    return F.gelu(projected) if activation == "gelu" else F.relu(projected).square()


def frequencies(width: int, base: float, scaling: dict[str, Any] | None, length: int) -> tuple[Tensor, float]:
    """Angles a token of `width` / 2 pairs, fp64, and the factor of the rotated vectors.

    Args:
        width: elements of a head that turn.
        base: of the frequencies.
        scaling: the block's `rope_scaling`; None scales nothing.
        length: tokens of the sequence, which dynamic and LongRoPE scaling depend on.
    """
    if scaling is not None and scaling["method"] == "dynamic":
        longer = max(length, scaling["original_context"]) / scaling["original_context"]
        base *= (scaling["factor"] * longer - (scaling["factor"] - 1)) ** (width / (width - 2))
        scaling = None
    plain = base ** -(torch.arange(0, width, 2, dtype=torch.float64) / width)
    if scaling is None:
        return plain, 1.0
    factor, context = scaling["factor"], scaling["original_context"]
    if scaling["method"] == "linear":
        return plain / factor, 1.0
    if scaling["method"] == "llama3":
        low, high = scaling["low_frequency_factor"], scaling["high_frequency_factor"]
        kept = ((context * plain / (2 * math.pi) - low) / (high - low)).clamp(0, 1)
        return plain * (kept + (1 - kept) / factor), 1.0
    if scaling["method"] == "longrope":
        divisors = scaling["long_factors"] if length > context else scaling["short_factors"]
        usual = math.sqrt(1 + math.log(factor) / math.log(context)) if factor > 1 else 1.0
        attention = usual if scaling["attention_factor"] is None else scaling["attention_factor"]
        return plain / torch.tensor(divisors, dtype=torch.float64), attention
    # YaRN: at which pair a given number of turns fits into the original context.
    first, last = (
        width * math.log(context / (turns * 2 * math.pi)) / (2 * math.log(base))
        for turns in (scaling["beta_fast"], scaling["beta_slow"])
    )
    if scaling["truncate"]:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, width - 1)
    ramp = (torch.arange(width // 2, dtype=torch.float64) - first) / ((last - first) or 0.001)
    kept = 1 - ramp.clamp(0, 1)
    attention = scaling["attention_factor"]
    attention = 0.1 * math.log(factor) + 1 if attention is None else attention
    return plain * (kept + (1 - kept) / factor), attention


def rotate(
    x_BTHK: Tensor, positions_BT: Tensor, width: int, base: float | None, scaling: dict[str, Any] | None
) -> Tensor:
    """Turns the first elements of each head by their token's position; neighbours are a pair.

    Args:
        x_BTHK: queries or keys.
        positions_BT: of each token, int64; one row where all are the same.
        width: elements of a head that turn, even.
        base: theta; None turns nothing.
        scaling: method and numbers for long contexts; None is none.
    """
    if base is None:
        return x_BTHK
    # Of each row its own: dynamic and LongRoPE scaling hang on the length.
    found = [frequencies(width, base, scaling, int(last) + 1) for last in positions_BT.amax(-1)]
    angles, factor = torch.stack([angles for angles, _ in found])[:, None, None], found[0][1]
    turns = positions_BT[..., None, None].double() * angles
    cos, sin = ((f * factor).to(x_BTHK.device, torch.float32) for f in (turns.cos(), turns.sin()))
    even, odd = x_BTHK[..., :width].float().unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack((even * cos - odd * sin, odd * cos + even * sin), -1).flatten(-2)
    return torch.cat((turned.to(x_BTHK.dtype), x_BTHK[..., width:]), -1)


def attend(
    q_BTHK: Tensor,
    k_BSGK: Tensor,
    v_BSGV: Tensor,
    scale: float,
    tokens: Tokens,
    window: int | None = None,
    sinks_H: Tensor | None = None,
) -> Tensor:
    """Causal attention of the last T of S tokens, [B, T, H V].

    Args:
        q_BTHK: queries; the heads of a group are neighbours.
        k_BSGK: keys, the cached ones first.
        v_BSGV: values, likewise.
        scale: factor of the scores.
        tokens: which are padding, and whether torch's function is used.
        window: tokens that a query sees, itself included; None is all.
        sinks_H: a score of each head that takes weight and has no value, or none.
    """
    length, seen, groups = q_BTHK.shape[1], k_BSGK.shape[1], q_BTHK.shape[2] // k_BSGK.shape[2]
    q_BHTK, k_BHSK, v_BHSV = (
        x.repeat_interleave(n, 2).transpose(1, 2) for x, n in ((q_BTHK, 1), (k_BSGK, groups), (v_BSGV, groups))
    )
    last_T1 = torch.arange(seen - length, seen, device=q_BTHK.device)[:, None]
    distance_TS = last_T1 - torch.arange(seen, device=q_BTHK.device)
    visible = distance_TS >= 0 if window is None else (distance_TS >= 0) & (distance_TS < window)
    if tokens.real_BS is not None:
        # Padding sees itself: a softmax over nothing has no value.
        visible = visible & (tokens.real_BS[:, None, None, -seen:] | (distance_TS == 0))
    if tokens.sdpa and sinks_H is None:
        y_BHTV = F.scaled_dot_product_attention(q_BHTK, k_BHSK, v_BHSV, attn_mask=visible, scale=scale)
        return y_BHTV.transpose(1, 2).flatten(2)
    scores_BHTS = (q_BHTK @ k_BHSK.mT).float().mul(scale).masked_fill(~visible, -math.inf)
    if sinks_H is not None:
        sinks_BHT1 = sinks_H.float()[:, None, None].expand(*scores_BHTS.shape[:3], 1)
        scores_BHTS = torch.cat((scores_BHTS, sinks_BHT1), -1)
    weights_BHTS = scores_BHTS.softmax(-1)[..., :seen]
    return (weights_BHTS.to(v_BHSV.dtype) @ v_BHSV).transpose(1, 2).flatten(2)


def remembered(state: State, name: str, new: Tensor, limit: int | None = None) -> Tensor:
    """What is cached, with new tokens behind it.

    Args:
        state: of the block; filled in place.
        name: of the tensor in it.
        new: [B, T, ..].
        limit: so many last tokens stay in the cache; None is all.

    Returns:
        [B, cached + T, ..].
    """
    joined = torch.cat((state[name], new), 1) if name in state else new
    state[name] = joined if limit is None else joined[:, max(0, joined.shape[1] - limit) :]
    return joined


class Attention(nn.Module):
    """mha, mqa, gqa and swa.

    Args:
        b: the block's fields, as `config.json` has them.
        d_model: width D.
        epsilon: of norms within the block.
    """

    def __init__(self, b: dict[str, Any], d_model: int, epsilon: float) -> None:
        super().__init__()
        self.b, self.heads, width = b, b["num_heads"], b["head_dim"]
        self.kv_heads: int = {"mha": self.heads, "mqa": 1}.get(b["kind"]) or b["num_kv_heads"]
        values = width if b["v_head_dim"] is None else b["v_head_dim"]
        gates = self.heads * (1 if b["gate_per_head"] else values) if b["output_gate"] else 0
        self.parts = (gates, self.heads * width, self.kv_heads * width, self.kv_heads * values)
        rows = sum(self.parts)
        self.qkv, self.out = parameter(rows, d_model), parameter(d_model, self.heads * values)
        self.qkv_bias = parameter(rows) if b["bias"] else None
        self.out_bias = parameter(d_model) if b["out_bias"] else None
        self.sinks = parameter(self.heads) if b["sinks"] else None
        # Over each head, or over all at once.
        q_width, k_width = self.parts[1:3] if b["qk_norm_joint"] else (width, width)
        self.q_norm = RMSNorm(q_width, epsilon) if b["qk_norm"] else nn.Identity()
        self.k_norm = RMSNorm(k_width, epsilon) if b["qk_norm"] else nn.Identity()
        self.scale = 1 / math.sqrt(width) if b["scale"] is None else b["scale"]

    def forward(self, x_BTD: Tensor, state: State, tokens: Tokens) -> Tensor:
        """[B, T, D]; arguments as for `ResidualBlock.forward`."""
        b, window = self.b, self.b.get("window")
        gates, q, k, v = F.linear(x_BTD, self.qkv, self.qkv_bias).split(self.parts, -1)
        if b["qk_norm_joint"]:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = (x.unflatten(-1, (n, -1)) for x, n in ((q, self.heads), (k, self.kv_heads), (v, self.kv_heads)))
        if not b["qk_norm_joint"]:
            q, k = self.q_norm(q), self.k_norm(k)
        if b["rope_base"] is not None:
            turning = int(b["head_dim"] * b["rope_fraction"])
            turned = (rotate(x, tokens.positions_BT, turning, b["rope_base"], b["rope_scaling"]) for x in (q, k))
            q, k = turned
        limit = None if window is None else window - 1
        k, v = remembered(state, "keys", k, limit), remembered(state, "values", v, limit)
        y = attend(q, k, v, self.scale, tokens, window, self.sinks)
        if b["output_gate"]:
            opened = gates.sigmoid().unflatten(-1, (self.heads, -1))
            y = (y.unflatten(-1, (self.heads, -1)) * opened).flatten(2)
        return F.linear(y, self.out, self.out_bias)


class LatentAttention(nn.Module):
    """mla: keys and values are rebuilt from a latent and a rotary key that all heads share.

    Arguments as for `Attention`.
    """

    def __init__(self, b: dict[str, Any], d_model: int, epsilon: float) -> None:
        super().__init__()
        self.b, heads, latent, rank = b, b["num_heads"], b["kv_lora_rank"], b["q_lora_rank"]
        epsilon = epsilon if b["latent_epsilon"] is None else b["latent_epsilon"]
        qk, shared = b["qk_nope_head_dim"] + b["qk_rope_head_dim"], latent + b["qk_rope_head_dim"]
        self.q_down = None if rank is None else parameter(rank, d_model)
        self.q_norm = None if rank is None else RMSNorm(rank, epsilon)
        self.q_up = parameter(heads * qk, rank or d_model)
        self.kv_down, self.kv_norm = parameter(shared, d_model), RMSNorm(latent, epsilon)
        self.kv_up = parameter(heads * (b["qk_nope_head_dim"] + b["v_head_dim"]), latent)
        self.out = parameter(d_model, heads * b["v_head_dim"])
        self.q_down_bias = parameter(rank) if b["bias"] and rank is not None else None
        self.kv_down_bias = parameter(shared) if b["bias"] else None
        self.out_bias = parameter(d_model) if b["bias"] else None
        self.scale = 1 / math.sqrt(qk) if b["scale"] is None else b["scale"]

    def forward(self, x_BTD: Tensor, state: State, tokens: Tokens) -> Tensor:
        """[B, T, D]; arguments as for `ResidualBlock.forward`."""
        b, x = self.b, x_BTD
        heads, nope, rope = b["num_heads"], b["qk_nope_head_dim"], b["qk_rope_head_dim"]
        if self.q_down is not None and self.q_norm is not None:
            x = self.q_norm(F.linear(x, self.q_down, self.q_down_bias))
        q_BTHK = F.linear(x, self.q_up).unflatten(-1, (heads, -1))
        turned_q = rotate(q_BTHK[..., nope:], tokens.positions_BT, rope, b["rope_base"], b["rope_scaling"])
        down = F.linear(x_BTD, self.kv_down, self.kv_down_bias)
        latent_BTL, key_BTR = down.split((b["kv_lora_rank"], rope), -1)
        turned_k = rotate(key_BTR.unsqueeze(2), tokens.positions_BT, rope, b["rope_base"], b["rope_scaling"])
        latent_BSL = remembered(state, "latent", self.kv_norm(latent_BTL))
        turned_k = remembered(state, "key", turned_k)
        rebuilt = F.linear(latent_BSL, self.kv_up).unflatten(-1, (heads, -1))
        k_nope, v_BSHV = rebuilt.split((nope, b["v_head_dim"]), -1)
        k_BSHK = torch.cat((k_nope, turned_k.expand(-1, -1, heads, -1)), -1)
        q_BTHK = torch.cat((q_BTHK[..., :nope], turned_q), -1)
        return F.linear(attend(q_BTHK, k_BSHK, v_BSHV, self.scale, tokens), self.out, self.out_bias)


def causal_convolution(x_BTE: Tensor, w_EK: Tensor, bias: Tensor | None, state: State, name: str = "conv") -> Tensor:
    """Depthwise; tap K - 1 is the token itself.

    Args:
        x_BTE: inputs.
        w_EK: taps of each channel.
        bias: [E], or None.
        state: of the block; filled in place.
        name: of the inputs in it.
    """
    taps = w_EK.shape[1]
    state.setdefault(name, x_BTE.new_zeros(x_BTE.shape[0], taps - 1, x_BTE.shape[2]))
    seen_BSE = remembered(state, name, x_BTE, taps - 1)
    return F.conv1d(seen_BSE.mT, w_EK.unsqueeze(1), bias, groups=w_EK.shape[0]).mT


class Mamba(nn.Module):
    """mamba: a decay for each channel and state; token by token; arguments as for `Attention`."""

    def __init__(self, b: dict[str, Any], d_model: int, epsilon: float) -> None:
        super().__init__()
        inner, states = b["expand"] * d_model, b["d_state"]
        rank = -(-d_model // 16) if b["dt_rank"] is None else b["dt_rank"]
        self.widths = (rank, states, states)
        self.in_proj, self.out = parameter(2 * inner, d_model), parameter(d_model, inner)
        self.in_bias = parameter(2 * inner) if b["bias"] else None
        self.out_bias = parameter(d_model) if b["bias"] else None
        self.conv, self.conv_bias = parameter(inner, b["d_conv"]), parameter(inner) if b["conv_bias"] else None
        self.x_proj, self.dt_proj, self.dt_bias = (
            parameter(sum(self.widths), inner),
            parameter(inner, rank),
            parameter(inner),
        )
        self.a_log, self.skip = parameter(inner, states), parameter(inner)
        self.norms = nn.ModuleList(RMSNorm(w, epsilon) if b["inner_norms"] else nn.Identity() for w in self.widths)

    def forward(self, x_BTD: Tensor, state: State, tokens: Tokens) -> Tensor:
        """[B, T, D]; arguments as for `ResidualBlock.forward`."""
        x_BTI, gate_BTI = F.linear(x_BTD, self.in_proj, self.in_bias).chunk(2, -1)
        x_BTI = F.silu(causal_convolution(tokens.without_padding(x_BTI), self.conv, self.conv_bias, state))
        # Again, for the bias.
        x_BTI = tokens.without_padding(x_BTI)
        parts = F.linear(x_BTI, self.x_proj).split(self.widths, -1)
        dt, b_BTN, c_BTN = (norm(part) for norm, part in zip(self.norms, parts, strict=True))
        dt_BTI = F.softplus(F.linear(dt, self.dt_proj).float() + self.dt_bias.float())
        a_IN, ssm_BIN = -torch.exp(self.a_log.float()), state.get("ssm", torch.zeros((), device=x_BTD.device))
        outputs = []
        for t in range(x_BTD.shape[1]):
            dt_BI1, x_BI1 = dt_BTI[:, t, :, None], x_BTI[:, t, :, None].float()
            ssm_BIN = torch.exp(dt_BI1 * a_IN) * ssm_BIN + dt_BI1 * x_BI1 * b_BTN[:, t, None].float()
            outputs.append((ssm_BIN * c_BTN[:, t, None].float()).sum(-1))
        state["ssm"] = ssm_BIN
        y_BTI = (torch.stack(outputs, 1) + self.skip.float() * x_BTI.float()).to(x_BTD.dtype)
        return F.linear(y_BTI * F.silu(gate_BTI), self.out, self.out_bias)


class Mamba2(nn.Module):
    """mamba2: a decay for each head; chunk by chunk; arguments as for `Attention`."""

    def __init__(self, b: dict[str, Any], d_model: int, epsilon: float) -> None:
        super().__init__()
        inner = b["expand"] * d_model if b["inner_width"] is None else b["inner_width"]
        self.b, self.heads, maps = b, inner // b["head_dim"], b["n_groups"] * b["d_state"]
        self.channels, self.parts = (inner, inner + 2 * maps, self.heads), (inner, maps, maps)
        rows, joined = sum(self.channels), self.channels[1]
        self.in_proj, self.in_bias = parameter(rows, d_model), parameter(rows) if b["bias"] else None
        self.conv, self.conv_bias = parameter(joined, b["d_conv"]), parameter(joined) if b["conv_bias"] else None
        self.dt_bias, self.a_log, self.skip = (parameter(self.heads) for _ in range(3))
        groups = b["n_groups"] if b["norm_groups"] is None else b["norm_groups"]
        self.norm = nn.Identity() if b["norm"] == "none" else RMSNorm(inner, epsilon, groups)
        self.out, self.out_bias = parameter(d_model, inner), parameter(d_model) if b["bias"] else None

    def forward(self, x_BTD: Tensor, state: State, tokens: Tokens) -> Tensor:
        """[B, T, D]; arguments as for `ResidualBlock.forward`."""
        b = self.b
        gate, joined, dt_BTH = F.linear(x_BTD, self.in_proj, self.in_bias).split(self.channels, -1)
        gate, dt_BTH = gate * b["multipliers"][0], dt_BTH * b["multipliers"][4]
        factors = zip(b["multipliers"][1:4], joined.split(self.parts, -1), strict=True)
        joined = torch.cat([factor * part for factor, part in factors], -1)
        joined = F.silu(causal_convolution(tokens.without_padding(joined), self.conv, self.conv_bias, state))
        # Again, for the bias.
        joined = tokens.without_padding(joined).float()
        x, b_BTE, c_BTE = joined.split(self.parts, -1)
        x_BTHP = x.unflatten(-1, (self.heads, -1))
        # Heads of a group share B and C.
        b_BTHN, c_BTHN = (
            e.unflatten(-1, (b["n_groups"], -1)).repeat_interleave(self.heads // b["n_groups"], 2)
            for e in (b_BTE, c_BTE)
        )
        low, high = b["dt_limit"]
        dt_BTH = F.softplus(dt_BTH.float() + self.dt_bias.float()).clamp(low, high)
        chunks = (tensor.split(b["chunk_size"], 1) for tensor in (x_BTHP, dt_BTH, b_BTHN, c_BTHN))
        outputs = [self._chunk(state, *chunk) for chunk in zip(*chunks, strict=True)]
        y_BTHP = torch.cat(outputs, 1) + self.skip.float()[:, None] * x_BTHP
        y_BTI, opened = y_BTHP.flatten(2), F.silu(gate.float())
        y_BTI = self.norm(y_BTI) * opened if b["norm"] == "norm_first" else self.norm(y_BTI * opened)
        return F.linear(y_BTI.to(x_BTD.dtype), self.out, self.out_bias)

    def _chunk(self, state: State, x_BTHP: Tensor, dt_BTH: Tensor, b_BTHN: Tensor, c_BTHN: Tensor) -> Tensor:
        decay_BTH = (dt_BTH * -torch.exp(self.a_log.float())).cumsum(1)
        length, x_BTHP = x_BTHP.shape[1], x_BTHP * dt_BTH.unsqueeze(-1)
        between_BTSH = decay_BTH.unsqueeze(2) - decay_BTH.unsqueeze(1)
        later = torch.ones(length, length, dtype=torch.bool, device=x_BTHP.device).triu(1)
        weights = between_BTSH.masked_fill(later[:, :, None], -math.inf).exp()
        y_BTHP = torch.einsum("bthn,bshn,btsh,bshp->bthp", c_BTHN, b_BTHN, weights, x_BTHP)
        to_end_BTH = (decay_BTH[:, -1:] - decay_BTH).exp()
        added_BHPN = torch.einsum("bshn,bsh,bshp->bhpn", b_BTHN, to_end_BTH, x_BTHP)
        if "ssm" in state:
            y_BTHP = y_BTHP + torch.einsum("bthn,bth,bhpn->bthp", c_BTHN, decay_BTH.exp(), state["ssm"])
            added_BHPN = added_BHPN + decay_BTH[:, -1, :, None, None].exp() * state["ssm"]
        state["ssm"] = added_BHPN
        return y_BTHP


class Parallel(nn.Module):
    """parallel: attention and Mamba-2 over one input, added up; what each remembers has names of its own.

    Arguments as for `Attention`.
    """

    def __init__(self, b: dict[str, Any], d_model: int, epsilon: float) -> None:
        super().__init__()
        self.b = b
        self.attention = Attention({"kind": "gqa", **b["attention"]}, d_model, epsilon)
        self.ssm = Mamba2(b["ssm"], d_model, epsilon)

    def forward(self, x_BTD: Tensor, state: State, tokens: Tokens) -> Tensor:
        """[B, T, D]; arguments as for `ResidualBlock.forward`."""
        b = self.b
        heads_BTD: Tensor = self.attention(b["attention_in_multiplier"] * x_BTD, state, tokens)
        ssm_BTD: Tensor = self.ssm(b["ssm_in_multiplier"] * x_BTD, state, tokens)
        y_BTD: Tensor = b["attention_out_multiplier"] * heads_BTD + b["ssm_out_multiplier"] * ssm_BTD
        return y_BTD


def delta_rule(q: Tensor, k: Tensor, v: Tensor, log: Tensor, beta: Tensor, state: State) -> Tensor:
    """S = decay S + beta k (v - k decay S), y = q S / sqrt(K), token by token: [B, T, H, V].

    Args:
        q: [B, T, H, K], of any length.
        k: [B, T, H, K], of any length.
        v: [B, T, H, V].
        log: logarithms of the decays, [B, T, H, 1], or [B, T, H, K] for each of a key's channels.
        beta: [B, T, H], how much of a prediction's error is corrected.
        state: of the block; filled in place.
    """
    q, k = (x.float() * torch.rsqrt(x.float().square().sum(-1, keepdim=True) + 1e-6) for x in (q, k))
    S_BHKV, outputs = state.get("delta", torch.zeros((), device=q.device)), []
    for t in range(q.shape[1]):
        S_BHKV = log[:, t].exp().unsqueeze(-1) * S_BHKV
        error_BHV = v[:, t].float() - (k[:, t].unsqueeze(-1) * S_BHKV).sum(-2)
        S_BHKV = S_BHKV + k[:, t].unsqueeze(-1) * (beta[:, t].unsqueeze(-1) * error_BHV).unsqueeze(-2)
        outputs.append((q[:, t].unsqueeze(-1) * S_BHKV).sum(-2))
    state["delta"] = S_BHKV
    return torch.stack(outputs, 1) / math.sqrt(q.shape[-1])


class GatedDeltaNet(nn.Module):
    """gated_deltanet: a delta rule with a decay for each value head; arguments as for `Attention`."""

    def __init__(self, b: dict[str, Any], d_model: int, epsilon: float) -> None:
        super().__init__()
        keys, values = b["num_key_heads"] * b["key_head_dim"], b["num_value_heads"] * b["value_head_dim"]
        self.b, self.heads = b, (b["num_key_heads"], b["num_key_heads"], b["num_value_heads"])
        self.channels = (2 * keys + values, values, b["num_value_heads"], b["num_value_heads"])
        self.parts = (keys, keys, values)
        self.in_proj, self.out = parameter(sum(self.channels), d_model), parameter(d_model, values)
        self.conv = parameter(2 * keys + values, b["d_conv"])
        self.dt_bias, self.a_log = parameter(b["num_value_heads"]), parameter(b["num_value_heads"])
        self.norm = RMSNorm(b["value_head_dim"], epsilon if b["out_norm_epsilon"] is None else b["out_norm_epsilon"])

    def forward(self, x_BTD: Tensor, state: State, tokens: Tokens) -> Tensor:
        """[B, T, D]; arguments as for `ResidualBlock.forward`."""
        joined, gate, strength, step = F.linear(x_BTD, self.in_proj).split(self.channels, -1)
        joined = F.silu(causal_convolution(tokens.without_padding(joined), self.conv, None, state))
        parts = zip(joined.split(self.parts, -1), self.heads, strict=True)
        q, k, v = (x.unflatten(-1, (heads, -1)) for x, heads in parts)
        # Neighbouring value heads share a key head.
        q, k = (x.repeat_interleave(self.heads[2] // self.heads[0], 2) for x in (q, k))
        beta = strength.float().sigmoid() * (2 if self.b["negative_eigenvalues"] else 1)
        log = -self.a_log.float().exp() * F.softplus(step.float() + self.dt_bias.float())
        y_BTHV = self.norm(delta_rule(q, k, v, log.unsqueeze(-1), beta, state))
        gated = y_BTHV.flatten(2) * F.silu(gate.float())
        return F.linear(gated.to(x_BTD.dtype), self.out)


class KDA(nn.Module):
    """kda: a delta rule with a decay for each channel, from a narrow projection; arguments as for `Attention`."""

    def __init__(self, b: dict[str, Any], d_model: int, epsilon: float) -> None:
        super().__init__()
        inner, rank = b["num_heads"] * b["head_dim"], b["head_dim"] if b["gate_rank"] is None else b["gate_rank"]
        self.b, self.channels = b, (3 * inner, rank, rank, b["num_heads"])
        self.in_proj, self.out = parameter(sum(self.channels), d_model), parameter(d_model, inner)
        self.conv = parameter(3 * inner, b["d_conv"])
        self.decay_up, self.gate_up = parameter(inner, rank), parameter(inner, rank)
        self.dt_bias, self.a_log = parameter(inner), parameter(b["num_heads"])
        self.norm = RMSNorm(b["head_dim"], epsilon)

    def forward(self, x_BTD: Tensor, state: State, tokens: Tokens) -> Tensor:
        """[B, T, D]; arguments as for `ResidualBlock.forward`."""
        joined, step, gate, strength = F.linear(x_BTD, self.in_proj).split(self.channels, -1)
        joined = F.silu(causal_convolution(tokens.without_padding(joined), self.conv, None, state))
        q, k, v = joined.unflatten(-1, (3, self.b["num_heads"], -1)).unbind(2)
        beta = strength.float().sigmoid() * (2 if self.b["negative_eigenvalues"] else 1)
        steps = F.softplus(F.linear(step, self.decay_up).float() + self.dt_bias.float())
        log = -self.a_log.float().exp().unsqueeze(-1) * steps.unflatten(-1, (self.b["num_heads"], -1))
        y_BTHK = self.norm(delta_rule(q, k, v, log, beta, state))
        gated = y_BTHK.flatten(2) * F.linear(gate, self.gate_up).float().sigmoid()
        return F.linear(gated.to(x_BTD.dtype), self.out)


class Hyena(nn.Module):
    """hyena_se, hyena_mr and hyena_li: x2 * (h conv (x1 * v) + skip (x1 * v)) of convolved projections.

    Arguments as for `Attention`.
    """

    def __init__(self, b: dict[str, Any], d_model: int, epsilon: float) -> None:
        super().__init__()
        self.b, self.in_proj, self.conv = (
            b,
            parameter(3 * d_model, d_model),
            parameter(3 * d_model, b["short_filter_length"]),
        )
        self.out, self.out_bias = parameter(d_model, d_model), parameter(d_model)
        self.skip = None if b["kind"] == "hyena_se" else parameter(d_model)
        if b["kind"] == "hyena_li":
            self.a_log, self.residues = (parameter(d_model, b["state_size"]) for _ in range(2))
        else:
            self.filter = parameter(b["num_groups"], b["filter_length"])

    def forward(self, x_BTD: Tensor, state: State, tokens: Tokens) -> Tensor:
        """[B, T, D]; arguments as for `ResidualBlock.forward`."""
        projected = tokens.without_padding(F.linear(x_BTD, self.in_proj))
        projected = causal_convolution(projected, self.conv, None, state)
        x2_BTD, x1_BTD, v_BTD = projected.float().chunk(3, -1)
        u_BTD = x1_BTD * v_BTD
        if self.b["kind"] == "hyena_li":
            y_BTD = torch.cat([self._chunk(chunk, state) for chunk in u_BTD.split(self.b["chunk_size"], 1)], 1)
        else:
            # Here tap 0 is the token itself; neighbouring channels of a group share a filter.
            w_DK = self._filter().flip(1).repeat_interleave(u_BTD.shape[2] // self.b["num_groups"], 0)
            y_BTD = causal_convolution(u_BTD, w_DK, None, state, "inputs")
        mixed_BTD = y_BTD if self.skip is None else y_BTD + self.skip.float() * u_BTD
        return F.linear((x2_BTD * mixed_BTD).to(x_BTD.dtype), self.out, self.out_bias)

    def _filter(self) -> Tensor:
        b, h_GK = self.b, self.filter.float()
        if b["kind"] == "hyena_se":
            return h_GK
        tokens = b["filter_length"] if b["decay_span"] is None else b["decay_span"]
        low, high = b["decay_range"]
        rate_G1 = torch.logspace(low, high, h_GK.shape[0], device=h_GK.device).unsqueeze(1)
        return h_GK * torch.exp(-rate_G1 * torch.arange(h_GK.shape[1], device=h_GK.device) / max(1, tokens - 1))

    def _chunk(self, u_BTD: Tensor, state: State) -> Tensor:
        """Sums of decaying exponentials: the chunk's own tokens by their lag, those before it by a state."""
        length, rate_DN = u_BTD.shape[1], torch.exp(self.a_log.float())
        lags = torch.arange(length + 1, device=u_BTD.device, dtype=torch.float32)
        powers_LDN = torch.exp(-lags[:, None, None] * rate_DN)
        h_TD = (powers_LDN[:-1] * self.residues.float()).sum(-1)
        y_BTD = causal_convolution(u_BTD, h_TD.flip(0).mT, None, {})
        added_BDN = torch.einsum("btd,tdn->bdn", u_BTD, powers_LDN[:-1].flip(0))
        if "modal" in state:
            y_BTD = y_BTD + torch.einsum("bdn,tdn,dn->btd", state["modal"], powers_LDN[1:], self.residues.float())
            added_BDN = added_BDN + powers_LDN[-1] * state["modal"]
        state["modal"] = added_BDN
        return y_BTD


class ShortConv(nn.Module):
    """short_conv: C * (conv(B * x) + bias) of projections B, C and x; arguments as for `Attention`."""

    def __init__(self, b: dict[str, Any], d_model: int, epsilon: float) -> None:
        super().__init__()
        self.in_proj, self.out = parameter(3 * d_model, d_model), parameter(d_model, d_model)
        self.conv = parameter(d_model, b["kernel_size"])
        self.in_bias, self.conv_bias, self.out_bias = (
            parameter(width) if b["bias"] else None for width in (3 * d_model, d_model, d_model)
        )

    def forward(self, x_BTD: Tensor, state: State, tokens: Tokens) -> Tensor:
        """[B, T, D]; arguments as for `ResidualBlock.forward`."""
        b_BTD, c_BTD, x_BTD = F.linear(x_BTD, self.in_proj, self.in_bias).chunk(3, -1)
        gated_BTD = tokens.without_padding(b_BTD * x_BTD)
        mixed_BTD = causal_convolution(gated_BTD, self.conv, self.conv_bias, state)
        return F.linear(c_BTD * mixed_BTD, self.out, self.out_bias)


class MLP(nn.Module):
    """mlp; arguments as for `Attention`."""

    def __init__(self, b: dict[str, Any], d_model: int, epsilon: float) -> None:
        super().__init__()
        wide = b["d_ff"] * (2 if b["activation"] in GATED else 1)
        self.b, self.activation = b, b["activation"]
        self.up, self.up_bias = parameter(wide, d_model), parameter(wide) if b["bias"] else None
        self.down, self.down_bias = parameter(d_model, b["d_ff"]), parameter(d_model) if b["bias"] else None

    def forward(self, x_BTD: Tensor, state: State, tokens: Tokens) -> Tensor:
        """[B, T, D]; arguments as for `ResidualBlock.forward`."""
        projected = F.linear(x_BTD, self.up, self.up_bias)
        if self.activation in GATED:
            gate, up = projected.chunk(2, -1)
            projected = torch.cat((gate * self.b["gate_multiplier"], up), -1)
        inner = activate(projected, self.activation)
        y_BTD: Tensor = F.linear(inner, self.down, self.down_bias) * self.b["out_multiplier"]
        return y_BTD


class Router(nn.Module):
    """Which experts a token takes, and with which weights; fp32."""

    bias_E: Tensor

    def __init__(self, b: dict[str, Any], d_model: int) -> None:
        super().__init__()
        self.b, self.weight = b, parameter(b["n_routed"], d_model)
        self.logit_bias = parameter(b["n_routed"]) if b["router_bias"] else None
        self.register_buffer("bias_E", torch.zeros(b["n_routed"]))

    def forward(self, x_BTD: Tensor, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """Weights and experts, [B, T, K]; a choice beyond an expert's capacity has weight zero."""
        b = self.b
        logits_BTE = F.linear(x_BTD.float(), self.weight.float(), self.logit_bias)
        scores_BTE = logits_BTE.softmax(-1) if b["router"] == "softmax" else logits_BTE.sigmoid()
        preferred_BTE = scores_BTE + self.bias_E.float() if b["balancing"] == "bias" else scores_BTE
        if b["top_groups"] < b["n_groups"]:
            grouped = preferred_BTE.unflatten(-1, (b["n_groups"], -1))
            best = grouped.topk(2, -1).values.sum(-1) if b["group_score"] == "top2" else grouped.amax(-1)
            allowed = torch.zeros_like(best, dtype=torch.bool).scatter(-1, best.topk(b["top_groups"], -1).indices, True)
            preferred_BTE = grouped.masked_fill(~allowed.unsqueeze(-1), -math.inf).flatten(-2)
        chosen_BTK = preferred_BTE.topk(b["top_k"], -1).indices
        weights_BTK = scores_BTE.gather(-1, chosen_BTK)
        if b["normalize_top_k"]:
            weights_BTK = weights_BTK / weights_BTK.sum(-1, keepdim=True).clamp_min(1e-20)
        if b["capacity_factor"] is not None:
            weights_BTK = weights_BTK * self._within_capacity(chosen_BTK, tokens)
        return weights_BTK * b["routed_scale"], chosen_BTK

    def _within_capacity(self, chosen_BTK: Tensor, tokens: Tokens) -> Tensor:
        """Padding fills no expert, and is no part of a sequence's length."""
        b, real_BT1 = self.b, tokens.without_padding(torch.ones_like(chosen_BTK[..., :1]))
        capacity_B = torch.ceil(b["capacity_factor"] * real_BT1.sum((1, 2)).double() * b["top_k"] / b["n_routed"])
        taken_BTKE = F.one_hot(chosen_BTK, b["n_routed"]) * real_BT1.unsqueeze(-1)
        taken = taken_BTKE.flatten(1, 2)
        place = (taken.cumsum(1) * taken).sum(-1)
        within: Tensor = place <= capacity_B.unsqueeze(1)
        return within.view_as(chosen_BTK)


class MoE(nn.Module):
    """moe: expert by expert; arguments as for `Attention`."""

    def __init__(self, b: dict[str, Any], d_model: int, epsilon: float) -> None:
        super().__init__()
        self.b, self.router, gates = b, Router(b, d_model), 2 if b["activation"] in GATED else 1
        latent = b["d_latent"]
        width = d_model if latent is None else latent
        self.up = parameter(b["n_routed"], gates * b["d_expert"], width)
        self.down = parameter(b["n_routed"], width, b["d_expert"])
        self.up_bias = parameter(b["n_routed"], gates * b["d_expert"]) if b["expert_bias"] else None
        self.down_bias = parameter(b["n_routed"], width) if b["expert_bias"] else None
        self.latent_down = None if latent is None else parameter(latent, d_model)
        self.latent_up = None if latent is None else parameter(d_model, latent)
        self.latent_down_bias = parameter(width) if b["latent_bias"] else None
        self.latent_up_bias = parameter(d_model) if b["latent_bias"] else None
        shared = b["n_shared"] * b["d_expert"] if b["d_shared"] is None else b["d_shared"]
        self.shared_up = parameter(gates * shared, d_model) if shared else None
        self.shared_down = parameter(d_model, shared) if shared else None
        self.shared_gate = parameter(1, d_model) if b["shared_gate"] else None
        self.shared_up_bias = parameter(gates * shared) if b["shared_bias"] else None
        self.shared_down_bias = parameter(d_model) if b["shared_bias"] else None

    def forward(self, x_BTD: Tensor, state: State, tokens: Tokens) -> Tensor:
        """[B, T, D]; arguments as for `ResidualBlock.forward`."""
        weights_RK, chosen_RK = (tensor.flatten(0, 1) for tensor in self.router(x_BTD, tokens))
        x_RD = x_BTD.flatten(0, 1)
        # What the experts read, as wide as the model or a latent.
        read = x_RD if self.latent_down is None else F.linear(x_RD, self.latent_down, self.latent_down_bias)
        y_RD = torch.zeros_like(read)
        for expert in chosen_RK.unique().tolist():
            row, choice = torch.where(chosen_RK == expert)
            up_bias, down_bias = (None if b is None else b[expert] for b in (self.up_bias, self.down_bias))
            inner = activate(F.linear(read[row], self.up[expert], up_bias), self.b["activation"])
            y = F.linear(inner, self.down[expert], down_bias) * weights_RK[row, choice, None].to(x_RD.dtype)
            y_RD = y_RD.index_add(0, row, y)
        if self.latent_up is not None:
            y_RD = F.linear(y_RD, self.latent_up, self.latent_up_bias)
        if self.shared_up is not None and self.shared_down is not None:
            inner = activate(F.linear(x_RD, self.shared_up, self.shared_up_bias), self.b["activation"])
            shared_RD = F.linear(inner, self.shared_down, self.shared_down_bias)
            opened = 1.0 if self.shared_gate is None else F.linear(x_RD, self.shared_gate).sigmoid()
            y_RD = y_RD + opened * shared_RD
        return y_RD.view_as(x_BTD)


MODULES = {
    "mha": Attention,
    "mqa": Attention,
    "gqa": Attention,
    "swa": Attention,
    "mla": LatentAttention,
    "mamba": Mamba,
    "mamba2": Mamba2,
    "parallel": Parallel,
    "gated_deltanet": GatedDeltaNet,
    "kda": KDA,
    "hyena_se": Hyena,
    "hyena_mr": Hyena,
    "hyena_li": Hyena,
    "short_conv": ShortConv,
    "mlp": MLP,
    "moe": MoE,
}


class ResidualBlock(GradientCheckpointingLayer):
    """x + multiplier x inner(norm(x)), with a norm of what `inner` gives instead or as well."""

    def __init__(self, b: dict[str, Any], config: HarmonyConfig) -> None:
        super().__init__()
        self.position = b["norm_position"]
        self.norm = RMSNorm(config.hidden_size, config.norm_epsilon)
        self.out_norm = RMSNorm(config.hidden_size, config.norm_epsilon) if self.position == "both" else None
        self.inner = MODULES[b["kind"]](b, config.hidden_size, config.norm_epsilon)
        self.multiplier = config.residual_multiplier

    def forward(self, x_BTD: Tensor, state: State | None, tokens: Tokens) -> Tensor:
        """The residual stream after the block.

        Args:
            x_BTD: the residual stream before it.
            state: what the block remembers, filled in place; None remembers nothing.
            tokens: where the tokens stand.
        """
        read = x_BTD if self.position == "post" else self.norm(x_BTD)
        y_BTD: Tensor = self.inner(read, {} if state is None else state, tokens)
        if self.position != "pre":
            y_BTD = (self.norm if self.out_norm is None else self.out_norm)(y_BTD)
        return x_BTD + self.multiplier * y_BTD


class HarmonyCache:
    """What every block remembers, how many tokens went by, and which of them were no padding."""

    is_compileable = False

    def __init__(self, num_blocks: int) -> None:
        self.states: list[State] = [{} for _ in range(num_blocks)]
        self.length = 0
        self.real_BS: Tensor | None = None

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens so far."""
        return self.length

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Takes the sequences of these indices, as beam search asks."""
        for state in self.states:
            for name, tensor in state.items():
                state[name] = tensor.index_select(0, beam_idx.to(tensor.device))
        if self.real_BS is not None:
            self.real_BS = self.real_BS.index_select(0, beam_idx.to(self.real_BS.device))


class HarmonyPreTrainedModel(PreTrainedModel):
    """What both models below are to `transformers`."""

    config_class = HarmonyConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = ("ResidualBlock",)
    _keep_in_fp32_modules_strict = ("a_log", "dt_bias", "bias_E")
    # A recurrent state cannot go back to an earlier token, as assisted generation would want.
    _is_stateful = True

    def _init_weights(self, module: nn.Module) -> None:
        """Matrices normal, norms and skips one, biases zero: for a model that is trained anew."""
        for name, tensor in module.named_parameters(recurse=False):
            if getattr(tensor, "_is_hf_initialized", False):
                continue
            if tensor.dim() > 1:
                nn.init.normal_(tensor, std=self.config.initializer_range)
            else:
                nn.init.constant_(tensor, 1.0 if name in ("weight", "skip") else 0.0)


class HarmonyModel(HarmonyPreTrainedModel):
    """Embedding, residual blocks, final norm."""

    def __init__(self, config: HarmonyConfig) -> None:
        super().__init__(config)
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.blocks = nn.ModuleList(ResidualBlock(b, config) for b in config.blocks)
        self.norm = RMSNorm(config.hidden_size, config.norm_epsilon)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The embedding."""
        return self.embedding

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Puts another one in its place."""
        self.embedding = value

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: HarmonyCache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPast | tuple[Any, ...]:
        """The normalised residual stream [B, T, D].

        Args:
            input_ids: int64 [B, T], those after the tokens that the cache has seen.
            attention_mask: [B, S], zero for padding: before a sequence, after it, or both. A sequence does not go on
                after padding.
            position_ids: the positions that the tokens have anyway; anything else is refused.
            past_key_values: the cache of an earlier call, changed in place.
            inputs_embeds: [B, T, D] instead of `input_ids`, as `get_input_embeddings()` gives them.
            use_cache: whether the output holds a cache; by default in evaluation.
            output_attentions: refused, unless it is False.
            output_hidden_states: whether the output holds the embeddings and the residual stream after every block,
                after the last one normalised.
            return_dict: False gives a tuple.

        Raises:
            ValueError: padding within a sequence, other positions, or outputs that this model does not give.
            TypeError: a cache of another model.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give one of input_ids and inputs_embeds")
        if output_attentions:
            raise ValueError("output_attentions is not supported; leave it out")
        cache = self._cache(past_key_values, use_cache)
        past = 0 if cache is None else cache.length
        x_BTD = self.embedding(input_ids) if inputs_embeds is None else inputs_embeds
        real_BS = self._real(x_BTD, past, attention_mask, cache)
        positions_BT = self._positions(x_BTD, past, real_BS, position_ids)
        tokens = Tokens(positions_BT, real_BS, self.config._attn_implementation != "eager")
        x_BTD = x_BTD * self.config.embedding_multiplier
        wanted = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        streams: list[Tensor] = []
        for number, block in enumerate(self.blocks):
            streams += [x_BTD] if wanted else []
            x_BTD = block(x_BTD, None if cache is None else cache.states[number], tokens)
        if cache is not None:
            cache.length, cache.real_BS = past + x_BTD.shape[1], real_BS
        x_BTD = self.norm(x_BTD)
        output = BaseModelOutputWithPast(
            last_hidden_state=x_BTD,
            past_key_values=cache,
            hidden_states=(*streams, x_BTD) if wanted else None,
        )
        return output.to_tuple() if return_dict is False else output

    def _cache(self, given: HarmonyCache | None, wanted: bool | None) -> HarmonyCache | None:
        """The one to fill. A block that is computed again in the backward pass would fill it twice."""
        again = self.training and any(block.gradient_checkpointing for block in self.blocks)
        if given is None:
            wanted = not self.training and self.config.use_cache if wanted is None else wanted
            return HarmonyCache(len(self.blocks)) if wanted and not again else None
        if not isinstance(given, HarmonyCache):
            raise TypeError(f"past_key_values is a {type(given).__name__}; leave it out, or use what forward gave")
        if again:
            raise ValueError("past_key_values has no place in gradient checkpointing; leave it out")
        return given

    def _real(self, x_BTD: Tensor, past: int, mask: Tensor | None, cache: HarmonyCache | None) -> Tensor | None:
        """Which tokens, the cached ones first, are no padding; None where all are."""
        batch, length, _ = x_BTD.shape
        if mask is None:
            if cache is None or cache.real_BS is None:
                return None
            mask = F.pad(cache.real_BS, (0, length), value=True)
        if mask.shape != (batch, past + length):
            shape = f"attention_mask has shape {list(mask.shape)}"
            raise ValueError(f"{shape}; use {[batch, past + length]}, a number for each cached token and each given")
        real_BS = mask.to(x_BTD.device) == 1
        if bool(real_BS.all()):
            return None
        begins_BS = real_BS & ~F.pad(real_BS, (1, 0))[:, :-1]
        if bool((begins_BS.sum(1) > 1).any()):
            raise ValueError("attention_mask has zeros within a sequence; to generate, pad on the left")
        return real_BS

    def _positions(self, x_BTD: Tensor, past: int, real_BS: Tensor | None, given: Tensor | None) -> Tensor:
        """Of the tokens in their sequences, [B or 1, T] on the CPU; padding before a sequence is at 0."""
        stop = past + x_BTD.shape[1]
        real_BS = torch.ones(1, stop, dtype=torch.bool) if real_BS is None else real_BS.cpu()
        positions_BT = (real_BS.cumsum(1) - 1).clamp(min=0)[:, past:]
        if given is not None and not bool(((given.cpu() == positions_BT) | ~real_BS[:, past:]).all()):
            raise ValueError(f"position_ids are not the tokens' own, up to {stop - 1}; leave them out")
        return positions_BT


class HarmonyForCausalLM(HarmonyPreTrainedModel, GenerationMixin):
    """A model and its head."""

    _tied_weights_keys = {"head.weight": "model.embedding.weight"}  # noqa: RUF012

    def __init__(self, config: HarmonyConfig) -> None:
        super().__init__(config)
        self.model = HarmonyModel(config)
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The embedding."""
        return self.model.embedding

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Puts another one in its place."""
        self.model.embedding = value

    def get_output_embeddings(self) -> nn.Module:
        """The head."""
        return self.head

    def set_output_embeddings(self, new_embeddings: nn.Linear) -> None:
        """Puts another one in its place."""
        self.head = new_embeddings

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        """`generate` leaves the cache to `forward`."""
        return False

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: HarmonyCache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast | tuple[Any, ...]:
        """Logits [B, T, V] of the next tokens; all other arguments as for `HarmonyModel.forward`.

        Args:
            input_ids: as `attention_mask`, `position_ids`, `past_key_values`, `inputs_embeds`, `use_cache`,
                `output_attentions` and `output_hidden_states`, what `HarmonyModel.forward` takes.
            labels: int64 [B, T], shifted inside, -100 where there is nothing to learn; the loss is their mean cross
                entropy.
            logits_to_keep: logits of so many last tokens, or of these indices; 0 is all.
            return_dict: False gives a tuple.
            kwargs: what the loss takes.

        Raises:
            ValueError: as `HarmonyModel.forward`.
            TypeError: likewise.
        """
        inner = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits_BTV = self.head(inner.last_hidden_state[:, kept]) / self.config.logits_divisor
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits_BTV, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
        output = CausalLMOutputWithPast(
            loss=loss,
            logits=logits_BTV,
            past_key_values=inner.past_key_values,
            hidden_states=inner.hidden_states,
        )
        return output.to_tuple() if return_dict is False else output
