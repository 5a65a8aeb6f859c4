"""From `pip install` to a model that `transformers` opens, in an environment without the clone."""

from __future__ import annotations

import doctest
import json
import re
from pathlib import Path

import pytest
import yaml
from deepspeed.accelerator import get_accelerator

import harmony_core
from tests.installed.conftest import ROOT, Installed

# The demo's own search, on its text, with budgets of seconds.
SMALL = (
    *("search.generations=2", "search.population=4", "recipe.tokens=8192", "recipe.batch_size=4"),
    *("recipe.sequence_length=128", "recipe.warmup_tokens=1024", "recipe.validation_tokens=2048"),
    *("latency.context=64", "latency.repeats=3", "latency.warmup_seconds=0.05", "latency.promotion_turns=1"),
    *("promote.top_k=1", "promote.baselines=[llama-nano]", "execution.checkpoint_seconds=600"),
)
# Two layers are enough to be searched in seconds.
SPACE = """
depth: {min: 1, max: 2}
d_model: [32]
blocks:
  gqa: {domains: {num_heads: [4], num_kv_heads: [1, 2], head_dim: [8, 16]}}
  mha: {domains: {num_heads: [2, 4], head_dim: [8, 16]}}
  mlp: {domains: {d_ff: [32, 64, 96]}}
"""
TASK = """
task: words
dataset_path: json
dataset_kwargs: {data_files: {test: words.jsonl}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
"""
OPENED = """
import torch, transformers
tokens = transformers.AutoTokenizer.from_pretrained("exported")("To be", return_tensors="pt").input_ids
model = transformers.AutoModelForCausalLM.from_pretrained("exported", trust_remote_code=True)
with torch.no_grad():
    print(tokens.shape[1], model(tokens).logits.isfinite().all().item())
"""


@pytest.fixture(scope="module")
def searched(installed: Installed) -> Path:
    """A folder that `harmony init` began, in which `harmony search` has run."""
    installed.run("harmony", "init", "mine", "--for", "laptop", "--yes")
    folder = installed.folder / "mine"
    (folder / "space.yaml").write_text(SPACE)
    told = installed.run("harmony", "search", "config.yaml", *settings(SMALL), "--", "--cores", "2", cwd=folder).stdout
    command = told.splitlines()[0]
    assert command.startswith("snakemake --configfile config.yaml --config 'search={generations: 2, population: 4}' ")
    assert f"--snakefile {installed.environment}/lib/" in command
    assert command.endswith(" --profile profiles/local --cores 2")
    return folder


def settings(texts: tuple[str, ...]) -> list[str]:
    return [word for text in texts for word in ("--set", text)]


def test_from_nothing_to_a_model_that_transformers_opens(installed: Installed, searched: Path) -> None:
    where = "import harmony_core; print(harmony_core.__file__)"
    assert f"{installed.environment}/lib/" in installed.run("python", "-c", where, cwd=searched).stdout
    top = json.loads(installed.run("harmony", "top", "mine", "--json", cwd=searched).stdout)
    assert (top["schema"], len(top["rows"])) == ("harmony.top", 8)
    query = "select architecture_id from promoted where role = 'front'"
    (row, *_) = json.loads(installed.run("harmony", "sql", "mine", query, "--json", cwd=searched).stdout)["rows"]
    found = row["architecture_id"]
    assert "tokens" in installed.run("harmony", "config", "check", "config.yaml", cwd=searched).stdout
    installed.run("harmony", "export", found, "-o", "exported", cwd=searched)
    number, finite = installed.run("python", "-c", OPENED, cwd=searched).stdout.split()
    assert (int(number) > 0, finite) == (True, "True")
    (searched / "tasks").mkdir()
    (searched / "tasks" / "words.jsonl").write_text('{"text": "to be, or not to be"}\n')
    (searched / "tasks" / "words.yaml").write_text(TASK)
    told = installed.run("harmony", "evaluate", found, "--tasks", "tasks", cwd=searched).stdout
    assert re.search(r"words +bits_per_byte +\d\.\d+", told), told


def test_the_page_of_the_python_face_is_right(searched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(searched)
    # DeepSpeed says once, on standard output, what it finds.
    get_accelerator()
    page = ROOT / "docs" / "python.md"
    told = doctest.testfile(str(page), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert told.attempted > 8
    assert told.failed == 0
    assert (searched / "exported-by-python" / "config.json").is_file()


def test_a_search_is_run_from_python(searched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here one that is done, so that nothing is left to do."""
    monkeypatch.chdir(searched)
    before = sorted(path for path in Path("results/mine").rglob("*.parquet"))
    done = harmony_core.search(yaml.safe_load(Path("config.yaml").read_text()), *SMALL)
    assert (done.name, done.candidates().height) == ("mine", 8)
    assert sorted(path for path in Path("results/mine").rglob("*.parquet")) == before
    with pytest.raises(harmony_core.SearchFailed, match="search mine: Snakemake ended with exit code 1"):
        harmony_core.search("config.yaml", *SMALL, options=["no-such-file"])
    with pytest.raises(harmony_core.UserError, match=r"search\.generations: 0"):
        harmony_core.search("config.yaml", "search.generations=0")
