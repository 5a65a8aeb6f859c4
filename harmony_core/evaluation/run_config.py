"""The configuration of one training by hand, which is kept like a search of one candidate. No torch."""

from __future__ import annotations

from typing import Any

from harmony_core.machines import Layout
from harmony_core.search.config import Config

_OBJECTIVES = ({"name": "val_bits_per_byte"}, {"name": "num_active_params"})
# A configuration has a space even where nothing is searched; this one asks for one sequence at most.
_NO_SPACE = {
    "depth": {"min": 1, "max": 1},
    "d_model": [64],
    "blocks": {
        "mha": {"domains": {"num_heads": [4], "head_dim": [16]}},
        "mlp": {"domains": {"d_ff": [128]}},
    },
}


def run_config(name: str, seed: int, sections: dict[str, Any], layout: Layout, machine: str) -> Config:
    """The configuration of a run.

    Args:
        name: of its folder.
        seed: root of its random numbers.
        sections: `recipe` and `data`, as in a configuration file.
        layout: how it is spread; may differ when it goes on.
        machine: whose roofline stands for the reference's latency, which nothing here needs.
    """
    search = {"name": name, "seed": seed, "generations": 1, "population": 2, "objectives": _OBJECTIVES}
    execution = {
        "candidates_per_job": 1,
        "gpus_per_candidate": layout.num_processes,
        "layout": layout.model_dump(),
    }
    latency = {"source": f"predicted:{machine}"}
    return Config.parse({"search": search, "space": _NO_SPACE, "latency": latency, "execution": execution, **sections})
