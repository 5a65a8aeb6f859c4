"""`harmony config check`: what it prints of a configuration that is right, and of a space that holds nothing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from harmony_core.cli import config
from harmony_core.errors import UserError
from harmony_core.search.config import Config

SPACE = """
space:
  depth: {min: 1, max: 2}
  d_model: [32]
  blocks:
    mha: {domains: {num_heads: [2], head_dim: [16]}}
    moe: {domains: {n_routed: [4], top_k: [2], d_expert: [16], balancing: [bias]}}
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


def test_the_hash_comes_first_and_the_prior_after_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, SPACE + "recipe: {tokens: 393216}\n")
    config.check(path)
    first, *prior = capsys.readouterr().out.splitlines()
    assert first == Config.from_yaml(path).resolved().hash
    assert prior[0].startswith("prior of 200 samples")
    assert "token mixers                     mha 100%" in prior
    assert "with experts                     100%" in prior
    assert prior[-1].startswith("warning: space.blocks.moe.domains.bias_update_rate: 0.001 over 96 steps evens no load")


def test_a_space_that_its_budget_empties_is_refused_at_once(tmp_path: Path) -> None:
    path = written(tmp_path, SPACE + "  constraints: {num_active_params: {max: 1000}}\n")
    begin = time.process_time()
    with pytest.raises(UserError) as raised:
        config.check(path)
    assert time.process_time() - begin < 1
    least = 257 * 32 + 3 * 32 + 4 * 32 * 32 + 4 * 32 + 2 * 3 * 32 * 16
    assert str(raised.value) == (
        f"mine.yaml:8: space.constraints.num_active_params: max 1000: the space has no architecture below {least}; raise it"
    )
