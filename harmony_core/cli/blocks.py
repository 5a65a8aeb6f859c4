"""The table of an architecture's blocks."""

from __future__ import annotations

import json

import polars as pl

from harmony_core.architecture import Architecture, is_block_kind
from harmony_core.architecture.block import block_from_dict
from harmony_core.cli.answer import print_table
from harmony_core.terminal.format import count
from harmony_core.terminal.frame import Column

_COLUMNS = [
    Column("number", ""),
    Column("kind", "block", lambda row: row["kind"], is_text=True),
    Column("params", "params", lambda row: row["params"]),
    Column("active", "active", lambda row: row["active"]),
    Column("fields", "hyper-parameters", lambda row: row["fields"], is_text=True, wraps=True),
]


def print_blocks(recorded: str) -> None:
    """Prints the blocks in order, with their hyper-parameters and counts of parameters.

    Args:
        recorded: canonical JSON of an architecture; of kinds that are not installed there are no counts.
    """
    data = json.loads(recorded)
    rows = []
    for number, written in enumerate(data["blocks"]):
        counts = ("not installed", "")
        if is_block_kind(written["kind"]):
            block, width = block_from_dict(written), data["d_model"]
            counts = (count(block.num_params(width)), count(block.num_active_params(width)))
        fields = ", ".join(f"{key} {value}" for key, value in written.items() if key != "kind")
        rows.append((str(number), written["kind"], *counts, fields))
    if all(is_block_kind(written["kind"]) for written in data["blocks"]):
        whole = Architecture.from_json(recorded)
        rows.append(("", "all", count(whole.num_params()), count(whole.num_active_params()), ""))
    tied = "tied" if data.get("tie_embeddings", Architecture.model_fields["tie_embeddings"].default) else "untied"
    title = f"d_model {data['d_model']}, vocabulary {data['vocab_size']} ({tied})"
    frame = pl.DataFrame(rows, schema=["number", "kind", "params", "active", "fields"], orient="row")
    print_table(frame, _COLUMNS, title)
