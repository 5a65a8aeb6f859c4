"""From our model to a folder that `AutoModelForCausalLM.from_pretrained` opens."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from harmony_core.architecture import Architecture
from harmony_core.data import Tokenizer
from harmony_core.errors import UserError
from harmony_core.interop.hf.card import Origin, model_card
from harmony_core.interop.hf.caveats import Caveats, caveats
from harmony_core.interop.hf.families import FAMILIES
from harmony_core.interop.hf.family import DoesNotFit, Family
from harmony_core.interop.hf.library import transformers
from harmony_core.interop.hf.normal_form import normal_form
from harmony_core.interop.hf.tokenizer import check_tokenizer, write_tokenizer
from harmony_core.models.lm import HybridLM
from harmony_core.models.parameter import declared_buffers
from harmony_core.plugins import distribution_of, load

# What a configuration says where nobody knows what the model was trained on; nothing computes with it.
LONGEST_CONTEXT = 131_072
CODE = ("configuration_harmony.py", "modeling_harmony.py")
CARD = "README.md"


def export(
    model: HybridLM,
    directory: Path | str,
    *,
    tokenizer: Tokenizer | None = None,
    context: int | None = None,
    origin: Origin | None = None,
) -> str:
    """Writes a folder that `transformers` opens, and that its `generate` and `Trainer` take as it is.

    It holds `config.json`, `generation_config.json`, `model.safetensors` in fp32, a model card (`README.md`), and,
    where there is a tokenizer, `tokenizer.json` and `tokenizer_config.json`. The native class of the first family that
    computes exactly this architecture is taken. Where none does, the folder gets `modeling_harmony.py` and
    `configuration_harmony.py`, which import torch and `transformers` alone, and is opened with
    `trust_remote_code=True`. How a mixture is balanced in training is no part of either. Where a class decodes another
    text with its cache than without, or cannot, the folder says `use_cache` false: `generate` is right, and slow.

    Args:
        model: ours, with its values.
        directory: a new folder, or an empty one.
        tokenizer: what the model's tokens are; its separator ends generation.
        context: tokens of the sequences that it was trained on; None is unknown.
        origin: what the model card tells of its training.

    Returns:
        The family's `model_type`, or `harmony`.

    Raises:
        UserError: the folder cannot be made, or is not empty, or the disk is full; a block is unknown to the code; or
            the tokenizer has another number of tokens than the vocabulary.
    """
    if tokenizer is not None:
        check_tokenizer(tokenizer, model.architecture.vocab_size)
    fitting = native_config(model.architecture, context)
    if fitting is None:
        _check_blocks(model.architecture)
    kind = "harmony" if fitting is None else fitting[0].model_type
    folder = _prepared(Path(directory))
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        exported = _custom(model, context) if fitting is None else _native(model, *fitting)
        known = Caveats() if fitting is None else caveats(fitting[0], model.architecture)
        _set_generation(exported, tokenizer, known)
        try:
            exported.save_pretrained(scratch, max_shard_size=1 << 62)
        except SafetensorError as error:
            # This is our own kind of error, also for a full disk.
            raise UserError("directory", folder, f"{error}; free some space and run again") from None
        if fitting is None:
            for name in CODE:
                shutil.copyfile(Path(__file__).parent / "exported" / name, Path(scratch) / name)
        if tokenizer is not None:
            side = "left" if known.no_left_padding is None else "right"
            write_tokenizer(tokenizer, Path(scratch), exported.config.max_position_embeddings, side)
        card = model_card(model.architecture, kind, known, tokenizer, context, origin)
        (Path(scratch) / CARD).write_text(card, encoding="utf-8")
        # The configuration comes last, so that a folder that can be opened is whole.
        paths = sorted(Path(scratch).iterdir(), key=lambda path: path.name == "config.json")
        # Safetensors makes files that their owner alone can read; a file's mode is for the umask to say.
        usual = Path(scratch) / ".usual"
        usual.touch()
        for path in paths:
            path.chmod(usual.stat().st_mode)
            os.replace(path, folder / path.name)
    return kind


def native_config(architecture: Architecture, context: int | None = None) -> tuple[Family, Any] | None:
    """The first family that computes exactly this architecture, and its configuration; None if there is none."""
    if any(distribution_of("blocks", block.kind) for block in architecture.blocks):
        load("families", FAMILIES)
    wanted = normal_form(architecture)
    for family in FAMILIES.values():
        try:
            fields = family.fields_of(architecture)
        except DoesNotFit:
            continue
        config = _config(family, fields, longest_context(architecture, context))
        if config is not None and normal_form(family.architecture(config.to_dict())) == wanted:
            return family, config
    return None


def longest_context(architecture: Architecture, context: int | None) -> int:
    """What the configuration says: where rotary positions are scaled, what the scaling's own formula reads there.

    From it YaRN's check has a factor, and dynamic scaling its base.
    """
    # Of heads beside a state space too.
    heads = (getattr(block, "attention", block) for block in architecture.blocks)
    scalings = [getattr(one, "rope_scaling", None) for one in heads]
    scaled = [one for one in scalings if one is not None and one.original_context]
    dynamic = [one.original_context for one in scaled if one.method == "dynamic"]
    stretched = [int(one.factor * one.original_context) for one in scaled]
    return min(dynamic, default=max(stretched, default=context or LONGEST_CONTEXT))


def _config(family: Family, fields: Mapping[str, Any], longest: int) -> Any:
    """The configuration, or None for one that `transformers` or the family refuses."""
    from huggingface_hub.errors import StrictDataclassError

    tokens = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    try:
        config = transformers().AutoConfig.for_model(
            family.model_type,
            dtype=torch.float32,
            max_position_embeddings=longest,
            **tokens,
            **fields,
        )
        family.architecture(config.to_dict())
    except (StrictDataclassError, UserError):
        return None
    return config


def _native(model: HybridLM, family: Family, config: Any) -> Any:
    ours = _read_values(model)
    weights = family.variant(config.to_dict()).weights(model.architecture)
    theirs = {name: tensor for weight in weights for name, tensor in weight.split(ours[weight.ours]).items()}
    if model.architecture.tie_embeddings:
        theirs["lm_head.weight"] = theirs[family.embedding]
    with torch.device("meta"):
        exported = transformers().AutoModelForCausalLM.from_config(config)
    # transformers has tensors for shared experts even if they have no width.
    theirs |= {name: torch.zeros(tensor.shape) for name, tensor in exported.state_dict().items() if not tensor.numel()}
    exported.load_state_dict(theirs, assign=True)
    return exported


def _set_generation(exported: Any, tokenizer: Tokenizer | None, known: Caveats) -> None:
    """Where `generate` ends, and whether it caches; no loss of routers, which it cannot compute of a padded batch."""
    if getattr(exported.config, "output_router_logits", False):
        exported.config.output_router_logits = False
    if known.no_cache is not None:
        exported.config.use_cache = exported.generation_config.use_cache = False
    if tokenizer is None:
        return
    for one in (exported.config, exported.generation_config):
        one.bos_token_id = one.eos_token_id = tokenizer.separator
    # Not in the configuration: a class would give the separator's embedding no gradient.
    exported.generation_config.pad_token_id = tokenizer.separator


def _custom(model: HybridLM, context: int | None) -> Any:
    from harmony_core.interop.hf.exported.configuration_harmony import HarmonyConfig
    from harmony_core.interop.hf.exported.modeling_harmony import HarmonyForCausalLM, HarmonyModel

    values = _read_values(model)
    embedding = values.pop("embedding")
    head = values.pop("head", embedding)
    values = {f"model.{name}": value for name, value in values.items()}
    values |= {"model.embedding.weight": embedding, "head.weight": head}
    with torch.device("meta"):
        exported = HarmonyForCausalLM(custom_config(model.architecture, context))
    exported.load_state_dict(values, assign=True)
    exported.config.auto_map = {
        "AutoConfig": f"configuration_harmony.{HarmonyConfig.__name__}",
        "AutoModel": f"modeling_harmony.{HarmonyModel.__name__}",
        "AutoModelForCausalLM": f"modeling_harmony.{HarmonyForCausalLM.__name__}",
    }
    return exported


def _check_blocks(architecture: Architecture) -> None:
    """Refuses a block that the exported code has not, with the distribution that it is of."""
    from harmony_core.interop.hf.exported.modeling_harmony import MODULES

    for kind in (block.kind for block in architecture.blocks if block.kind not in MODULES):
        plugin = distribution_of("blocks", kind)
        whose = "" if plugin is None else f"a block of {plugin}, and "
        fix = f"add a family to harmony.families whose class computes it, or use {', '.join(MODULES)}"
        raise UserError("blocks", kind, f"{whose}the exported code has no such block; {fix}")


def custom_config(architecture: Architecture, context: int | None = None) -> Any:
    """The configuration of the exported code: every hyper-parameter, none left to a default."""
    from harmony_core.interop.hf.exported.configuration_harmony import HarmonyConfig

    head = architecture.model_dump(exclude={"blocks", "d_model", "tie_embeddings"})
    return HarmonyConfig(
        hidden_size=architecture.d_model,
        tie_word_embeddings=architecture.tie_embeddings,
        blocks=[{"kind": block.kind, **block.model_dump(mode="json")} for block in architecture.blocks],
        dtype=torch.float32,
        max_position_embeddings=longest_context(architecture, context),
        **head,
    )


def _read_values(model: HybridLM) -> dict[str, Tensor]:
    """All tensors on the CPU, floating ones in fp32; one that nothing reads is zero, for native classes read it."""
    values = {
        name: x.detach().to("cpu", torch.float32 if x.is_floating_point() else x.dtype).contiguous()
        for name, x in model.state_dict().items()
    }
    for name, buffer, read in declared_buffers(model):
        if not read:
            values[name] = torch.zeros(buffer.shape)
    return values


def _prepared(folder: Path) -> Path:
    """An empty folder; what is there already is never written into."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = next(folder.iterdir(), None)
    except OSError as error:
        raise UserError("directory", folder, f"{error.strerror}; name a folder that can be made") from None
    if found is not None:
        raise UserError("directory", folder, f"it holds {found.name} already; name a new folder, or an empty one")
    return folder
