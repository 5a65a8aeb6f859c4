"""What an architecture has before a weight exists."""

from __future__ import annotations

from harmony_core.metrics.metric import Metric, register

register(
    Metric(
        "num_params",
        unit="parameters",
        label="params",
        description="all parameters, tied weights once",
        source=lambda one: one.num_params(),
        whole=True,
    )
)
register(
    Metric(
        "num_active_params",
        unit="parameters",
        label="active params",
        short="active",
        description="parameters of one token's pass, input embedding included",
        source=lambda one: one.num_active_params(),
        whole=True,
    )
)
register(
    Metric(
        "num_non_embedding_params",
        unit="parameters",
        label="non-embedding params",
        short="non-embedding",
        description="parameters without the input embedding's look-up; the output head counts",
        source=lambda one: one.num_non_embedding_params(),
        whole=True,
    )
)
register(
    Metric(
        "num_active_non_embedding_params",
        unit="parameters",
        label="active non-embedding params",
        short="active non-embedding",
        description="what one token multiplies with: active parameters and the output head",
        source=lambda one: one.num_active_non_embedding_params(),
        whole=True,
    )
)
register(
    Metric(
        "flops_per_token",
        unit="FLOP/token",
        label="training [FLOP/token]",
        short="FLOP/token",
        description="training FLOPs (3 forward passes) at the recipe's sequence length",
        source=lambda one, sequence_length: one.flops_per_token(sequence_length),
        at_length=True,
    )
)
register(
    Metric(
        "kv_bytes_per_token",
        unit="bytes/token",
        label="KV [bytes/token]",
        short="KV B/token",
        description="cache that each token adds, bf16",
        source=lambda one: one.kv_bytes_per_token(),
        whole=True,
    )
)
register(
    Metric(
        "state_bytes",
        unit="bytes",
        label="state [bytes]",
        short="state B",
        description="recurrent state of a sequence, bf16",
        source=lambda one: one.state_bytes(),
        whole=True,
    )
)
