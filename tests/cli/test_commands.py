"""What the command says: numbers, costs of presets, mistakes in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harmony_core.cli.format import count, seconds


def harmony(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-m", "harmony_core", *arguments]
    return subprocess.run(call, capture_output=True, text=True, check=False, cwd=cwd)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (771, "771"), (999.6e3, "1000K"), (1_235_814_400, "1.24B"), (352, "352"), (46_702_792_704, "46.7B")],
)
def test_counts_have_three_digits(value: float, text: str) -> None:
    assert count(value) == text


@pytest.mark.parametrize(("value", "text"), [(None, "-"), (2.5, "2.5 s"), (0.0123, "12.3 ms"), (4.2e-5, "42 us")])
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
        (("config", "check", "nowhere.yaml"), "nowhere.yaml"),
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
        ("space: nowhere", "nowhere"),
        ("recipe: {learning_rate: .inf}", "recipe.learning_rate"),
        ("recipe: {validation_tokens: 100}", "validation_tokens 100"),
        ("promote: {tokens: 10}", "promote"),
        ("budget: {gpu_hours: 0}", "budget.gpu_hours: 0"),
        ("budget: {gpu_hours: -2.5}", "budget.gpu_hours: -2.5"),
        ("budget: {gpu_hour: 2}", "did you mean 'gpu_hours'?"),
        ("promote: {baselines: [gpt-9]}", "gpt-9"),
        ("latency: {source: 'predicted:abacus'}", "abacus"),
        ("search: [", "not valid YAML"),
    ],
)
def test_a_configuration_is_checked_to_its_names(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    done = harmony("config", "check", "mine.yaml", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert told in done.stderr
