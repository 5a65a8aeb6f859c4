"""How even a nano mixture's load is after the demo's 96 steps, for steps of the balancing bias of several sizes."""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import ROOT, write_result
from harmony_core.architecture import Architecture
from harmony_core.data import prepare
from harmony_core.search.config import Config
from harmony_core.training.trainer import Conduct, train

# None is no balancing at all.
RATES = (None, 0.001, 0.003, 0.01, 0.03, 0.1)
SEEDS = (0, 1)
MIXER = {"kind": "gqa", "num_heads": 4, "head_dim": 32, "num_kv_heads": 2}


def architecture(vocab_size: int, rate: float | None) -> Architecture:
    """Four layers, the mixtures at the two ends of what the nano space offers."""
    balancing: dict[str, Any] = {"balancing": "none"} if rate is None else {"balancing": "bias"}
    if rate is not None:
        balancing["bias_update_rate"] = rate
    few = {"kind": "moe", "n_routed": 4, "top_k": 2, "d_expert": 192, **balancing}
    many = {"kind": "moe", "n_routed": 16, "top_k": 2, "d_expert": 192, **balancing}
    blocks = [MIXER, few, MIXER, many] * 2
    return Architecture.parse({"d_model": 128, "vocab_size": vocab_size, "blocks": blocks})


def measure(config: Config, folder: Path, vocab_size: int, rate: float | None, seed: int) -> dict[str, Any]:
    """Imbalance of the worst block: its busiest expert's share over an even one."""
    imbalance: list[float] = []
    conduct = Conduct(on_step=lambda _, losses: imbalance.append(losses.load_imbalance))
    recipe = config.recipe.model_copy(update={"precision": "fp32"})
    found = train(architecture(vocab_size, rate), recipe, folder, init_seed=seed, data_seed=seed, conduct=conduct)
    quarter = len(imbalance) // 4
    return {
        "bias_update_rate": rate,
        "rate_times_steps": None if rate is None else round(rate * len(imbalance), 4),
        "seed": seed,
        "imbalance_by_quarter": [
            round(statistics.fmean(imbalance[start : start + quarter]), 3)
            for start in range(0, len(imbalance) - quarter + 1, quarter)
        ],
        "val_bits_per_byte": found.val_bits_per_byte,
    }


def main() -> int:
    torch.set_num_threads(1)
    config = Config.from_yaml(ROOT / "config" / "nano.yaml")
    with tempfile.TemporaryDirectory() as scratch:
        data = prepare(config.data, Path(scratch))
        folder = Path(scratch) / data.id
        runs = [measure(config, folder, data.vocab_size, rate, seed) for rate in RATES for seed in SEEDS]
    for run in runs:
        print(run)
    write_result("balancing", {"steps": config.recipe.num_steps, "data": data.source, "runs": runs})
    return 0


if __name__ == "__main__":
    sys.exit(main())
