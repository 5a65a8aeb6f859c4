"""A block of every kind at any head width, and the sizes at which each is compared. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.gpu_check.settings import Setting
from harmony_core.architecture import block_kinds

Fields = dict[str, Any]
HEAD_WIDTHS = (16, 32, 64, 96, 128, 192, 256)
HEADS = 4
# Kinds without heads come at this one alone.
USUAL = 64
# FlexAttention is compiled, mamba-ssm's kernels are tuned, for every width anew.
_SLOW_TO_BEGIN = ("swa", "mamba2", "parallel")


@dataclass(frozen=True)
class Case:
    """A block and what it reads.

    Args:
        block: its fields.
        d_model: D.
        head_width: of queries, keys and values, or of a scan's heads; None where the kind has none.
        length: T.
        batch_size: B.
        note: what is special about it.
    """

    block: Fields
    d_model: int
    head_width: int | None
    length: int
    batch_size: int = 2
    note: str = ""


def blocks(d_model: int, head: int) -> dict[str, Fields]:
    """The fields of a block of each kind.

    Args:
        d_model: D.
        head: width of a head, for the kinds that have heads.
    """
    attention = {"num_heads": HEADS, "head_dim": head}
    grouped = {**attention, "num_kv_heads": HEADS // 2}
    latent = {"kv_lora_rank": d_model // 4, "qk_nope_head_dim": head, "qk_rope_head_dim": head // 2}
    scan = {"head_dim": head, "inner_width": HEADS * head}
    filters = {"num_groups": d_model // 4}
    return {
        "mha": attention,
        "mqa": attention,
        "gqa": grouped,
        "swa": {**grouped, "window": 33},
        "mla": {"num_heads": HEADS, **latent, "v_head_dim": head},
        "mamba": {},
        "mamba2": scan,
        "gated_deltanet": {
            **{"num_key_heads": HEADS // 2, "num_value_heads": HEADS},
            **{"key_head_dim": head, "value_head_dim": head},
        },
        "kda": attention,
        "parallel": {"attention": grouped, "ssm": {**scan, "norm": "none"}},
        "short_conv": {},
        "hyena_se": filters,
        "hyena_mr": filters,
        "hyena_li": {},
        "mlp": {"d_ff": 2 * d_model},
        "moe": {"n_routed": 8, "top_k": 2, "d_expert": d_model},
    }


def block(kind: str, d_model: int, head: int) -> Fields:
    """One of `blocks`, with its kind.

    Raises:
        KeyError: a kind that this file does not know.
    """
    return {"kind": kind, **blocks(d_model, head)[kind]}


def kinds() -> list[str]:
    """Every kind; those whose kernels a GPU compiles or tunes at first use last, in case that time runs out."""
    return sorted(block_kinds(), key=_SLOW_TO_BEGIN.__contains__)


def cases(setting: Setting) -> list[Case]:
    """Every kind at an odd length; at other lengths and widths of a head; experts of whom most have no token."""
    d_model, usual, odd = setting.choose((256, USUAL, 257), (32, 16, 19))
    found = [_case(kind, d_model, usual, odd) for kind in kinds()]
    for experts in ({"n_routed": 16, "top_k": 1}, {"n_routed": 16, "top_k": 1, "n_shared": 1}):
        fields = {**block("moe", d_model, usual), **experts}
        found.append(Case(fields, d_model, None, 3, 1, "experts without a token"))
    found += [_case(kind, d_model, usual, length) for length in setting.choose((1, 63, 1025), (1,)) for kind in kinds()]
    widths = [width for width in setting.choose(HEAD_WIDTHS, (24,)) if width != usual]
    found += [_case(kind, d_model, width, odd) for width in widths for kind in kinds() if _has_heads(kind)]
    return sorted(found, key=lambda case: case.block["kind"] in _SLOW_TO_BEGIN)


def _case(kind: str, d_model: int, head: int, length: int) -> Case:
    return Case(block(kind, d_model, head), d_model, head if _has_heads(kind) else None, length)


def _has_heads(kind: str) -> bool:
    return blocks(256, 16)[kind] != blocks(256, 32)[kind]
