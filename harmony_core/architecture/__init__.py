"""What a candidate is: blocks, architecture, identity, parameters, FLOPs, bytes. Imports no torch."""

from harmony_core.architecture.architecture import SCHEMA_VERSION, Architecture
from harmony_core.architecture.attention import Attention
from harmony_core.architecture.block import Block, Mode, Role, block_class, block_from_dict, block_kinds
from harmony_core.architecture.gqa import GQA
from harmony_core.architecture.hyena import Hyena
from harmony_core.architecture.hyena_li import HyenaLI
from harmony_core.architecture.hyena_mr import HyenaMR
from harmony_core.architecture.hyena_se import HyenaSE
from harmony_core.architecture.mamba import Mamba
from harmony_core.architecture.mamba2 import Mamba2
from harmony_core.architecture.mha import MHA
from harmony_core.architecture.mla import MLA
from harmony_core.architecture.mlp import MLP
from harmony_core.architecture.moe import MoE
from harmony_core.architecture.mqa import MQA
from harmony_core.architecture.rope import RopeScaling
from harmony_core.architecture.swa import SWA

__all__ = [
    "GQA",
    "MHA",
    "MLA",
    "MLP",
    "MQA",
    "SCHEMA_VERSION",
    "SWA",
    "Architecture",
    "Attention",
    "Block",
    "Hyena",
    "HyenaLI",
    "HyenaMR",
    "HyenaSE",
    "Mamba",
    "Mamba2",
    "MoE",
    "Mode",
    "Role",
    "RopeScaling",
    "block_class",
    "block_from_dict",
    "block_kinds",
]
