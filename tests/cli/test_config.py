"""`harmony config check`: what it prints of a configuration that is right, and of a space that holds nothing."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from harmony_core.cli import config
from harmony_core.errors import UserError
from harmony_core.resources import shipped
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
        "mine.yaml:8: space.constraints.num_active_params: max 1000: "
        f"the space has no architecture below {least}; raise it"
    )


def test_a_mistake_in_the_spaces_own_file_has_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "space.yaml").write_text("depth: {min: 1, max: 2}\nd_model: [32]\nblocks:\n  mha:\n    domain: {}\n")
    with pytest.raises(UserError) as raised:
        config.check(written(tmp_path, "space: space.yaml\n"))
    assert str(raised.value).startswith("space.yaml:5: blocks.mha.domain: ")


def told(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, **options: Any) -> dict[str, str]:
    """What the check says of a search, by name."""
    config.check(written(tmp_path, SPACE.replace("balancing: [bias]", "balancing: [aux]") + text), **options)
    found: dict[str, str] = {}
    for line in capsys.readouterr().out.splitlines():
        warned = line.startswith("warning: ")
        name, text = (line.split(": ")[1], line) if warned else (line[:33].strip(), line[33:])
        found[name] = "\n".join(one for one in (found.get(name), text) if one)
    return found


RECIPE = "tokens: 409600, batch_size: 16, sequence_length: 128"
WITHOUT_PROMOTION = "promote: {top_k: 0}\nlatency: {source: predicted:cpu}\n"


def test_what_a_search_will_take(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    search = "search: {generations: 3, population: 8}\n"
    once = told(tmp_path, capsys, f"{search}recipe: {{{RECIPE}}}\n{WITHOUT_PROMOTION}", workers=2)
    assert (once["candidates"], once["promoted"]) == ("24 in 3 generations", "nobody")
    assert once["training tokens"] == "9.83M"
    rates = "learning_rate: [1.0e-3, 3.0e-3]"
    twice = told(tmp_path, capsys, f"{search}recipe: {{{RECIPE}, {rates}}}\n{WITHOUT_PROMOTION}", workers=4)
    assert twice["candidates"] == "24 in 3 generations, each trained at 2 rates"
    assert hours(twice) == pytest.approx(2 * hours(once), rel=0.02)
    # Twice the work in twice as many places.
    assert twice["time, estimated"].replace("4 at once", "2 at once") == once["time, estimated"]
    promoting = (
        f"{search}recipe: {{{RECIPE}}}\nlatency: {{source: predicted:cpu}}\npromote: {{top_k: 2, replicates: 3}}\n"
    )
    more = told(tmp_path, capsys, promoting, workers=2)
    assert more["promoted"] == "6 trainings on fresh seeds"
    # A quarter more trainings, which are read on two splits.
    assert hours(once) * 1.25 < hours(more) < hours(once) * 1.4


def hours(found: dict[str, str]) -> float:
    return float(found["device hours, estimated"].split(":")[0])


@pytest.mark.parametrize(
    ("recipe", "key", "words"),
    [
        (f"{RECIPE}, learning_rate: 0.5", "recipe.learning_rate", "a step is larger than a weight of width 32"),
        (
            f"{RECIPE}, learning_rate: 1.0e-6",
            "recipe.learning_rate",
            "in 200 steps it moves a weight of width 32 by 0.1%",
        ),
        (f"{RECIPE}, warmup_tokens: 327000", "recipe.warmup_tokens", "160 of 200 steps are warm-up"),
        (
            "tokens: 6144, batch_size: 16, sequence_length: 128, warmup_tokens: 2049, decay_fraction: 0.4",
            "recipe.warmup_tokens",
            "overlap in 3",
        ),
        (f"{RECIPE}, decay_fraction: 0", "recipe.decay_fraction", "nothing decays"),
        (f"{RECIPE}, validation_tokens: 4096", "recipe.validation_tokens", "a standard error of about 0.044"),
        (
            f"{RECIPE}, validation_tokens: 4000000",
            "recipe.validation_tokens",
            "the held-out splits have only about 372137",
        ),
    ],
)
def test_what_is_hardly_ever_meant_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], recipe: str, key: str, words: str
) -> None:
    assert words in told(tmp_path, capsys, f"recipe: {{{recipe}}}\n{WITHOUT_PROMOTION}")[key]


def test_own_text_that_is_too_short_is_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("a" * 100_000)
    text = f"data: {{source: files, paths: [{tmp_path}/a.txt]}}\nrecipe: {{{RECIPE}}}\n{WITHOUT_PROMOTION}"
    assert "have only about 5000" in told(tmp_path, capsys, text)["recipe.validation_tokens"]


def test_the_demo_has_nothing_to_warn_of(capsys: pytest.CaptureFixture[str]) -> None:
    config.check(shipped("config/nano.yaml"))
    assert "warning" not in capsys.readouterr().out
