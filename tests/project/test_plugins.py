"""A wheel with a toy of each kind of thing, built, installed into a fresh environment, used and uninstalled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import polars as pl
import pytest

from harmony_core.results import leaderboard
from harmony_core.store import SearchFolder, population, read_manifest, training
from tests.plugins.install import FOLDER
from tests.workflow.conftest import ROOT, write_config

Done = subprocess.CompletedProcess[str]

SPACE = """
pattern: layers
depth: {min: 2, max: 3}
d_model: [32]
blocks:
  running_mean: {domains: {width: [16, 32]}}
  mqa: {domains: {num_heads: [2], head_dim: [16]}}
  mlp: {domains: {d_ff: [64, 128]}}
constraints: {num_kinds: {min: 2}}
mutations: [reverse]
"""
STACK = """
d_model: 32
vocab_size: 257
blocks:
- {kind: running_mean, width: 16}
- {kind: mlp, d_ff: 64}
- {kind: running_mean, width: 32}
- {kind: mlp, d_ff: 64}
"""


class Site:
    """A virtual environment that sees this one's packages, and what is installed in it besides."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.python = folder, folder / "bin" / "python"
        self._run(sys.executable, "-m", "venv", "--without-pip", str(folder))
        (libraries,) = folder.glob("lib/python*/site-packages")
        (libraries / "shared.pth").write_text(f"{sysconfig.get_path('purelib')}\n{ROOT}\n")

    def pip(self, *arguments: str) -> None:
        self._run(sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments)

    def install(self, wheel: Path) -> None:
        self.pip("--python", str(self.python), "install", "--no-index", "--no-deps", str(wheel))

    def uninstall(self) -> None:
        self.pip("--python", str(self.python), "uninstall", "--yes", "harmony-toys")

    def harmony(self, folder: Path, *arguments: str) -> Done:
        return self.run(folder, "-m", "harmony_core", *arguments)

    def search(self, folder: Path, *arguments: str) -> Done:
        profile = ["--profile", str(ROOT / "profiles" / "local"), "--snakefile", str(ROOT / "Snakefile")]
        place = ["--directory", str(folder), "--configfile", str(folder / "config.yaml")]
        return self.run(ROOT, "-m", "snakemake", *profile, *place, *arguments)

    def run(self, folder: Path, *arguments: str) -> Done:
        environment = {**os.environ, "PATH": f"{self.python.parent}:{os.environ['PATH']}", "COLUMNS": "200"}
        call = [str(self.python), *arguments]
        return subprocess.run(call, capture_output=True, text=True, check=False, cwd=folder, env=environment)

    def _run(self, *call: str) -> None:
        done = subprocess.run(call, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "wheel", "--no-deps"]
    build += ["--no-build-isolation", "--no-index", "--wheel-dir", str(folder), str(_copied(folder / "source"))]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = folder.glob("*.whl")
    return found


def _copied(folder: Path) -> Path:
    """The project, where a build may leave what it leaves."""
    (folder / "harmony_toys").mkdir(parents=True)
    for path in [FOLDER / "pyproject.toml", *(FOLDER / "harmony_toys").glob("*.*")]:
        (folder / path.relative_to(FOLDER)).write_bytes(path.read_bytes())
    return folder


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Site:
    made = Site(tmp_path_factory.mktemp("site") / "environment")
    made.install(wheel)
    return made


