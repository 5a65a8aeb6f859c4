"""What a candidate is: blocks, architecture, identity, parameters, FLOPs, bytes. Imports no torch."""

import importlib
import pkgutil

from harmony_core.architecture.architecture import SCHEMA_VERSION, Architecture
from harmony_core.architecture.attention import Attention
from harmony_core.architecture.block import (
    Block,
    Exchange,
    Mode,
    Role,
    block_class,
    block_from_dict,
    block_kinds,
    is_block_kind,
)
from harmony_core.architecture.gated_deltanet import GatedDeltaNet
from harmony_core.architecture.gqa import GQA
from harmony_core.architecture.hyena import Hyena
from harmony_core.architecture.hyena_li import HyenaLI
from harmony_core.architecture.hyena_mr import HyenaMR
from harmony_core.architecture.hyena_se import HyenaSE
from harmony_core.architecture.kda import KDA
from harmony_core.architecture.mamba import Mamba
from harmony_core.architecture.mamba2 import Mamba2
from harmony_core.architecture.mha import MHA
from harmony_core.architecture.mla import MLA
from harmony_core.architecture.mlp import MLP
from harmony_core.architecture.moe import MoE
from harmony_core.architecture.mqa import MQA
from harmony_core.architecture.parallel import Parallel
from harmony_core.architecture.rope import RopeScaling
from harmony_core.architecture.short_conv import ShortConv
from harmony_core.architecture.swa import SWA

__all__ = [
    "GQA",
    "KDA",
    "MHA",
    "MLA",
    "MLP",
    "MQA",
    "SCHEMA_VERSION",
    "SWA",
    "Architecture",
    "Attention",
    "Block",
    "Exchange",
    "GatedDeltaNet",
    "Hyena",
    "HyenaLI",
    "HyenaMR",
    "HyenaSE",
    "Mamba",
    "Mamba2",
    "MoE",
    "Mode",
    "Parallel",
    "Role",
    "RopeScaling",
    "ShortConv",
    "block_class",
    "block_from_dict",
    "block_kinds",
    "is_block_kind",
]

# Every kind of block is known then, those that no line above names too, in the order of their names.
for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
