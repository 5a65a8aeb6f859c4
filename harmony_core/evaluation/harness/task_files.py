"""Task files of lm-evaluation-harness, read so that nothing in them runs code or leaves their folder.

The harness's own reader resolves `!function` by importing Python, follows includes anywhere, loads metrics and data
from a hub by name, and renders templates without a sandbox. Here a file may say what `_FIELDS` lists, in plain values.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harmony_core.base import read_yaml
from harmony_core.errors import UserError

# What needs more says so by its own name; `--allow-code` hands the folder to the harness as it is.
_ALLOW = "or trust the folder with --allow-code"
_FIELDS = {
    "task", "task_alias", "tag", "dataset_path", "dataset_name", "dataset_kwargs", "training_split", "validation_split",
    "test_split", "fewshot_split", "doc_to_text", "doc_to_target", "doc_to_choice", "description", "target_delimiter",
    "fewshot_delimiter", "fewshot_config", "num_fewshot", "metric_list", "output_type", "generation_kwargs", "repeats",
    "filter_list", "gen_prefix", "metadata", "should_decontaminate", "doc_to_decontamination_query",
}  # fmt: skip
_DATA_OPTIONS = {"data_files", "field", "delimiter", "column_names"}
_SUFFIXES = {
    "json": (".json", ".jsonl"),
    "csv": (".csv", ".tsv"),
    "parquet": (".parquet",),
    "arrow": (".arrow",),
    "text": (".txt",),
}
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class TaskFiles:
    """What a folder of tasks says.

    Args:
        configs: a task's fields by its name, with its data's files as absolute paths.
        checksum: SHA-256 of the task files and of the data that they name.
    """

    configs: dict[str, dict[str, Any]]
    checksum: str


def read_tasks(folder: Path) -> TaskFiles:
    """The tasks of the YAML files in a folder; files that others include need no name of their own.

    Args:
        folder: of the task files and their data.

    Raises:
        UserError: there is no task, a file asks for code or for what is outside of the folder, or two have one name.
    """
    root = folder.resolve()
    if not root.is_dir():
        raise UserError("tasks", folder, "no such folder; name one with task files (*.yaml) of lm-evaluation-harness")
    configs: dict[str, dict[str, Any]] = {}
    used: set[Path] = set()
    for path in sorted(root.rglob("*.yaml")):
        fields = _with_includes(path, root, used, ())
        name = fields.get("task")
        if name is None:
            continue
        if not isinstance(name, str):
            raise UserError(_place(path, root, "task"), name, f"a group of tasks; give each a file, {_ALLOW}")
        if name in configs:
            raise UserError(_place(path, root, "task"), name, "another file has this name; rename one")
        configs[name] = _checked(fields, path, root, used)
    if not configs:
        raise UserError("tasks", folder, "no *.yaml with a `task` in it; write one as lm-evaluation-harness reads them")
    return TaskFiles(configs, checksum(root, used))


def checksum(root: Path, files: set[Path]) -> str:
    """SHA-256 of files by name and content.

    Args:
        root: the folder that names are told from.
        files: all within it.
    """
    total = hashlib.sha256()
    for path in sorted(files):
        with path.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        total.update(f"{path.relative_to(root)}\0{content}\n".encode(errors="surrogateescape"))
    return total.hexdigest()


def _with_includes(path: Path, root: Path, used: set[Path], within: tuple[Path, ...]) -> dict[str, Any]:
    """A file's fields over those of the files that it includes."""
    fields = _read(path, root)
    used.add(path)
    includes = fields.pop("include", [])
    merged: dict[str, Any] = {}
    for include in includes if isinstance(includes, list) else [includes]:
        other = _inside(include, path, root, "include")
        if other in (*within, path):
            raise UserError(_place(path, root, "include"), include, "includes itself; take that out")
        merged.update(_with_includes(other, root, used, (*within, path)))
    return {**merged, **fields}


def _read(path: Path, root: Path) -> dict[str, Any]:
    """A file's fields; UserError for one that is no mapping, or has a tag such as `!function`."""
    if path.stat().st_size > _MOST_BYTES:
        raise UserError(_place(path, root, ""), f"{path.stat().st_size} bytes", f"use at most {_MOST_BYTES}")
    if tag := _first_tag(path):
        raise UserError(_place(path, root, ""), tag, f"it asks for code; take it out, {_ALLOW}")
    fields = read_yaml(path)
    if not isinstance(fields, dict) or not all(isinstance(key, str) for key in fields):
        raise UserError(_place(path, root, ""), type(fields).__name__, "use a mapping of a task's fields")
    return fields


