"""`harmony cost`: what an architecture costs, before a weight exists."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.console import Console

from harmony_core.architecture import Architecture, Mode
from harmony_core.architecture.presets import load_preset
from harmony_core.cli.blocks import print_blocks
from harmony_core.terminal.format import count, seconds

console = Console(highlight=False)


def cost(
    file: Annotated[
        str, typer.Argument(help="An architecture's YAML file, a preset's name, or a config.json of transformers.")
    ],
    context: Annotated[int, typer.Option(min=1, help="Tokens of a sequence, or in the cache.")] = 2048,
    batch_size: Annotated[int, typer.Option(min=1, help="Sequences, for a prediction.")] = 1,
    machine: Annotated[str | None, typer.Option(help="Predict for a machine of resources/machines.")] = None,
    fp32: Annotated[bool, typer.Option("--fp32", help="Predict for fp32 instead of bf16.")] = False,
) -> None:
    """Parameters, FLOPs, cache and state of an architecture, and its predicted times on a machine."""
    from harmony_core.machines import Machine, predict_seconds

    architecture = _architecture(file)
    target = None if machine is None else Machine.from_yaml(machine)
    console.print(f"[bold]{architecture.id}[/]  {architecture.pattern()}")
    print_blocks(architecture.to_json())
    for label, value in (
        ("parameters", architecture.num_params()),
        ("active parameters", architecture.num_active_params()),
        ("active without input embedding", architecture.num_active_non_embedding_params()),
        ("KV cache a token, bf16 [bytes]", architecture.kv_bytes_per_token()),
        (f"KV cache at {context} tokens, bf16 [bytes]", architecture.kv_cache_bytes(context)),
        ("recurrent state a sequence, bf16 [bytes]", architecture.state_bytes()),
        (f"training FLOPs a token at {context}", architecture.flops_per_token(context, "train")),
        (f"prefill FLOPs a token at {context}", architecture.flops_per_token(context, "prefill")),
        (f"decode FLOPs a token at {context}", architecture.flops_per_token(context, "decode")),
    ):
        console.print(f"{label:44} {value:>20,.0f}  {count(value)}")
    if target is not None:
        for mode in get_args(Mode):
            predicted = predict_seconds(architecture, target, mode, batch_size, context, "fp32" if fp32 else "bf16")
            console.print(f"{mode} on {target.name}, batch {batch_size} (predicted): {seconds(predicted)}")


def _architecture(file: str) -> Architecture:
    """A model's that is published, from its `config.json` or the folder with it, or one of ours."""
    path = Path(file)
    if path.suffix != ".json" and not (path / "config.json").is_file():
        return load_preset(file)
    from harmony_core.interop.hf import architecture_from_file

    return architecture_from_file(path)
