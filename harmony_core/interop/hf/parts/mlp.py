"""Feed-forward networks: activations by name, tensors."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_core.architecture import MLP, Block
from harmony_core.architecture.mlp import GATED, Activation
from harmony_core.interop.hf.family import DoesNotFit
from harmony_core.interop.hf.weights import Weight, joined, same

# The `hidden_act` of a gated network, and of one without a gate.
GATED_ACTIVATIONS = {
    "silu": "swiglu",
    "swish": "swiglu",
    "gelu": "geglu",
    "linear": "bilinear",
    "gelu_pytorch_tanh": "geglu_tanh",
}
PLAIN_ACTIVATIONS = {"relu2": "relu2", "gelu": "gelu"}
# Here the same field is the activation of a Mamba layer's convolution.
ONLY_SILU = {"silu": "swiglu", "swish": "swiglu"}


def hidden_act(activation: Activation) -> str:
    """The word for an activation; `DoesNotFit` where `transformers` has none."""
    words = GATED_ACTIVATIONS if activation in GATED else PLAIN_ACTIVATIONS
    found = next((word for word, meaning in words.items() if meaning == activation), None)
    if found is None:
        raise DoesNotFit
    return found


def as_mlp(block: Block) -> MLP:
    """The block, if it is an MLP."""
    if not isinstance(block, MLP):
        raise DoesNotFit
    return block


def numbered_mlp_weights(block: MLP, ours: str, theirs: str) -> Iterator[Weight]:
    """A gated network under LFM2's names: `w1` is the gate, `w3` goes up beside it, `w2` comes down.

    Arguments as for `attention_weights`.
    """
    yield joined(f"{ours}.up", [f"{theirs}.w1.weight", f"{theirs}.w3.weight"], block.d_ff)
    yield same(f"{ours}.down", f"{theirs}.w2.weight")


def mlp_weights(block: MLP, ours: str, theirs: str) -> Iterator[Weight]:
    """`gate_proj` and `up_proj` joined, `down_proj`; arguments as for `attention_weights`."""
    yield from network_weights(f"{ours}.", theirs, block.d_ff, block.activation, block.bias)


def network_weights(ours: str, theirs: str, width: int, activation: Activation, bias: bool) -> Iterator[Weight]:
    """The tensors of one network.

    Args:
        ours: how its keys begin here, with the dot or underscore.
        theirs: how they begin there.
        width: hidden width, rows of the gate and of the projection up.
        activation: says whether there is a gate.
        bias: whether both projections have one.
    """
    names = ("gate_proj", "up_proj") if activation in GATED else ("up_proj",)
    for end, suffix in [("", "weight"), ("_bias", "bias")] if bias else [("", "weight")]:
        yield joined(f"{ours}up{end}", [f"{theirs}.{name}.{suffix}" for name in names], width)
        yield same(f"{ours}down{end}", f"{theirs}.down_proj.{suffix}")