def _checked(fields: dict[str, Any], path: Path, root: Path, used: set[Path]) -> dict[str, Any]:
    """The fields with absolute paths of the data; UserError for what would run code or load from elsewhere."""
    for name in sorted(fields.keys() - _FIELDS):
        raise UserError(_place(path, root, name), str(fields[name])[:60], f"not read here; take it out, {_ALLOW}")
    for name, known, what in _registered(fields):
        if name not in known:
            fix = f"it would be loaded from elsewhere; use one of {', '.join(sorted(known)[:12])}, ..., {_ALLOW}"
            raise UserError(_place(path, root, what), str(name)[:60], fix)
    kind = fields.get("dataset_path")
    if kind not in _SUFFIXES:
        fix = f"data is not loaded from a hub; use {', '.join(_SUFFIXES)} with dataset_kwargs.data_files, {_ALLOW}"
        raise UserError(_place(path, root, "dataset_path"), kind, fix)
    options = fields.get("dataset_kwargs")
    if not isinstance(options, dict) or "data_files" not in options or not options.keys() <= _DATA_OPTIONS:
        fix = f"name data_files, and beside them only {', '.join(sorted(_DATA_OPTIONS - {'data_files'}))}"
        raise UserError(_place(path, root, "dataset_kwargs"), str(options)[:60], fix)
    found = _data_files(options["data_files"], path, root, _SUFFIXES[kind])
    used.update(Path(name) for name in _leaves(found))
    return {**fields, "dataset_kwargs": {**options, "data_files": found}}


def _registered(fields: Mapping[str, Any]) -> Iterator[tuple[Any, set[str], str]]:
    """What a task names of the harness's registries: the name, those that there are, and where it stands."""
    from lm_eval.api.registry import AGGREGATION_REGISTRY, FILTER_REGISTRY, METRIC_REGISTRY

    metrics, aggregations = set(METRIC_REGISTRY), set(AGGREGATION_REGISTRY)
    # `custom` takes a function.
    filters = set(FILTER_REGISTRY) - {"custom"}
    for entry in _mappings(fields.get("metric_list")):
        yield entry.get("metric"), metrics, "metric_list.metric"
        if "aggregation" in entry:
            yield entry["aggregation"], aggregations, "metric_list.aggregation"
        if entry.get("hf_evaluate"):
            yield "hf_evaluate", set(), "metric_list.hf_evaluate"
    for entry in _mappings(fields.get("filter_list")):
        for step in _mappings(entry.get("filter")):
            yield step.get("function"), filters, "filter_list.filter.function"


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []


def _data_files(value: Any, path: Path, root: Path, suffixes: tuple[str, ...]) -> Any:
    """The same shape with absolute paths."""
    if isinstance(value, dict):
        return {str(split): _data_files(one, path, root, suffixes) for split, one in value.items()}
    if isinstance(value, list):
        return [_data_files(one, path, root, suffixes) for one in value]
    found = _inside(value, path, root, "dataset_kwargs.data_files")
    if found.suffix not in suffixes:
        raise UserError(_place(path, root, "dataset_kwargs.data_files"), value, f"use a file in {', '.join(suffixes)}")
    return str(found)


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    else:
        for one in value.values() if isinstance(value, dict) else value:
            yield from _leaves(one)


def _inside(name: Any, path: Path, root: Path, field: str) -> Path:
    """A file that another names, from its own folder; UserError where it is not within `root`, links followed."""
    if not isinstance(name, str) or "://" in name or "::" in name:
        raise UserError(_place(path, root, field), name, f"name a file of this folder, {_ALLOW}")
    found = (path.parent / name).resolve()
    if not found.is_relative_to(root):
        raise UserError(_place(path, root, field), name, f"it is outside of the folder; copy it in, {_ALLOW}")
    if not found.is_file():
        raise UserError(_place(path, root, field), name, "no such file; it is told from the file's own folder")
    return found


def _place(path: Path, root: Path, field: str) -> str:
    name = str(path.relative_to(root))
    return f"{name}: {field}" if field else name


def _first_tag(path: Path) -> str:
    """The first tag of a file, such as `!function utils.score`; plain data has none. Errors are for who reads it."""
    with contextlib.suppress(yaml.YAMLError, ValueError, RecursionError):
        tokens = list(yaml.scan(path.read_text(encoding="utf-8")))
        for tag, following in itertools.pairwise(tokens):
            if isinstance(tag, yaml.TagToken):
                return f"{''.join(filter(None, tag.value))} {getattr(following, 'value', '')}".strip()
    return ""
