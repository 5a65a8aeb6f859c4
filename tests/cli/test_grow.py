"""`harmony grow` and `harmony aggregate`: what they print and write, and refusals in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harmony_core.architecture import Architecture
from harmony_core.scaling.pattern import pattern_text
from harmony_core.store import population
from tests.cli.test_refusals import answers, assert_one_line
from tests.progress.searches import MadeUpSearch

LOSSES: dict[int, tuple[float | None, float]] = {one: (2.0 + 0.01 * one, 0.01) for one in range(5)}


def harmony(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-m", "harmony_core", *arguments]
    return subprocess.run(call, capture_output=True, text=True, check=False, cwd=root)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of eight designs of six blocks, of which two failed and the sixth is far behind."""
    root = tmp_path_factory.mktemp("composer")
    algorithm = {"kind": "one_shot", "picks": "random"}
    search = MadeUpSearch(root, {"space": "composer"}, generations=1, algorithm=algorithm)
    search.prepare()
    search.finish(0, {**LOSSES, 5: (4.0, 0.01), 6: (None, 0.01), 7: (None, 0.01)})
    search.end()
    return root


def test_a_pattern_grows_to_the_papers_twin(tmp_path: Path) -> None:
    arguments = ["2A+4M", "--by", "stack", "--blocks", "27", "--to-params", "llama-3.2-1b", "--out", "twin.yaml"]
    done = harmony(tmp_path, "grow", *arguments)
    assert done.returncode == 0, done.stderr
    first, *lines = done.stdout.splitlines()
    twin = Architecture.from_yaml(tmp_path / "twin.yaml")
    assert first == f"{twin.id}  {pattern_text(twin)}"
    assert lines[0] == "27 blocks (9 token mixers) at width 2048"
    assert lines[2] == "without embeddings -0.0% beside llama-3.2-1b"
    assert lines[3].startswith("stack: our reading of Composer (arXiv:2510.00379)")


def test_what_was_found_is_put_together_and_grown(root: Path) -> None:
    done = harmony(root, "aggregate", "toy", "--clusters", "2", "--out", "found.yaml")
    assert done.returncode == 0, done.stderr
    found = Architecture.from_yaml(root / "found.yaml")
    assert done.stdout.splitlines()[:2] == [
        f"{found.id}  {pattern_text(found)}",
        "n0 over 5 of 6 designs, the best of 2 clusters",
    ]
    assert len(found.blocks) == 6
    candidate = population(root / "results" / "toy").collect()["architecture_id"][0]
    assert harmony(root, "grow", candidate).stdout.splitlines()[1].startswith("6 blocks (")


REFUSED: tuple[tuple[tuple[str, ...], str], ...] = (
    (("aggregate", "toy", "--clusters", "7"), "clusters: 7: 6 trained designs have 6 different results; use at"),
    (("aggregate", "toy", "--by", "n"), "by: n: use n0, n1, or n with another number of blocks, or full"),
    (("aggregate", "toy", "--metric", "beauty"), "metric: beauty: unknown metric; use "),
    (("grow", "2A+5M+2A", "--by", "stretch", "--blocks", "2"), "blocks: 2: stretching keeps all its 3 runs"),
    (("grow", "2A+4M", "--blocks", "9"), "by: missing: a new depth has a way and a number of blocks"),
    (("grow", "2A+4M", "--by", "pull", "--blocks", "9"), "by: pull: use stack or stretch"),
    (("grow", "2A+4X"), "pattern: 4X: write runs as 2A+4M"),
    (("grow", "2A+1kda"), "like: llama-3.2-1b: it has no block for kda"),
    (("grow", "2A+4M", "--to-params", "0M"), "to_params: 0M: use a positive number"),
    (("grow", "nobody"), "ID: nobody: no candidate has this id"),
)


def test_refusals_are_one_line(root: Path) -> None:
    found = answers([arguments for arguments, _ in REFUSED], root)
    for (_, told), answer in zip(REFUSED, found, strict=True):
        assert_one_line(answer)
        assert str(answer["told"]).startswith(f"error: {told}")
