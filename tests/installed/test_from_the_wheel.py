"""From `pip install` to the end of the tutorial and of its pictures, in an environment without the clone."""

from __future__ import annotations

import doctest
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from deepspeed.accelerator import get_accelerator

import harmony_core
from tests.browser import browser
from tests.docs.blocks import BLOCKS, FOLLOWED, READER, TUTORIAL
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
# The headings that are seen at once, and whether a figure is.
_FIRST_SCREEN = """[...document.querySelectorAll("h1, h2, svg")]
  .filter((one) => one.getBoundingClientRect().top < innerHeight && one.getBoundingClientRect().width > 0)
  .map((one) => one.tagName === "svg" ? "svg" : one.innerText)
  .filter((one, place, all) => all.indexOf(one) === place)"""
PICTURES = ROOT / "docs" / "images"


@pytest.fixture(scope="module")
def searched(installed: Installed) -> Path:
    """A folder that the tutorial's `harmony init` began, in which its `harmony search` has run."""
    texts = [block.text for block in BLOCKS if block.page == TUTORIAL and block.text.startswith("harmony init")]
    begun, entered, search = (line.split() for line in texts[0].splitlines())
    installed.run(*begun)
    assert entered == ["cd", "mine"]
    folder = installed.folder / "mine"
    (folder / "space.yaml").write_text(SPACE)
    told = installed.run(*search, *settings(SMALL), "--", "--cores", "2", cwd=folder).stdout
    command = told.splitlines()[0]
    assert command.startswith("snakemake --configfile config.yaml --config 'search={generations: 2, population: 4}' ")
    assert f"--snakefile {installed.environment}/lib/" in command
    assert command.endswith(" --profile profiles/local --cores 2")
    return folder


def settings(texts: tuple[str, ...]) -> list[str]:
    return [word for text in texts for word in ("--set", text)]


@pytest.fixture(scope="module")
def promoted(installed: Installed, searched: Path) -> str:
    """The id of a candidate that was promoted."""
    query = "select architecture_id from promoted where role = 'front'"
    (row, *_) = json.loads(installed.run("harmony", "sql", "mine", query, "--json", cwd=searched).stdout)["rows"]
    return str(row["architecture_id"])


@pytest.fixture(scope="module")
def ended(installed: Installed, searched: Path, promoted: str) -> Path:
    """The folder of somebody who has followed the tutorial to its end, with a model that `transformers` opened."""
    blocks = json.dumps([block.facts for block in FOLLOWED if block.page == TUTORIAL])
    told = installed.run("python", "-P", str(READER), "mine", promoted, cwd=searched, given=blocks).stdout
    answers = json.loads(told.splitlines()[-1])
    assert len(answers) > 8
    assert not [one["problem"] + one["told"] for one in answers if one["problem"]]
    return searched / TUTORIAL.replace("/", "-")


def structure(figure: Path) -> dict[str, list[str]]:
    """What a figure of Vega says of itself without its numbers: titles, axes, and the marks of each series."""
    told: dict[str, list[str]] = {"title": [], "subtitle": [], "axis": [], "series": []}
    for one in ElementTree.parse(figure).iter():
        role, label = one.get("aria-roledescription", ""), one.get("aria-label", "")
        if role in told:
            told[role].append(re.sub(r"[0-9]+(?= hybrids)| with values from .*", "", label))
        elif re.fullmatch("(symbol|line|text) mark container", role):
            # Its first mark says the titles of what all of them show.
            shown = re.sub(r": [^;]*", "", one[0].get("aria-label", ""))
            told["series"].append(f"{role} of {one[0].get('fill')}, {one[0].get('stroke')}: {shown}")
    return told


def test_the_tutorial_ends_in_the_figure_that_it_shows(ended: Path) -> None:
    found = structure(ended / "front.svg")
    assert (len(found["title"]), len(found["axis"]), len(found["series"])) == (1, 2, 5)
    assert found == structure(PICTURES / "front.svg")


def test_the_tutorial_ends_in_the_page_that_it_shows(ended: Path) -> None:
    """Of its first screen: the same size, the same headings, and a figure that begins in it."""
    with browser("file:") as watched:
        page = watched.page
        page.set_viewport_size({"width": 1100, "height": 900})
        page.goto((ended / "results" / "mine" / "report" / "index.html").as_uri())
        heads = page.evaluate(_FIRST_SCREEN)
        found = page.screenshot()
    assert heads == ["HARMONY: mine", "The trade-off", "svg"]
    shown = (PICTURES / "report.png").read_bytes()
    assert found[:24] == shown[:24]
    assert watched.wrong == []


def test_every_picture_of_the_tutorial_is_made() -> None:
    shown = re.findall(r"!\[[^\]]*\]\(images/([^)]+)\)", (ROOT / TUTORIAL).read_text())
    assert shown == ["front.svg", "report.png"]


def test_from_nothing_to_a_model_that_is_evaluated(installed: Installed, searched: Path, promoted: str) -> None:
    where = "import harmony_core; print(harmony_core.__file__)"
    assert f"{installed.environment}/lib/" in installed.run("python", "-c", where, cwd=searched).stdout
    top = json.loads(installed.run("harmony", "top", "mine", "--json", cwd=searched).stdout)
    assert (top["schema"], len(top["rows"])) == ("harmony.top", 8)
    assert "tokens" in installed.run("harmony", "config", "check", "config.yaml", cwd=searched).stdout
    (searched / "tasks").mkdir()
    (searched / "tasks" / "words.jsonl").write_text('{"text": "to be, or not to be"}\n')
    (searched / "tasks" / "words.yaml").write_text(TASK)
    told = installed.run("harmony", "evaluate", promoted, "--tasks", "tasks", cwd=searched).stdout
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
