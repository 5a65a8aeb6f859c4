"""What a block moves and starts besides its weights: activations through memory, and kernels.

Counts are of the plain PyTorch reference without fusion: each operation reads its inputs and writes its
outputs once, attention's scores and a scan's inner states stay on the chip, a norm reads and writes, a
residual addition reads two and writes one. They say where time goes, not to the last byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch

from harmony_core.architecture import MLA, MLP, Attention, Block, Hyena, HyenaLI, Mamba, Mamba2, MoE
from harmony_core.architecture.mlp import num_matrices


@dataclass(frozen=True)
class Traffic:
    """One forward pass of one block.

    Args:
        elements: activation elements a token, read and written.
        kernels: operations started, however many tokens there are.
    """

    elements: int
    kernels: int


# The pre-norm (read and write D) and the residual addition (read 2 D, write D) around every block.
_AROUND_ELEMENTS = 5
_AROUND_KERNELS = 2


def block_traffic(block: Block, d_model: int) -> Traffic:
    """Traffic of a block's forward pass, its norm and residual addition included."""
    inner = _inner(block, d_model)
    return Traffic(_AROUND_ELEMENTS * d_model + inner.elements, _AROUND_KERNELS + inner.kernels)


def touched_params(block: Block, d_model: int, tokens: int) -> float:
    """Parameters that a pass over `tokens` tokens reads.

    All of them, but for experts that no token chose: with independent, uniform choices of `top_k` among
    `n_routed`, a routed expert is idle with probability (1 - top_k / n_routed) ** tokens.
    """
    if not isinstance(block, MoE):
        return block.num_params(d_model)
    expert = num_matrices(block.activation) * d_model * block.d_expert
    idle = block.n_routed * (1 - block.top_k / block.n_routed) ** tokens
    return block.num_params(d_model) - idle * expert


@singledispatch
def _inner(block: Block, d_model: int) -> Traffic:
    raise TypeError(f"the cost model does not know {block.kind!r}; add its traffic to machines/traffic.py")


@_inner.register
def _attention(block: Attention, d_model: int) -> Traffic:
    q = block.num_heads * block.head_dim
    kv = 2 * block.kv_heads * block.head_dim
    projections = d_model + q + kv + q + d_model
    rotation = 2 * q + kv if block.rope_base is not None else 0
    norms = 2 * q + kv if block.qk_norm else 0
    softmax = q + kv + q
    # Projections of q, k, v and out; two rotations; two norms; SDPA.
    kernels = 4 + 2 * (block.rope_base is not None) + 2 * block.qk_norm + 1
    return Traffic(projections + rotation + norms + softmax, kernels)


@_inner.register
def _mla(block: MLA, d_model: int) -> Traffic:
    q, v = block.num_heads * block.qk_head_dim, block.num_heads * block.v_head_dim
    rebuilt = block.num_heads * (block.qk_nope_head_dim + block.v_head_dim)
    latent = block.kv_lora_rank + block.qk_rope_head_dim
    query = d_model + q if block.q_lora_rank is None else d_model + 4 * block.q_lora_rank + q
    # Down, norm (read and write), up, then keys joined with the shared rotary key.
    key_value = d_model + latent + 2 * block.kv_lora_rank + block.kv_lora_rank + rebuilt + 2 * q
    rotation = 2 * block.num_heads * block.qk_rope_head_dim + 2 * block.qk_rope_head_dim
    softmax = 2 * q + v + v
    kernels = 9 if block.q_lora_rank is None else 11
    return Traffic(query + key_value + rotation + softmax + v + d_model, kernels)


@_inner.register
def _mlp(block: MLP, d_model: int) -> Traffic:
    matrices = num_matrices(block.activation)
    return Traffic(2 * d_model + 2 * matrices * block.d_ff, matrices + 1)


@_inner.register
def _moe(block: MoE, d_model: int) -> Traffic:
    matrices = num_matrices(block.activation)
    routing = d_model + 3 * block.n_routed
    moved = 4 * block.top_k * d_model
    experts = block.top_k * (2 * d_model + 2 * matrices * block.d_expert)
    # One network, and the addition of its output to the routed experts'.
    shared = 5 * d_model + 2 * matrices * block.shared_width if block.n_shared else 0
    # Router, its scores and choice, sorting, gathering, grouped products, scattering back.
    kernels = 7 + matrices + 1 + (matrices + 2) * (block.n_shared > 0)
    return Traffic(routing + moved + experts + shared, kernels)


@_inner.register
def _mamba2(block: Mamba2, d_model: int) -> Traffic:
    inner, conv, heads = block.d_inner(d_model), block.conv_dim(d_model), block.num_heads(d_model)
    projections = d_model + inner + conv + heads + inner + d_model
    # Each chunk writes its state once and reads it twice: to pass it on, and to use it.
    states = 3 * inner * block.d_state // block.chunk_size
    scan = conv + heads + inner + states
    gated_norm = 3 * inner
    return Traffic(projections + 2 * conv + scan + gated_norm, 14)


@_inner.register
def _mamba(block: Mamba, d_model: int) -> Traffic:
    inner, rank = block.d_inner(d_model), block.rank(d_model)
    projections = d_model + 2 * inner + inner + rank + 2 * block.d_state + rank + inner + inner + d_model
    scan = 2 * inner + 2 * block.d_state + inner
    return Traffic(projections + 2 * inner + scan + 3 * inner, 9 + 3 * block.inner_norms)


@_inner.register
def _hyena(block: Hyena, d_model: int) -> Traffic:
    projections = d_model + 3 * d_model + d_model + d_model
    short = 2 * 3 * d_model
    gates = 3 * d_model + 3 * d_model
    convolution = 2 * d_model
    # In and out, the short convolution, two gates, the convolution.
    kernels = 6
    if isinstance(block, HyenaLI):
        # Each chunk writes the state that enters it once and reads it twice: to pass it on, and to use it.
        convolution += 3 * d_model * block.state_size // block.chunk_size
        kernels += 3
    return Traffic(projections + short + gates + convolution, kernels)
