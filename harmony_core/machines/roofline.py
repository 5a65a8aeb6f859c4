"""A roofline per part of the model: arithmetic or traffic, whichever is longer, plus starting kernels.

For each part (embedding, every block, head, optimiser) with the roofline of Williams et al. 2009
(doi:10.1145/1498765.1498785):

    seconds = max(arithmetic, bytes / (bandwidth x bandwidth_efficiency)) + kernels x kernel_seconds
    arithmetic = weight FLOPs / (peak x matrix_efficiency) + mixing FLOPs / (peak x mixing_efficiency)

Weight FLOPs are 2 x active parameters a token; what a block's formula counts beyond that (attention scores,
scans) is mixing. One device, no communication, no overlap between parts. It ranks architectures; it is no
stopwatch.

A machine whose operators were measured one by one (`Machine.operators`) is priced by their costs instead, in training
and prefill: seconds = sum over units of work of their number x their cost. FLOPs, bytes and kernels are counted alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from harmony_core.architecture import Architecture, Block, Mode
from harmony_core.machines.machine import Machine, Precision
from harmony_core.machines.operator_costs import OperatorCosts
from harmony_core.machines.operator_work import model_work
from harmony_core.machines.traffic import block_traffic

BYTES_PER_ELEMENT: dict[Precision, int] = {"fp32": 4, "bf16": 2}

# A backward pass is two forward passes: in FLOPs, in activations moved, in kernels started.
_PASSES: dict[Mode, int] = {"train": 3, "prefill": 1, "decode": 1}

# AdamW in fp32 reads weight, gradient and two moments and writes all but the gradient; clipping reads the
# gradient for its norm, then reads and writes it.
_OPTIMIZER_BYTES_PER_PARAM = 7 * 4 + 3 * 4
_OPTIMIZER_KERNELS = 16


@dataclass(frozen=True)
class Part:
    """One part's work on a whole batch, and the time it takes.

    Args:
        name: `block 3 (mamba2)`, `embedding`, `head` or `optimizer`.
        flops: all FLOPs, a multiply-add being two.
        bytes: bytes moved between processor and memory.
        kernels: operations started.
        seconds: predicted time.
        bound: what takes longest: `compute`, `memory` or `kernels`.
    """

    name: str
    flops: float
    bytes: float
    kernels: int
    seconds: float
    bound: str


@dataclass(frozen=True)
class Workload:
    """What is run: `batch_size` sequences of `context` tokens, or one token each on a cache of `context`."""

    mode: Mode
    batch_size: int
    context: int
    precision: Precision

    def __post_init__(self) -> None:
        for name in ("batch_size", "context"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; use at least 1")

    @property
    def tokens(self) -> int:
        """Tokens that pass through the model."""
        return self.batch_size * (1 if self.mode == "decode" else self.context)

    @property
    def passes(self) -> int:
        """Forward passes' worth of work."""
        return _PASSES[self.mode]

    @property
    def element(self) -> int:
        """Bytes of an activation, a cache entry, or a weight as the arithmetic reads it."""
        return BYTES_PER_ELEMENT[self.precision]

    def weight_bytes(self, touched: float, held: float) -> float:
        """Weights read; in training they are read again backwards, and every fp32 gradient is written."""
        if self.mode != "train":
            return touched * self.element
        return 2 * touched * self.element + 4 * held


def predict_seconds(
    architecture: Architecture,
    machine: Machine,
    mode: Mode,
    batch_size: int,
    context: int,
    precision: Precision,
) -> float:
    """Predicted seconds of one training step, one prefill, or one decoded token for the whole batch.

    Args:
        architecture: what runs.
        machine: one device.
        mode: `train` is a whole step with AdamW, `prefill` a forward pass with logits of every token,
            `decode` one token a sequence.
        batch_size: sequences.
        context: tokens a sequence; when decoding, tokens that the new one sees, itself included.
        precision: of activations, caches and matrix products.
    """
    return sum(part.seconds for part in predict_parts(architecture, machine, mode, batch_size, context, precision))


