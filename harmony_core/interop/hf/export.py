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
from harmony_core.errors import UserError
from harmony_core.interop.hf.families import FAMILIES
from harmony_core.interop.hf.family import DoesNotFit, Family
from harmony_core.interop.hf.library import transformers
from harmony_core.interop.hf.normal_form import normal_form
from harmony_core.models.lm import HybridLM
from harmony_core.models.parameter import declared_buffers

# A model here has no longest context; configurations want a number, which nothing computes with.
LONGEST_CONTEXT = 131_072
CODE = ("configuration_harmony.py", "modeling_harmony.py")


def export(model: HybridLM, directory: Path | str) -> str:
    """Writes `config.json` and `model.safetensors`, fp32, and the model's code where no native class fits.

    The native class of the first family that computes exactly this architecture is taken. Where none does, the
    folder gets `modeling_harmony.py` and `configuration_harmony.py`, which import torch and `transformers` alone, and
    is opened with `trust_remote_code=True`. How a mixture is balanced in training is no part of either. Where a hybrid
    class cannot cache without a layer of attention, the folder says `use_cache` false: `generate` is right, and slow.

    Args:
        model: ours, with its values.
        directory: a new folder, or an empty one.

    Returns:
        The family's `model_type`, or `harmony`.

    Raises:
        UserError: the folder cannot be made, or is not empty, or the disk is full; or a block is unknown to the code.
    """
    folder = _prepared(Path(directory))
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        fitting = native_config(model.architecture)
        kind = "harmony" if fitting is None else fitting[0].model_type
        exported = _custom(model) if fitting is None else _native(model, *fitting)
        try:
            exported.save_pretrained(scratch, max_shard_size=1 << 62)
        except SafetensorError as error:
            # Its own kind, of a full disk too.
            raise UserError("directory", folder, f"{error}; free some space and run again") from None
        if fitting is None:
            for name in CODE:
                shutil.copyfile(Path(__file__).parent / "exported" / name, Path(scratch) / name)
        # The configuration comes last: what can be opened is whole.
        paths = sorted(Path(scratch).iterdir(), key=lambda path: path.name == "config.json")
        # Safetensors keeps weights to their owner; a file's mode is for the umask to say.
        usual = Path(scratch) / ".usual"
        usual.touch()
        for path in paths:
            path.chmod(usual.stat().st_mode)
            os.replace(path, folder / path.name)
    return kind


def native_config(architecture: Architecture) -> tuple[Family, Any] | None:
    """The first family that computes exactly this architecture, and its configuration; None if there is none."""
    wanted = normal_form(architecture)
    for family in FAMILIES.values():
        try:
            fields = family.fields_of(architecture)
        except DoesNotFit:
            continue
        config = _config(family, fields, architecture)
        if config is not None and normal_form(family.architecture(config.to_dict())) == wanted:
            return family, config
    return None


def longest_context(architecture: Architecture) -> int:
    """What the configuration says, from which YaRN's own check computes a factor, and dynamic scaling its base."""
    scalings = [getattr(block, "rope_scaling", None) for block in architecture.blocks]
    scaled = [one for one in scalings if one is not None and one.original_context]
    dynamic = [one.original_context for one in scaled if one.method == "dynamic"]
    return min(
        dynamic, default=max((int(one.factor * one.original_context) for one in scaled), default=LONGEST_CONTEXT)
    )


def _config(family: Family, fields: Mapping[str, Any], architecture: Architecture) -> Any:
    """The configuration, or None for one that `transformers` or the family refuses."""
    from huggingface_hub.errors import StrictDataclassError

    tokens = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    try:
        config = transformers().AutoConfig.for_model(
            family.model_type,
            dtype=torch.float32,
            max_position_embeddings=longest_context(architecture),
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
    # Shared experts of no width are tensors there too.
    theirs |= {name: torch.zeros(tensor.shape) for name, tensor in exported.state_dict().items() if not tensor.numel()}
    exported.load_state_dict(theirs, assign=True)
    if family.cache_needs_attention and not model.architecture.kv_bytes_per_token():
        exported.config.use_cache = exported.generation_config.use_cache = False
    return exported


def _custom(model: HybridLM) -> Any:
    from harmony_core.interop.hf.exported.configuration_harmony import HarmonyConfig
    from harmony_core.interop.hf.exported.modeling_harmony import MODULES, HarmonyForCausalLM

    unknown = next((block.kind for block in model.architecture.blocks if block.kind not in MODULES), None)
    if unknown is not None:
        raise UserError("blocks", unknown, f"the exported code has no such block; use {', '.join(MODULES)}")
    values = _read_values(model)
    values["embedding.weight"] = values.pop("embedding")
    values["head.weight"] = values.pop("head", values["embedding.weight"])
    with torch.device("meta"):
        exported = HarmonyForCausalLM(custom_config(model.architecture))
    exported.load_state_dict(values, assign=True)
    exported.config.auto_map = {
        "AutoConfig": f"configuration_harmony.{HarmonyConfig.__name__}",
        "AutoModelForCausalLM": f"modeling_harmony.{HarmonyForCausalLM.__name__}",
    }
    return exported


def custom_config(architecture: Architecture) -> Any:
    """The configuration of the exported code: every hyper-parameter, none left to a default."""
    from harmony_core.interop.hf.exported.configuration_harmony import HarmonyConfig

    head = architecture.model_dump(exclude={"blocks", "d_model", "tie_embeddings"})
    return HarmonyConfig(
        hidden_size=architecture.d_model,
        tie_word_embeddings=architecture.tie_embeddings,
        blocks=[{"kind": block.kind, **block.model_dump(mode="json")} for block in architecture.blocks],
        dtype=torch.float32,
        max_position_embeddings=longest_context(architecture),
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
