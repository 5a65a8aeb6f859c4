"""Follows the documentation in one process, which imports torch once; the answers are JSON on the last line.

    python -P tests/docs/reader.py NAME ID < BLOCKS

The blocks are JSON, and nothing of the clone is imported, so that HARMONY is the one of the Python that runs this. Of
the folder that it runs in, each page gets a folder of its own with links to what is `GIVEN`, so that what one page
writes is not in another one's way.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import json
import os
import re
import shlex
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

GIVEN = ("results", "data", "config", "texts")
# An id of the pages' own search, in a command or in a text of Python.
_ID = re.compile(r"(?<![\w-])[0-9a-f]{8}(?![\w-])")
# The demo's name, where it is neither a preset's nor a file's.
_DEMO = re.compile(r"(?<=results/)nano(?![-\w.])|(?<![-\w/.])nano(?![-\w.])")


def follow(blocks: list[dict[str, Any]], name: str, architecture_id: str) -> Iterator[dict[str, Any]]:
    """Runs what is to be run; an answer for each block.

    Args:
        blocks: each as `Block.facts` has it.
        name: of the search that stands for the demo's.
        architecture_id: of a candidate that it promoted, which stands for every one of the pages'.
    """
    root, pages = Path.cwd(), dict[str, dict[str, Any]]()
    for block in blocks:
        page, text = block["page"], block["text"]
        folder = root / page.replace("/", "-")
        if page not in pages:
            folder.mkdir()
            for given in filter(lambda given: (root / given).exists(), GIVEN):
                (folder / given).symlink_to(root / given)
            pages[page] = {"__name__": "reader"}
        os.chdir(folder)
        if block["kind"] == "run":
            text = _ID.sub(architecture_id[:8], _DEMO.sub(name, text))
        told, problem = io.StringIO(), ""
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
            try:
                problem = _do(block, text, pages[page]) or ""
            except BaseException:
                problem = traceback.format_exc()
        yield {"place": block["place"], "problem": problem, "told": told.getvalue()}


def _do(block: dict[str, Any], text: str, names: dict[str, Any]) -> str | None:
    """Does with a block what its kind says, and returns what is wrong with it."""
    match block["kind"], block["language"]:
        case "run", "sh":
            return _shell(text)
        case "run", "python":
            exec(compile(text, block["place"], "exec"), names)
        case "run", "sql":
            import duckdb

            duckdb.sql(text).fetchall()
        case "compile", _:
            # Examples with what they print are run by doctest, elsewhere.
            text = doctest.script_from_examples(text) if text.startswith(">>>") else text
            imports = [line for line in text.splitlines() if re.match(r"(from|import) ", line)]
            compile(text, block["place"], "exec")
            # Of plug-ins that a page makes up there is nothing to import.
            exec("\n".join(line for line in imports if "harmony_toys" not in line), {})
        case "config" | "space" | "yaml", _:
            return _yaml(block, text)
        case kind, language:
            return f"what is to be done with a block {language!r} that says {kind!r}?"
    return None


def _yaml(block: dict[str, Any], text: str) -> str | None:
    import yaml

    from harmony_core.search.config import Config
    from harmony_core.space import Space

    yaml.safe_load(text)
    if block["kind"] != "yaml":
        Path(block["argument"]).write_text(text)
    if block["kind"] == "config":
        Config.from_yaml(block["argument"]).check_names()
    if block["kind"] == "space":
        Space.from_yaml(block["argument"])
    return None


def _shell(text: str) -> str | None:
    """Commands of `harmony` alone, each of which must end with 0; of a shell's own there is `> FILE`."""
    from harmony_core.cli.main import main

    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        if words[0] != "harmony":
            return f"{line}: only commands of harmony are run here"
        target = words.pop() if ">" in words else None
        words = [word for word in words if word != ">"]
        sys.argv, out = words, io.StringIO()
        with contextlib.redirect_stdout(out if target else sys.stdout):
            try:
                main()
                code: Any = 0
            except SystemExit as ended:
                code = ended.code or 0
        if target:
            Path(target).write_text(out.getvalue())
        if code:
            return f"{line}: exit code {code}"
    return None


if __name__ == "__main__":
    answers = list(follow(json.load(sys.stdin), *sys.argv[1:]))
    print(f"\n{json.dumps(answers)}")