def predict_parts(
    architecture: Architecture,
    machine: Machine,
    mode: Mode,
    batch_size: int,
    context: int,
    precision: Precision,
) -> tuple[Part, ...]:
    """The prediction part by part, in the order of the pass; arguments as for `predict_seconds`."""
    load = Workload(mode, batch_size, context, precision)
    blocks = [
        _block(machine, load, index, block, architecture.d_model) for index, block in enumerate(architecture.blocks)
    ]
    parts = [_embedding(machine, load, architecture), *blocks, _head(machine, load, architecture)]
    if mode == "train":
        moved = _OPTIMIZER_BYTES_PER_PARAM * architecture.num_params()
        parts.append(_part(machine, load, "optimizer", 0, 0, moved, _OPTIMIZER_KERNELS))
    costs = machine.operator_costs(mode, precision)
    if costs is None:
        return tuple(parts)
    works = model_work(architecture, batch_size, context, load.element, mode == "train")
    return tuple(_priced(part, costs, work) for part, work in zip(parts, works, strict=True))


def _priced(part: Part, costs: OperatorCosts, work: Mapping[str, float]) -> Part:
    """The part with the seconds of its operators, and what most of them go to."""
    seconds = dict.fromkeys(("compute", "memory", "kernels"), 0.0)
    for unit, spent in costs.split(work).items():
        overhead = "kernels" if unit in ("kernel", "expert", "step") else "memory"
        seconds["compute" if unit.endswith("product") else overhead] += spent
    return replace(part, seconds=sum(seconds.values()), bound=max(seconds, key=seconds.__getitem__))


def _block(machine: Machine, load: Workload, index: int, block: Block, d_model: int) -> Part:
    flops = load.tokens * block.flops_per_token(d_model, load.context, load.mode)
    weights = load.tokens * load.passes * 2 * block.num_active_params(d_model)
    traffic = block_traffic(block, d_model)
    moved = load.weight_bytes(block.touched_params(d_model, load.tokens), block.num_params(d_model))
    moved += load.tokens * load.passes * traffic.elements * load.element
    moved += _cache_bytes(load, block, d_model)
    name = f"block {index} ({block.kind})"
    # A formula that leaves out vectors (biases, norms) may count a little less than 2 x parameters.
    mixing = max(0.0, flops - weights)
    return _part(machine, load, name, flops - mixing, mixing, moved, load.passes * traffic.kernels)


def _cache_bytes(load: Workload, block: Block, d_model: int) -> float:
    """Prefill writes cache and state; decoding reads both, and writes one token's entries and the state."""
    if load.mode == "train":
        return 0
    cache, state = block.kv_cache_elements(load.context), block.state_elements(d_model)
    elements = cache + state
    if load.mode == "decode":
        elements += block.kv_elements_per_token() + state
    return load.batch_size * elements * load.element


def _embedding(machine: Machine, load: Workload, architecture: Architecture) -> Part:
    moved: float = load.tokens * load.passes * 2 * architecture.d_model * load.element
    if load.mode == "train" and not architecture.tie_embeddings:
        moved += 4 * architecture.vocab_size * architecture.d_model
    return _part(machine, load, "embedding", 0, 0, moved, load.passes)


def _head(machine: Machine, load: Workload, architecture: Architecture) -> Part:
    d_model, vocab_size = architecture.d_model, architecture.vocab_size
    weights = vocab_size * d_model
    moved = load.weight_bytes(weights, weights)
    # The final norm, the product's input, and the logits; a loss reads them once more.
    elements = 3 * d_model + vocab_size * (2 if load.mode == "train" else 1)
    moved += load.tokens * load.passes * elements * load.element
    flops = load.tokens * load.passes * 2 * weights
    return _part(machine, load, "head", flops, 0, moved, load.passes * (3 if load.mode == "train" else 2))


def _part(
    machine: Machine,
    load: Workload,
    name: str,
    weight_flops: float,
    mixing: float,
    moved: float,
    kernels: int,
) -> Part:
    compute = machine.compute(load.precision)
    peak = compute.peak_flops.value
    arithmetic = weight_flops / (peak * compute.matrix_efficiency.value)
    arithmetic += mixing / (peak * compute.mixing_efficiency.value)
    streaming = moved / machine.bytes_per_second
    starting = kernels * machine.kernel_seconds.value
    slowest = max((arithmetic, "compute"), (streaming, "memory"), (starting, "kernels"))
    return Part(name, weight_flops + mixing, moved, kernels, max(arithmetic, streaming) + starting, slowest[1])
