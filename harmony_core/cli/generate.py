"""`harmony generate`: what a trained model writes."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from harmony_core.cli.candidate import SearchOption
from harmony_core.cli.export import TrainedArgument, find_trained


def generate(
    trained: TrainedArgument,
    prompt: Annotated[str, typer.Argument(help="What is gone on with; empty begins a document.")] = "",
    search: SearchOption = None,
    replicate: Annotated[int, typer.Option(min=0, help="Which of the trainings on other seeds.")] = 0,
    tokens: Annotated[int, typer.Option(min=1, max=1_000_000, help="Tokens that are added.")] = 200,
    temperature: Annotated[float, typer.Option(min=0, help="0 takes the likeliest token.")] = 0.8,
    top_k: Annotated[int | None, typer.Option(min=1, help="Only the K likeliest tokens may be drawn.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Only the likeliest that add up to this may be drawn.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of the draws.")] = 0,
) -> None:
    """Prints a prompt and what a trained model makes of it, token by token with its cache.

    The prompt begins a document, as training texts do. Control characters are shown and not sent to the terminal.
    """
    found = find_trained(trained, search, replicate)
    tokenizer = found.require_tokenizer()
    # Imports torch, for seconds.
    import torch

    from harmony_core.models import generate as sample_tokens
    from harmony_core.training.trained import load_trained

    model = load_trained(found.checkpoints).eval()
    prompt_ids = [tokenizer.separator, *tokenizer.encode(prompt.encode()).tolist()]
    if (length := len(prompt_ids) + tokens) > (context := found.context()):
        print(f"longer than what it was trained on: {length} tokens, {context} in training", file=sys.stderr)
    drawn_BT = sample_tokens(
        model,
        torch.tensor([prompt_ids]),
        tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        generator=torch.Generator().manual_seed(seed),
    )
    text = tokenizer.decode(drawn_BT[0].tolist()).decode(errors="replace")
    typer.echo(visible(text))


def visible(text: str) -> str:
    """The text with its lines and tabs, and every other control character as an escape."""
    return "".join(one if one.isprintable() or one in "\n\t" else ascii(one)[1:-1] for one in text)