@pytest.fixture(scope="module")
def searched(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished search in which a toy of each kind took part."""
    folder = tmp_path_factory.mktemp("searched")
    (folder / "space.yaml").write_text(SPACE)
    objectives = [{"name": name} for name in ("val_bits_per_byte", "num_kinds", "mixing_share")]
    path = write_config(
        folder,
        search={"population": 2, "objectives": objectives, "algorithm": {"kind": "hill_climbing"}},
        recipe={"tokens": 512},
        latency={"source": "predicted:toy_machine"},
        promote={"top_k": 1, "baselines": []},
    )
    text = path.read_text().replace(str(ROOT / "tests/workflow/tiny-space.yaml"), str(folder / "space.yaml"))
    path.write_text(f'{text}evaluators: ["training", "latency", "toy"]\n')
    done = site.search(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def measured(folder: Path) -> pl.DataFrame:
    """What the toy evaluator said, read without it."""
    shards = sorted(folder.glob("generation=*/toy/*.parquet"))
    frame = pl.concat([pl.read_parquet(shard, hive_partitioning=False) for shard in shards])
    return frame.drop("started_at", "seconds", "device_seconds")


def test_what_is_installed_takes_part_in_a_search(searched: Path) -> None:
    folder = searched / "results" / "tiny"
    rows = population(folder).collect()
    kinds = {block["kind"] for text in rows["architecture"] for block in json.loads(text)["blocks"]}
    assert "running_mean" in kinds
    assert rows["num_kinds"].min() >= 2
    assert set(training(folder).collect()["status"]) == {"ok"}
    assert set(measured(folder)["status"]) == {"ok"}
    assert leaderboard(folder).collect()["mixing_share"].to_list() == [0.5] * 4
    (recorded,) = read_manifest(folder / "manifest.json").plugins
    assert (recorded["distribution"], recorded["version"], len(recorded["sha256"])) == ("harmony-toys", "1.0", 64)
    assert recorded["adds"] == [
        "algorithms.hill_climbing",
        "blocks.running_mean",
        "evaluators.toy",
        "machines.toy_machine",
        "metrics.num_kinds",
        "mutations.reverse",
    ]


def test_what_is_gone_is_made_again(site: Site, searched: Path) -> None:
    folder = SearchFolder(searched / "results" / "tiny")
    before = measured(folder.path)
    folder.shard(1, "toy", 0).unlink()
    assert site.harmony(searched, "top", "tiny").returncode == 1
    done = site.harmony(searched, "resume", "tiny")
    assert done.returncode == 0, done.stdout + done.stderr
    assert site.harmony(searched, "top", "tiny").returncode == 0
    assert measured(folder.path).equals(before)


def test_a_pipeline_of_two_trains_it_and_it_cannot_be_exported(site: Site, searched: Path, tmp_path: Path) -> None:
    (tmp_path / "stack.yaml").write_text(STACK)
    data = ["--data", "source=synthetic", "--data", "max_bytes=60000"]
    fields = {"tokens": 512, "batch_size": 4, "sequence_length": 32, "validation_tokens": 512, "precision": "fp32"}
    recipe = [part for name, value in fields.items() for part in ("--recipe", f"{name}={value}")]
    done = site.harmony(tmp_path, "train", "stack.yaml", "--out", "out", "--layout", "pp=2", *recipe, *data)
    assert done.returncode == 0, done.stdout + done.stderr
    exported = site.harmony(tmp_path, "export", "out", "--out", "exported")
    assert exported.returncode != 0
    told = "blocks: running_mean: a block of harmony-toys 1.0, and the exported code has no such block; add a family to"
    assert told in exported.stdout + exported.stderr
    assert (exported.stdout + exported.stderr).count("\n") == 1
    assert not (tmp_path / "exported").exists()


SUITES = """
import numpy as np
from transformers import LlamaConfig, LlamaForCausalLM
from harmony_core.architecture import block_class
from harmony_core.evolution.registry import read_algorithm
from harmony_core.metrics import metric
from harmony_core.search.objective import Objective
from harmony_core.space import Space
from harmony_core.space.mutations import find_mutation
from harmony_core.testing import algorithms, blocks, contract, families, machines, metrics, mutations

space = Space.from_yaml("space.yaml")
block_class("running_mean")
for check in (*blocks.CHECKS, *contract.CHECKS):
    check({"kind": "running_mean", "width": 24})
metrics.check_metric(metric("num_kinds"), space)
mutations.check_mutation(find_mutation("reverse"), space)
algorithms.check_algorithm(read_algorithm({"kind": "hill_climbing"}), space, (Objective(name="val_bits_per_byte"),))
machines.check_machine("toy_machine")


class ToyConfig(LlamaConfig):
    model_type = "toy_llama"


sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 64}
config = ToyConfig(num_attention_heads=4, num_key_value_heads=2, **sizes)
families.check_family(LlamaForCausalLM(config), there_and_back=False)
"""


def test_the_suites_run_from_outside(site: Site, searched: Path) -> None:
    done = site.run(searched, "-c", SUITES)
    assert done.returncode == 0, done.stdout + done.stderr


def test_uninstalled_it_is_shown_still_and_named_where_it_is_missed(
    wheel: Path, searched: Path, tmp_path: Path
) -> None:
    bare = Site(tmp_path / "environment")
    folder = searched / "results" / "tiny"
    best = population(folder).collect()["architecture_id"][0][:8]
    for arguments in (("top", "tiny"), ("show", best, "--search", "tiny")):
        told = bare.harmony(searched, *arguments)
        assert (told.returncode, best in told.stdout) == (0, True), told.stdout + told.stderr
        assert ("not installed" if arguments[0] == "show" else "0.500") in told.stdout
    for refused in (bare.harmony(searched, "resume", "tiny"), bare.search(searched, "-n")):
        assert refused.returncode != 0
        lines = (refused.stdout + refused.stderr).splitlines()
        (line,) = (line for line in lines if line.startswith("error:"))
        assert "harmony-toys 1.0" in line, line


def test_a_name_that_two_distributions_have_is_refused(site: Site, tmp_path: Path) -> None:
    for name in ("harmony_toys", "other_toys"):
        told = tmp_path / f"{name}-2.0.dist-info"
        told.mkdir()
        (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 2.0\n")
        (told / "entry_points.txt").write_text("[harmony.metrics]\nnum_kinds = a_module\n")
    code = "import sys; sys.path.insert(0, sys.argv[1]); from harmony_core.metrics import metric; metric('num_kinds')"
    done = site.run(tmp_path, "-c", code, str(tmp_path))
    last = done.stderr.splitlines()[-1]
    assert "'num_kinds' is also what" in last
    assert "mend or uninstall" in last


def test_only_what_a_search_asks_for_is_recorded(site: Site, tmp_path: Path) -> None:
    other = tmp_path / "other_toys-2.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: other-toys\nVersion: 2.0\n")
    (other / "entry_points.txt").write_text("[harmony.metrics]\nanother = another_metric\n")
    source = (FOLDER / "harmony_toys" / "metric.py").read_text().replace('"num_kinds"', '"another"')
    (tmp_path / "another_metric.py").write_text(source)
    code = """
import sys; sys.path.insert(0, sys.argv[1])
from harmony_core.metrics import METRICS, is_metric
from harmony_core.plugins import used
assert is_metric("num_kinds") and "another" in METRICS and not is_metric("nobody")
print([one.distribution for one in used()])
"""
    done = site.run(tmp_path, "-c", code, str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "['harmony-toys']\n"), done.stderr
