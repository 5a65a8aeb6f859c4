"""Tiny models of every family from a seed, every value of them drawn too."""

from __future__ import annotations

import math
import random

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from harmony_core.interop.hf.families import FAMILIES
from tests.interop.random_configs import DRAWS, VOCAB

SEEDS = range(6)
# Families that store norms' weights as the difference from one.
CENTRED = ("qwen3_next", "qwen3_5_text", "qwen3_5_moe_text", "gemma3_text")
CASES = [(family, seed) for family in DRAWS for seed in SEEDS]


def random_config(family: str, seed: int) -> PreTrainedConfig:
    config = AutoConfig.for_model(family, **DRAWS[family](random.Random(f"{family} {seed}")))
    if getattr(config, "output_router_logits", False):
        # `transformers` would look for the logits of routers that are not there.
        blocks = FAMILIES[family].architecture(config.to_dict()).blocks
        config.output_router_logits = any(block.kind == "moe" for block in blocks)
    return config


def can_cache(family: str, seed: int) -> bool:
    """Whether `transformers` itself can: its hybrids cannot without a layer of attention."""
    blocks = FAMILIES[family].architecture(random_config(family, seed).to_dict()).blocks
    return family in ("mamba", "mamba2") or any(block.kv_elements_per_token() for block in blocks)


def random_model(family: str, seed: int) -> PreTrainedModel:
    return filled(random_config(family, seed), seed)


@torch.no_grad()
def filled(config: PreTrainedConfig, seed: int = 0) -> PreTrainedModel:
    """A model none of whose values is one that could be forgotten: no bias of zero, no norm of one."""
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", experts_implementation="eager").eval()
    generator, family = torch.Generator().manual_seed(seed), config.model_type
    tensors = {id(tensor): (name, tensor) for name, tensor in model.state_dict(keep_vars=True).items()}
    for name, tensor in tensors.values():
        drawn = torch.randn(tensor.shape, generator=generator)
        end = name.rpartition(".")[2]
        if end == "A_log":
            drawn = drawn.abs()
        elif family in CENTRED and "norm" in name and "linear_attn" not in name:
            # Stored as the difference from one.
            drawn = 0.3 * drawn
        elif end == "dt_bias" or name.endswith("dt_proj.bias"):
            drawn = drawn - 2
        elif tensor.dim() == 1 and ("norm" in name or end == "D"):
            drawn = 1 + 0.3 * drawn
        elif tensor.dim() == 1:
            drawn = 0.3 * drawn
        else:
            drawn = drawn / math.sqrt(tensor.shape[-1])
        tensor.copy_(drawn)
    return model


def random_tokens(batch: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(VOCAB, (batch, length), generator=torch.Generator().manual_seed(seed))
