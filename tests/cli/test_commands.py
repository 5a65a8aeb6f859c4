"""What the command says: numbers, costs of presets, mistakes in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harmony_core.base import read_yaml
from harmony_core.cli import config
from harmony_core.cli.format import count, seconds
from harmony_core.errors import UserError


def harmony(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-m", "harmony_core", *arguments]
    return subprocess.run(call, capture_output=True, text=True, check=False, cwd=cwd)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (771, "771"), (999.6e3, "1000K"), (1_235_814_400, "1.24B"), (352, "352"), (46_702_792_704, "46.7B")],
)
def test_counts_have_three_digits(value: float, text: str) -> None:
    assert count(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (2.5, "2.5 s"), (0.0123, "12.3 ms"), (4.2e-5, "42 us"), (0.9997, "1 s"), (1234.5, "1234 s")],
)
def test_seconds_have_a_unit(value: float | None, text: str) -> None:
    assert seconds(value) == text


def test_cost_of_a_preset_is_the_published_one() -> None:
    done = harmony("cost", "llama-3.2-1b", "--machine", "frontier")
    assert done.returncode == 0, done.stderr
    assert "1,235,814,400" in done.stdout
    assert "32,768" in harmony("cost", "llama-3.2-1b", "--context", "1").stdout
    assert "decode on" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("cost", "gpt-9"), "gpt-9"),
        (("top", "[/red]"), "[/red]: no such search"),
        (("show", "abc"), "no candidate has this id"),
        (("resume", "nothing"), "no such search here"),
        (("config", "check", "nowhere.yaml"), "nowhere.yaml: No such file"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(arguments: tuple[str, ...], told: str, tmp_path: Path) -> None:
    done = harmony(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert told in done.stderr


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("space: nowhere", "error: space: nowhere: "),
        ("space: true", "mine.yaml.space: True: use text"),
        ("recipe: {learning_rate: .inf}", "recipe.learning_rate"),
        ("recipe: {validation_tokens: 100}", "mine.yaml.recipe.validation_tokens: 100: less than one sequence"),
        ("recipe: {tokens: 100}", "mine.yaml.recipe.tokens: 100: less than one step"),
        ("recipe:", "mine.yaml.recipe: None: use a mapping of keys"),
        ("promote: {tokens: 10}", "mine.yaml.promote.tokens: 10: "),
        ("budget: {gpu_hours: 0}", "budget.gpu_hours: 0"),
        ("budget: {gpu_hours: -2.5}", "budget.gpu_hours: -2.5"),
        ("budget: {gpu_hour: 2}", "did you mean 'gpu_hours'?"),
        ("promote: {baselines: [gpt-9]}", "error: promote.baselines: gpt-9: "),
        ("promote: {baselines: [llama-nano, llama-nano]}", "mine.yaml.promote.baselines: llama-nano, llama-nano: "),
        ("search: {initial: [gpt-9]}", "error: search.initial: gpt-9: "),
        ("search: {objectives: []}", "mine.yaml.search.objectives: []: "),
        ("search: {generations: 9223372036854775808}", "search.generations: 9223372036854775808: "),
        ("search: {name: 2026}", "search.name: 2026: use text, in quotes"),
        ('search: {name: "a\\x07"}', "search.name: 'a\\x07': "),
        ("search: {name: x}\nsearch: {seed: 1}", "'search' is there twice"),
        ("latency: {source: 'predicted:abacus'}", "error: latency.source: abacus: "),
        ("latency: {source: 'predicted:'}", "error: latency.source: '': "),
        ("latency: {modes: [prefill, prefill]}", "mine.yaml.latency.modes: prefill, prefill: "),
        ("latency: {modes: [decode]}", "mine.yaml.latency.objective: prefill: "),
        ("execution: {heartbeat_seconds: 50}", "execution.heartbeat_timeout_seconds: 60: "),
        ("execution: {layout: {dp: 2}}", "execution.layout: dp2 ZeRO-0: not of gpus_per_candidate (1) ranks"),
        ("data: {paths: [a.txt]}", "data.paths: a.txt: not read by source 'shakespeare'"),
        ("execution: {memory_limit_gb: 0.1}", "execution.memory_limit_gb: 0.1: "),
        ("data: {source: files}", "data.paths: none: "),
        ("data: {tokenizer: bpe, vocab_size: 1000000000}", "data.vocab_size: 1000000000: "),
        ("search: [", "not valid YAML"),
    ],
)
def test_a_configuration_is_checked_to_its_names(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        config.check(tmp_path / "mine.yaml")
    assert told in f"error: {caught.value}".replace(f"{tmp_path}/", "")
    assert "\n" not in str(caught.value)


def test_a_merged_key_may_be_overridden_again(tmp_path: Path) -> None:
    path = tmp_path / "merged.yaml"
    path.write_text("a: &a {x: 1, y: 2}\nb: &b {<<: *a, x: 3}\nc: {<<: *b, x: 4}\n")
    assert read_yaml(path)["c"] == {"x": 4, "y": 2}
