"""What the command says: numbers, costs of presets, mistakes in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harmony_core.base import read_yaml
from harmony_core.errors import UserError
from harmony_core.search.checking import read_checked
from harmony_core.terminal.format import count, seconds


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


def test_cost_reads_a_published_configuration(tmp_path: Path) -> None:
    """By the folder that it lies in; what its class does not read is said beside it."""
    published = Path(__file__).parents[1] / "interop/published/Qwen3-0.6B.json"
    (tmp_path / "config.json").write_text(published.read_text().replace("{", '{"some_kernel": 1, ', 1))
    done = harmony("cost", ".", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "596,049,920" in done.stdout
    assert "left out: some_kernel" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("cost", "gpt-9"), "gpt-9"),
        (("cost", str(Path(__file__).parents[1] / "interop/published/Zamba2-2.7B.json")), "blocks shared by several"),
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
        read_checked(tmp_path / "mine.yaml")
    assert told in f"error: {caught.value}".replace(f"{tmp_path}/", "")
    assert "\n" not in str(caught.value)


ONE_MEMBER = """
space:
  depth: {min: 1, max: 1}
  d_model: [64]
  blocks: {mha: {domains: {num_heads: [4], head_dim: [16]}}, mlp: {domains: {d_ff: [128]}}}
"""
SECTIONS = """
search: {generations: true, population: 4, initial: [gpt-9], algorithm: {survivors: 9}}
recipe: {warmup_tokens: 4000, decay_fraction: 0.5, tokens: 1.0e+23}
execution: {workers: 1000000, worker: 2}
promote: {baselines: [gpt-8, llama-nano]}
data: {source: files, paths: [/nowhere/a.txt, .], max_bytes: 10}
latency: {source: "predicted:abacus", reference: gpt-7}
"""


def test_all_mistakes_are_told_at_once_a_line_each(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(SECTIONS + ONE_MEMBER)
    done = harmony("config", "check", "mine.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    told = [line.removeprefix("error: mine.yaml:").partition(": ") for line in done.stderr.splitlines()]
    assert sorted((rest.partition(": ")[0], int(line)) for line, _, rest in told) == [
        ("data.paths", 6),
        ("execution.worker", 4),
        ("execution.workers", 4),
        ("latency.reference", 7),
        ("latency.source", 7),
        ("promote.baselines", 5),
        ("recipe.tokens", 3),
        ("search.generations", 2),
        ("space", 9),
    ]
    # What those hid in their own sections comes next.
    (tmp_path / "mine.yaml").write_text(SECTIONS.replace("true", "1").replace("1.0e+23", "4096") + ONE_MEMBER)
    told = harmony("config", "check", "mine.yaml", cwd=tmp_path).stderr.splitlines()
    assert [line for line in told if "search.algorithm.survivors: 9: use at most search.population (4)" in line]
    assert [line for line in told if "recipe.warmup_tokens: 4000: overlaps with the decay; use at most 2048" in line]
    assert [line for line in told if "space: given in full: every draw is the same architecture" in line]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("data: {max_bytes: 100}", "data.max_bytes: 100: less than a sequence of 256 tokens"),
        ("data: {source: files, paths: [no-such-folder]}", "data.paths: no-such-folder: no such file or folder"),
        ("space: no-such-space.yaml", "no-such-space.yaml: No such file or directory"),
        ("search: {initial: [nowhere.yaml]}", "nowhere.yaml: No such file or directory"),
        (
            ONE_MEMBER + "  constraints: {num_params: {max: 10}}",
            "space.constraints.num_params: max 10: the space has no",
        ),
        (ONE_MEMBER.replace("[128]", "[true, 128]"), "space.blocks.mlp.domains.d_ff: True: use a number"),
        (ONE_MEMBER.replace("[128]", "[.nan]"), "mine.yaml.space: "),
    ],
)
def test_what_a_configuration_names_must_be_there(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        read_checked(tmp_path / "mine.yaml")
    assert [one for one in caught.value.every if told in str(one)], [str(one) for one in caught.value.every]


def test_a_merged_key_may_be_overridden_again(tmp_path: Path) -> None:
    path = tmp_path / "merged.yaml"
    path.write_text("a: &a {x: 1, y: 2}\nb: &b {<<: *a, x: 3}\nc: {<<: *b, x: 4}\n")
    assert read_yaml(path)["c"] == {"x": 4, "y": 2}
