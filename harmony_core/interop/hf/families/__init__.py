"""The model families, one file each; a new one joins by an entry here, or by `register` from outside."""

from __future__ import annotations

from typing import TypeVar

from harmony_core.interop.hf.families.bamba import Bamba
from harmony_core.interop.hf.families.deepseek_v2 import DeepseekV2
from harmony_core.interop.hf.families.deepseek_v3 import DeepseekV3
from harmony_core.interop.hf.families.falcon_h1 import FalconH1
from harmony_core.interop.hf.families.gemma3 import Gemma3
from harmony_core.interop.hf.families.gpt_oss import GptOss
from harmony_core.interop.hf.families.granitemoehybrid import GraniteMoeHybrid
from harmony_core.interop.hf.families.jamba import Jamba
from harmony_core.interop.hf.families.kimi_linear import KimiLinear
from harmony_core.interop.hf.families.lfm2 import Lfm2
from harmony_core.interop.hf.families.lfm2_moe import Lfm2Moe
from harmony_core.interop.hf.families.lfm3 import Lfm3
from harmony_core.interop.hf.families.llama import Llama
from harmony_core.interop.hf.families.mamba import MambaFamily
from harmony_core.interop.hf.families.mamba2 import Mamba2Family
from harmony_core.interop.hf.families.mimo_v2_flash import MiMoV2Flash
from harmony_core.interop.hf.families.minimax_m2 import MiniMaxM2
from harmony_core.interop.hf.families.mistral import Mistral
from harmony_core.interop.hf.families.mixtral import Mixtral
from harmony_core.interop.hf.families.nemotron_h import NemotronH
from harmony_core.interop.hf.families.olmo_hybrid import OlmoHybrid
from harmony_core.interop.hf.families.qwen3 import Qwen3
from harmony_core.interop.hf.families.qwen3_5 import Qwen35, Qwen35Moe
from harmony_core.interop.hf.families.qwen3_moe import Qwen3Moe
from harmony_core.interop.hf.families.qwen3_next import Qwen3Next
from harmony_core.interop.hf.family import Family

# `export` tries them in this order, the plainest first.
FAMILIES: dict[str, Family] = {
    family.model_type: family
    for family in (
        Llama(),
        Mistral(),
        Qwen3(),
        Mixtral(),
        Qwen3Moe(),
        DeepseekV3(),
        DeepseekV2(),
        Mamba2Family(),
        MambaFamily(),
        Jamba(),
        Bamba(),
        GraniteMoeHybrid(),
        NemotronH(),
        Qwen3Next(),
        KimiLinear(),
        Lfm2(),
        Lfm2Moe(),
        GptOss(),
        FalconH1(),
        OlmoHybrid(),
        MiniMaxM2(),
        Qwen35(),
        Qwen35Moe(),
        Gemma3(),
        Lfm3(),
        MiMoV2Flash(),
    )
}
_F = TypeVar("_F", bound=type[Family])


def register(cls: _F) -> _F:
    """Makes a family of another distribution known; `export` tries it last."""
    if cls.model_type in FAMILIES:
        raise ValueError(f"family {cls.model_type!r} is registered twice")
    FAMILIES[cls.model_type] = cls()
    return cls
