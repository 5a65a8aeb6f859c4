"""The model card of an exported folder: what the model is, how it is opened, what came of it, how it is made again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harmony_core.architecture import Architecture, MoE
from harmony_core.data import Tokenizer
from harmony_core.interop.hf.caveats import Caveats


@dataclass(frozen=True)
class Origin:
    """What is known of the training that gave the weights.

    Args:
        name: of the model, in one line.
        text: what it was trained on, in Markdown.
        results: of the training row: column, value and unit, in order.
        recipe: the sections `recipe` and `data` of a configuration file, YAML.
        commands: what makes the weights again, a line each.
    """

    name: str
    text: str
    results: tuple[tuple[str, str, str], ...]
    recipe: str
    commands: tuple[str, ...]


def model_card(
    architecture: Architecture,
    kind: str,
    known: Caveats,
    tokenizer: Tokenizer | None,
    context: int | None,
    origin: Origin | None,
) -> str:
    """The text of `README.md`.

    Args:
        architecture: what is exported.
        kind: the model type that it is exported as.
        known: what its class computes otherwise than its forward pass.
        tokenizer: what is exported beside it.
        context: tokens of the sequences that it was trained on.
        origin: of the weights.
    """
    tags = dict.fromkeys(("harmony", kind))
    head = ["---", "library_name: transformers", "pipeline_tag: text-generation", "tags:"]
    head += [*(f"- {tag}" for tag in tags), "---", ""]
    parts = [
        *_what(architecture, origin),
        *_use(kind, known, tokenizer),
        *_limits(architecture, kind, known, tokenizer, context),
        *([] if origin is None else _training(origin)),
        "## Architecture",
        *_block("yaml", architecture.to_yaml()),
    ]
    return "\n".join([*head, *parts])


def _what(architecture: Architecture, origin: Origin | None) -> Iterator[str]:
    total, active = architecture.num_params(), architecture.num_active_params()
    used = "" if active == total else f", {active:,} of which a token uses"
    yield from ("# A HARMONY model" if origin is None else f"# {origin.name}", "")
    size = f"{total:,} parameters{used}; width {architecture.d_model}, vocabulary {architecture.vocab_size}."
    yield from (f"A causal language model of {size} Its blocks, in order: {architecture.pattern()}.", "")


def _use(kind: str, known: Caveats, tokenizer: Tokenizer | None) -> Iterator[str]:
    options = ", trust_remote_code=True" if kind == "harmony" else ""
    names = "AutoModelForCausalLM" if tokenizer is None else "AutoModelForCausalLM, AutoTokenizer"
    code = [f"from transformers import {names}", ""]
    code += [f'model = AutoModelForCausalLM.from_pretrained("."{options})']
    if tokenizer is None:
        code += ["import torch", "", "prompt = torch.tensor([[1, 2, 3]])"]
        code += ["print(model.generate(prompt, max_new_tokens=50))"]
    else:
        code += [f'tokenizer = AutoTokenizer.from_pretrained("."{options})']
        prompts = '["Once", "In the beginning"], padding=True' if known.no_left_padding is None else '["Once"]'
        code += [f'prompt = tokenizer({prompts}, return_tensors="pt")']
        code += ["print(tokenizer.batch_decode(model.generate(**prompt, max_new_tokens=50)))"]
    yield from ("## Use", *_block("python", "\n".join(code)))
    if kind == "harmony":
        yield from ("No class of `transformers` computes this architecture: its code is in `modeling_harmony.py`.", "")
    else:
        yield from (f"It is a `{kind}` of `transformers`, and needs no code of its own.", "")


def _limits(
    architecture: Architecture, kind: str, known: Caveats, tokenizer: Tokenizer | None, context: int | None
) -> Iterator[str]:
    if known.no_cache is not None:
        told = f"`use_cache` is false: {known.no_cache}. `generate` reads the whole text again for each token"
        yield f"- {told}; another engine may decode other text."
    if known.no_left_padding is not None:
        told = f"Padding on the left gives other values: {known.no_left_padding}"
        yield f"- {told}. Generate from prompts of one length; to train, pad on the right."
    if kind != "harmony" and any(isinstance(one, MoE) and one.balancing == "aux" for one in architecture.blocks):
        yield "- A loss balanced its experts; to train it further with that, open it with `output_router_logits=True`."
    if tokenizer is None:
        yield "- There is no tokenizer in this folder."
    else:
        kind = "bytes" if tokenizer.kind == "byte" else "byte-level BPE"
        yield f"- Tokens: {kind}. Token {tokenizer.separator} stood before each document, and ends generation."
    if context is not None:
        yield f"- It was trained on sequences of {context} tokens; what it does beyond them was not measured."
    yield ""


def _training(origin: Origin) -> Iterator[str]:
    yield from ("## Training", origin.text, "")
    if origin.results:
        yield from ("| column | value | unit |", "|---|---|---|")
        yield from (f"| {name} | {value} | {unit} |" for name, value, unit in origin.results)
        yield ""
    yield from ("## How to make it again", *_block("sh", "\n".join(origin.commands)))
    yield from ("`recipe.yaml`:", *_block("yaml", origin.recipe))


def _block(language: str, text: str) -> Iterator[str]:
    yield from ("", f"```{language}", text.rstrip("\n"), "```", "")
