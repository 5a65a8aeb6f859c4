"""From a model of `transformers`, or its configuration alone, to ours."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor

from harmony_core.architecture import Architecture
from harmony_core.errors import UserError
from harmony_core.interop.hf.families import FAMILIES
from harmony_core.interop.hf.family import Family
from harmony_core.interop.hf.fields import LEFT
from harmony_core.interop.hf.library import transformers
from harmony_core.interop.hf.unsupported import refusal
from harmony_core.interop.hf.weights import load
from harmony_core.models.lm import HybridLM
from harmony_core.plugins import find

_LOG = logging.getLogger(__name__)

# Families under another name, whose published code `transformers` has as a class of its own.
SAME_AS = {"kimi_k2": "deepseek_v3"}


def architecture_from_config(hf_config: Any) -> Architecture:
    """The architecture that a configuration of `transformers` describes.

    Every field that its class has is used, known not to change what the model computes, or refused. What acts in
    training alone, such as a dropout, and fields that the class has not, which its model cannot read, are left out with
    a warning. How weights are quantised and heads that predict further tokens change no architecture. Of a model of
    several modalities it is the language model.

    Args:
        hf_config: a `PreTrainedConfig` of one of `FAMILIES`.

    Raises:
        UserError: it is no configuration, of an unknown family, or has a field or value that is not supported; names
            the field and what is allowed.
    """
    config = language_config(hf_config)
    return family_of(config).architecture(config.to_dict())


def language_config(hf_config: Any) -> Any:
    """The configuration of the language model, under the name by which the family is known."""
    package = transformers()
    if not isinstance(hf_config, package.PreTrainedConfig):
        fix = "use a PreTrainedConfig, such as AutoConfig.from_pretrained gives"
        raise UserError("hf_config", f"a {type(hf_config).__name__}", fix)
    if hf_config.model_type in SAME_AS:
        return renamed(hf_config.to_dict())
    if find("families", hf_config.model_type, FAMILIES) is None:
        return hf_config.get_text_config()
    return hf_config


def renamed(values: dict[str, Any]) -> Any:
    """A configuration from its fields, of the class whose model it is."""
    model_type = SAME_AS.get(values["model_type"], values["model_type"])
    return transformers().CONFIG_MAPPING[model_type].from_dict({**values, "model_type": model_type})


def family_of(hf_config: Any) -> Family:
    """The family of a configuration of a language model."""
    family = find("families", hf_config.model_type, FAMILIES)
    if family is None:
        raise UserError("model_type", hf_config.model_type, refusal(hf_config.model_type, FAMILIES))
    return family


def from_hf(hf_model: Any) -> HybridLM:
    """Our model with a copy of the weights, in fp32 on the CPU; training or evaluating as `hf_model` is.

    Args:
        hf_model: a `...ForCausalLM` of one of `FAMILIES`, with values in any floating-point type.

    Raises:
        UserError: as `architecture_from_config`; or it is no such model, or a tensor is missing, of another shape
            than its configuration says, or one too many, or a head is not tied that its configuration ties.
    """
    if not isinstance(hf_model, transformers().PreTrainedModel):
        fix = "use a PreTrainedModel, such as AutoModelForCausalLM.from_pretrained gives"
        raise UserError("hf_model", f"a {type(hf_model).__name__}", fix)
    config = language_config(hf_model.config)
    family = family_of(config)
    if not any(cls.__name__ == family.model_class for cls in type(hf_model).__mro__):
        raise UserError("hf_model", f"a {type(hf_model).__name__}", f"use {family.model_class}")
    values = config.to_dict()
    model = HybridLM(family.architecture(values))
    for name in LEFT:
        if values.get(name):
            _LOG.warning(
                "%s.%s: left out; weights are read as they are, without further heads", config.model_type, name
            )
    theirs = hf_model.state_dict()
    if model.architecture.tie_embeddings:
        _check_tied(theirs.pop("lm_head.weight", None), theirs.get(family.embedding), family.model_class)
    weights = list(family.variant(values).weights(model.architecture))
    ours = {**model.state_dict(), **dict(model.named_parameters())}
    declared = {weight.ours for weight in weights} | {name for name, _ in model.named_parameters()}
    load(weights, {name: ours[name] for name in declared}, theirs, family.model_class)
    return model.train(hf_model.training)


def _check_tied(head: Tensor | None, embedding: Tensor | None, where: str) -> None:
    """Refuses a head of its own under a configuration that ties it; a tensor that is missing is `load`'s to name."""
    if head is None or embedding is None or head.data_ptr() == embedding.data_ptr() or head.is_meta:
        return
    if head.shape != embedding.shape or not torch.equal(head.to(embedding), embedding):
        fix = "the configuration ties the two; set its tie_word_embeddings to False"
        raise UserError(f"{where}.lm_head.weight", "not the embedding", fix)
