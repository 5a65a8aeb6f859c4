"""Machines and models for the planner's tests: round numbers, so that costs can be told by hand."""

from __future__ import annotations

from harmony_core.architecture import GQA, MLP, Architecture, Mamba2, MoE
from harmony_core.machines import Compute, Congestion, Figure, Link, Machine, Share


def figure(value: float) -> Figure:
    return Figure(value=value, source="test")


def share(value: float) -> Share:
    return Share(value=value, source="test")


def link(name: str, devices: int, bandwidth: float, latency: float = 1e-30) -> Link:
    return Link(name=name, devices=devices, bandwidth=figure(bandwidth), latency=figure(latency), efficiency=share(0.5))


def cluster(
    memory: float = 1e9, latency: float = 1e-30, congestion: float | None = None, flops: float = 1e12
) -> Machine:
    """Pairs at 200 bytes/s, nodes of 8 at 40, a network of 1,024 at 10; half of each is reached."""
    compute = Compute(peak_flops=figure(flops), matrix_efficiency=share(0.5), mixing_efficiency=share(0.5))
    return Machine(
        name="cluster",
        device="toy",
        bf16=compute,
        fp32=compute,
        memory_bandwidth=figure(1e30),
        memory_bytes=figure(memory),
        bandwidth_efficiency=share(0.5),
        kernel_seconds=figure(1e-30),
        links=(link("pair", 2, 200, latency), link("node", 8, 40, latency), link("network", 1024, 10, latency)),
        congestion=None if congestion is None else Congestion(devices=64, share_per_doubling=share(congestion)),
    )


ATTENTION = GQA(num_heads=4, num_kv_heads=2, head_dim=16)
FEED_FORWARD = MLP(d_ff=128)
MIXTURE = MoE(n_routed=8, top_k=2, d_expert=32, n_shared=1, balancing="bias")
MAMBA = Mamba2(d_state=16, head_dim=16)


def dense(layers: int = 4, tie: bool = False) -> Architecture:
    return Architecture(d_model=64, vocab_size=128, tie_embeddings=tie, blocks=(ATTENTION, FEED_FORWARD) * layers)


def hybrid(layers: int = 4) -> Architecture:
    return Architecture(
        d_model=64, vocab_size=128, tie_embeddings=False, blocks=(MAMBA, MIXTURE, ATTENTION, FEED_FORWARD) * layers
    )
