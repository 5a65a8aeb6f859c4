"""The tables of format version 2, as they were: name, type, and `?` where a value may be missing.

They are written out, and not made from today's, which will change.
"""

from __future__ import annotations

import pyarrow as pa

from harmony_core.store.schemas import BOOL, FLOAT, IDS, INT32, INT64, TEXT, TIME

VERSION = 2

_TYPES = {
    "int32": INT32, "int64": INT64, "float": FLOAT, "text": TEXT, "bool": BOOL, "time": TIME, "ids": IDS,
}  # fmt: skip

_COLUMNS = {
    "population": """
        search text, generation int32?, candidate int32, architecture_id text, architecture text, pattern text,
        origin text, operator text, parents ids, d_model int32, num_blocks int32, num_params int64,
        num_active_params int64, num_non_embedding_params int64, num_active_non_embedding_params int64,
        flops_per_token float, kv_bytes_per_token int64, state_bytes int64, role text?, name text?""",
    "ledger": "search text, generation int32?, stage text, reason text, count int64",
    "training": """
        search text, generation int32?, shard int32, candidate int32, architecture_id text, recipe_id text, layout text,
        precision text, init_seed int64, data_seed int64, replicate int32, attempt int32, status text, error text?,
        train_loss float?, val_loss float?, val_bits_per_byte float?, test_loss float?, test_bits_per_byte float?,
        router_loss float?, steps int64, tokens int64, learning_rate float, lr_scaling text, flops float,
        start_seconds float?, seconds float?, eval_seconds float?, tokens_per_second float?, device_seconds float,
        peak_memory_bytes int64?, device text, host text, kernel_paths text, data_checksum text,
        tokenizer_checksum text, started_at time""",
    "curves": """
        search text, generation int32?, shard int32, candidate int32, architecture_id text, replicate int32, step int64,
        tokens int64, train_loss float, learning_rate float, gradient_norm float?, seconds float""",
    "latency": """
        search text, generation int32?, shard int32, candidate int32, architecture_id text, status text, error text?,
        source text, device text, mode text, batch_size int32, context int32, precision text, seconds_median float?,
        seconds_p10 float?, seconds_p90 float?, repeats int32, warmups int32, reference_seconds_median float?,
        seconds float, device_seconds float, kernel_paths text, host text, started_at time""",
    "selection": """
        search text, generation int32, birth_generation int32, candidate int32, architecture_id text, status text,
        val_bits_per_byte float?, latency_seconds float?, num_params int64, num_active_params int64,
        flops_per_token float, kv_bytes_per_token int64, state_bytes int64, violation float?, rank int32,
        crowding float?, fitness float?, survives bool""",
    "scaling": """
        name text, run text, processes int32, architecture_id text, recipe_id text, layout text, precision text,
        batch_size int32, sequence_length int32, steps int64, step_seconds_median float, step_seconds_p10 float,
        step_seconds_p90 float, tokens_per_second float, tokens_per_second_per_device float, efficiency float,
        peak_memory_bytes int64?, device text, host text, started_at time""",
}  # fmt: skip


def _schema(name: str) -> pa.Schema:
    fields = []
    for told in _COLUMNS[name].split(","):
        column, kind = told.split()
        fields.append(pa.field(column, _TYPES[kind.rstrip("?")], kind.endswith("?")))
    return pa.schema(fields, {"table": name, "version": f"{VERSION}.0"})


TABLES = {name: _schema(name) for name in _COLUMNS}
