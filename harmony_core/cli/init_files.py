"""What `harmony init` writes: HARMONY's own files, with the answers put in and each key explained."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harmony_core.base import Frozen, read_yaml
from harmony_core.errors import UserError
from harmony_core.resources import resource, shipped
from harmony_core.search.config import Config

Place = Literal["laptop", "slurm", "frontier"]
_PROFILES: dict[Place, str] = {"laptop": "local", "slurm": "slurm", "frontier": "frontier"}
_CONFIGS: dict[Place, str] = {"laptop": "nano", "slurm": "nano", "frontier": "frontier"}
_HEAD = """\
# A search of your own. `harmony config check config.yaml` says what is wrong with this file, and what the search will
# take; `harmony search config.yaml`, in this folder, runs it. What is left out here has its default, as listed by
# `harmony config default`; `harmony config schema` is for editors.
"""
_SPACE_HEAD = "# What may be searched: yours to change. HARMONY's own space {name} is what this began as.\n"
# What Slurm takes for a name, and a shell and Python for nothing else.
_SLURM_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_WIDTH = 110


@dataclass(frozen=True)
class Answers:
    """What a person says of the search to be.

    Args:
        place: where it will run.
        name: the search's.
        texts: files and folders to train on; none is the demo's text.
        partition: of Slurm; None is the default one.
        account: of Slurm; None is none.
    """

    place: Place
    name: str
    texts: tuple[Path, ...] = ()
    partition: str | None = None
    account: str | None = None


def begun(answers: Answers) -> dict[str, tuple[str, int]]:
    """Text and mode of each file, by its path in the new folder.

    Raises:
        UserError: a text is not there, or a name is none.
    """
    for field, value in (("--partition", answers.partition), ("--account", answers.account)):
        if value is not None and not _SLURM_NAME.fullmatch(value):
            raise UserError(field, value, "use letters, digits, '.', '_' and '-'")
    files: dict[str, tuple[str, int]] = {}
    profile = shipped(f"profiles/{_PROFILES[answers.place]}")
    for path in sorted(profile.iterdir()):
        text = path.read_text(encoding="utf-8")
        if path.name == "config.yaml":
            text = _with_resources(text, answers)
        files[f"profiles/{profile.name}/{path.name}"] = (text, path.stat().st_mode & 0o777 | 0o600)
    config = shipped(f"config/{_CONFIGS[answers.place]}.yaml")
    space = read_yaml(config)["space"]
    body = resource(f"spaces/{space}.yaml").read_text(encoding="utf-8")
    files["space.yaml"] = (_SPACE_HEAD.format(name=space) + body, 0o644)
    files["config.yaml"] = (_HEAD + explained(_with_answers(config.read_text(encoding="utf-8"), answers)), 0o644)
    return files


def explained(text: str) -> str:
    """A configuration's text with what each section and key means above it, in the words of its own classes."""
    lines: list[str] = []
    section: type[Frozen] | None = None
    for line in text.splitlines():
        if found := re.match(r"(\w+):", line):
            field = Config.model_fields[found[1]]
            section = field.annotation if isinstance(field.annotation, type) else None
            lines += ["", *_comment(Config.meanings().get(found[1], ""), "")]
        elif (found := re.match(r"  (\w+):", line)) and section is not None and issubclass(section, Frozen):
            lines += _comment(section.meanings().get(found[1], ""), "  ")
        lines.append(line)
    return "\n".join(lines) + "\n"


def _comment(meaning: str, indent: str) -> Iterator[str]:
    text = meaning[:1].upper() + meaning[1:]
    for line in textwrap.wrap(text, _WIDTH - len(indent) - 2, break_long_words=False, break_on_hyphens=False):
        yield f"{indent}# {line}"


def _with_answers(text: str, answers: Answers) -> str:
    """The shipped configuration, from its first section on, with the search's name, the space's file and the text."""
    Config.parse({"search": {"name": answers.name}})
    text = text[text.index("search:") :]
    text = re.sub(r"^  name: .*$", f"  name: {json.dumps(answers.name)}", text, count=1, flags=re.MULTILINE)
    text = re.sub(r"^space: .*$", "space: space.yaml", text, count=1, flags=re.MULTILINE)
    if answers.texts:
        data = _own_text(answers)
        text = re.sub(r"(^#.*\n)*^data:\n(  .*\n)+", lambda _: data, text, count=1, flags=re.MULTILINE)
    return text


def _own_text(answers: Answers) -> str:
    paths = []
    for text in answers.texts:
        path = text.expanduser().absolute()
        if not path.exists():
            raise UserError("--text", text, "no such file or folder; name one that exists")
        paths.append(f"    - {json.dumps(str(path), ensure_ascii=False)}\n")
    # Bytes need no training of a tokenizer, and compare with the demo; at scale they are too many tokens.
    tokenizer = "bpe" if answers.place == "frontier" else "byte"
    return f"data:\n  source: files\n  paths:\n{''.join(paths)}  tokenizer: {tokenizer}\n"


def _with_resources(text: str, answers: Answers) -> str:
    """A profile's text that asks for the partition and the account."""
    for key, value in (("slurm_partition", answers.partition), ("slurm_account", answers.account)):
        if value is None:
            continue
        # Snakemake evaluates what looks like Python: the inner quotes keep a partition called `all` a name.
        line = f"  {key}: \"'{value}'\"\n"
        text, replaced = re.subn(rf"^  (#   )?{key}: .*\n", line, text, count=1, flags=re.MULTILINE)
        if not replaced:
            text = text.replace("default-resources:\n", f"default-resources:\n{line}", 1)
    return text
