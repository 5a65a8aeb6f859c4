"""Every block of commands in README and docs is run, or held against the command line that there really is."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from harmony_core.cli.main import app
from harmony_core.results import promoted_results
from tests.docs.blocks import BLOCKS, FOLLOWED, PAGES, READER, ROOT, TUTORIAL, Block
from tests.docs.conftest import NAME

SHELL = [block for block in BLOCKS if block.kind == "check" and block.language in ("sh", "bash")]
HERE = [block for block in FOLLOWED if block.page != TUTORIAL]
# Commands of others, whose options are theirs.
FOREIGN = ("cd", "conda", "export", "git", "module", "pip", "source", "ssh")
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
VARIABLES = set(re.findall(r"^([A-Z_]+) \?=", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


@pytest.fixture(scope="module")
def answers(reader: Path) -> dict[str, dict[str, Any]]:
    """What came of the blocks that are followed, by place."""

    promoted = promoted_results(reader / "results" / NAME).filter(role="front").collect()
    call = [sys.executable, "-P", str(READER), NAME, promoted["architecture_id"][0]]
    own = {
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "200",
        "HF_MODULES_CACHE": str(reader / "modules"),
        "HF_HUB_OFFLINE": "1",
    }
    environment = {**os.environ, **own}
    blocks = json.dumps([block.facts for block in HERE])
    done = subprocess.run(call, input=blocks, cwd=reader, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {one["place"]: one for one in json.loads(done.stdout.splitlines()[-1])}


@pytest.mark.parametrize("block", HERE, ids=lambda block: block.place)
def test_a_block_does_what_its_page_says(block: Block, answers: dict[str, dict[str, Any]]) -> None:
    found = answers[block.place]
    assert not found["problem"], found["problem"] + found["told"]


@pytest.mark.parametrize("block", SHELL, ids=lambda block: block.place)
def test_a_command_is_one_that_there_is(block: Block) -> None:
    for line in re.sub(r"\\\n", " ", block.text).splitlines():
        for command in re.split(r" && | \| ", line):
            words = shlex.split(command, comments=True)
            while words and re.match(r"[A-Z_]+=", words[0]):
                words.pop(0)
            if words[:1] == ["srun"]:
                words = words[next(place for place, word in enumerate(words) if word in ("harmony", "python")) :]
            if words:
                check(words, block)


def test_a_command_in_a_sentence_is_one_that_there_is() -> None:
    known = {name for name in typer.main.get_command(app).commands}
    for page in PAGES:
        text = re.sub(r"<!--.*?-->", "", page.read_text(), flags=re.DOTALL)
        for name in re.findall(r"`harmony ([a-z]+)", text):
            assert name in known, f"{page}: harmony {name}"


@pytest.mark.parametrize("text", ["harmony tops nano", "harmony top nano --rows 3", "harmony plan a --top many"])
def test_a_wrong_command_is_noticed(text: str) -> None:
    with pytest.raises(Exception, match=r"tops|--rows|integer"):
        check(shlex.split(text), SHELL[0])


def check(words: list[str], block: Block) -> None:
    """Refuses a command that is not there, an option that it has not, and a file that nobody has."""
    program = Path(words[0]).name
    if program == "harmony":
        harmony(words[1:])
    elif program == "snakemake":
        snakemake(words[1:], block)
    elif program == "make":
        for word in words[1:]:
            name, _, value = word.partition("=")
            assert name in (VARIABLES if value else TARGETS), f"{block.place}: make {word}"
    elif program == "python" and words[1] == "-m":
        assert importlib.util.find_spec(words[2]), f"{block.place}: {words[2]}"
    elif program.endswith((".sh", "run")):
        assert (ROOT / words[0]).exists(), f"{block.place}: {words[0]}"
    else:
        assert program in FOREIGN, f"{block.place}: {program}"


@functools.cache
def _snakemake_parser() -> Any:
    from snakemake.cli import get_argument_parser

    return get_argument_parser()


def harmony(words: list[str]) -> None:
    """Parses a command line of ours, and runs nothing."""
    if ">" in words:
        words = words[: words.index(">")]
    command: Any = typer.main.get_command(app)
    context = command.make_context("harmony", list(words))
    while hasattr(command, "commands"):
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, rest, parent=context)


def snakemake(words: list[str], block: Block) -> None:
    """Parses a command line of Snakemake's, with the options of the executor plugin."""
    found = _snakemake_parser().parse_args(words)
    for profile in [found.profile] if isinstance(found.profile, str) else found.profile or ():
        assert (ROOT / "profiles" / profile).is_dir(), f"{block.place}: profile {profile}"
    given = {one.argument for one in BLOCKS if one.page == block.page and one.kind == "config"}
    for path in found.configfile or ():
        assert (ROOT / path).exists() or str(path) in given, f"{block.place}: {path}"
