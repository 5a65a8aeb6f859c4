"""One evaluation of a trained model by lm-evaluation-harness, offline, as rows."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harmony_core.base import digest
from harmony_core.data import Tokenizer
from harmony_core.errors import UserError
from harmony_core.host import host_name

Row = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """What is asked of a model.

    Args:
        tasks: folder of the task files.
        num_fewshot: examples before each; None is what the task says.
        limit: examples a task at most; None is all.
        max_length: tokens of a request at most.
        seed: of examples and draws.
        allow_code: whether the harness reads the folder itself, and so runs Python that the files name.
    """

    tasks: Path
    num_fewshot: int | None
    limit: int | None
    max_length: int
    seed: int
    allow_code: bool


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """Lets the harness be imported so that it asks no network, and keeps what it caches in a folder that goes.

    Raises:
        UserError: it is not installed.
    """
    environment = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="harmony-harness-") as cache:
        offline_settings = dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE"), "1")
        os.environ.update(offline_settings, HF_DATASETS_CACHE=cache)
        try:
            with _sandboxed_templates():
                yield
        finally:
            os.environ.clear()
            os.environ.update(environment)


@contextlib.contextmanager
def _sandboxed_templates() -> Iterator[None]:
    """Templates come from the task files; without a sandbox they reach Python's objects."""
    try:
        import lm_eval.utils
    except ImportError as error:
        fix = f"not installed ({error.name}); pip install 'harmony-search[eval]'"
        raise UserError("evaluate", "lm-evaluation-harness", fix) from None
    before = lm_eval.utils.env
    lm_eval.utils.env = _sandbox(before)
    try:
        yield
    finally:
        lm_eval.utils.env = before


def evaluate(load: Any, tokenizer: Tokenizer, asked: Asked, key: Mapping[str, Any]) -> tuple[str, list[Row]]:
    """Asks a model all tasks of a folder; called within `offline`.

    Args:
        load: gives the model, on its device, once the tasks are known to be whole.
        tokenizer: what its tokens are.
        asked: the tasks and how.
        key: columns that say whose rows they are.

    Returns:
        A digest of what the rows are a function of, and the rows, by `store.task_scores`.

    Raises:
        UserError: a task file is refused, or the harness cannot use it.
    """
    tasks, checksum = _tasks(asked)
    harness = f"lm-evaluation-harness {importlib.metadata.version('lm-eval')}"
    identity = {
        **key,
        **{name: getattr(asked, name) for name in ("num_fewshot", "limit", "max_length", "seed")},
        "tasks_checksum": checksum,
        "harness": harness,
    }
    # The model is not loaded before the tasks are read, which takes seconds.
    from lm_eval.evaluator import simple_evaluate

    from harmony_core.evaluation.harness.language_model import TrainedLM

    started_at, begin = datetime.now(UTC), time.monotonic()
    model = load()
    asker = TrainedLM(model, tokenizer, asked.max_length, asked.seed)
    with _templates_say(), contextlib.redirect_stdout(sys.stderr):
        found = simple_evaluate(
            asker,
            tasks=list(tasks.values()),
            num_fewshot=asked.num_fewshot,
            limit=asked.limit,
            log_samples=False,
            random_seed=asked.seed,
            numpy_random_seed=asked.seed,
            torch_random_seed=asked.seed,
            fewshot_random_seed=asked.seed,
            confirm_run_unsafe_code=asked.allow_code,
        )
    told = {
        **key,
        "limit": asked.limit,
        "max_length": asked.max_length,
        "num_shortened": asker.num_shortened,
        "seed": asked.seed,
        "tasks_checksum": checksum,
        "harness": harness,
        "device": str(next(model.parameters()).device),
        "seconds": time.monotonic() - begin,
        "host": host_name(),
        "started_at": started_at,
    }
    return digest(identity), [{**told, **row} for row in _rows(found)]


def _tasks(asked: Asked) -> tuple[dict[str, Any], str]:
    """The harness's tasks by name, and the checksum of their files."""
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks import TaskManager

    from harmony_core.evaluation.harness.task_files import checksum, read_tasks

    if asked.allow_code:
        root = asked.tasks.resolve()
        files = {path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
        with _harness_says():
            manager = TaskManager(include_path=str(root), include_defaults=False)
            return dict(manager.load(manager.all_subtasks)["tasks"]), checksum(root, files)
    read = read_tasks(asked.tasks)
    tasks = {}
    for name, config in read.configs.items():
        with _harness_says(name):
            tasks[name] = ConfigurableTask(config=config)
    return tasks, read.checksum


@contextlib.contextmanager
def _harness_says(task: str = "tasks") -> Iterator[None]:
    """Says in one line why the harness cannot use a task: it raises whatever its parts do."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        told = (str(error).splitlines() or [""])[0]
        fix = "mend the task file as lm-evaluation-harness's task guide says"
        raise UserError(task, f"{type(error).__name__}: {told}"[:300], fix) from error


@contextlib.contextmanager
def _templates_say() -> Iterator[None]:
    """Says in one line what a task's template asks for in vain: a field that no example has, or Python's objects."""
    import jinja2

    try:
        yield
    except jinja2.TemplateError as error:
        raise UserError("template", str(error), "mend the task file's doc_to_text, doc_to_target or others") from error


def _rows(found: Mapping[str, Any]) -> Iterator[Row]:
    """A row for each metric of each task: `acc,none` beside `acc_stderr,none` in the harness's answer."""
    for task, values in found["results"].items():
        for name, value in values.items():
            metric, _, filtered = name.partition(",")
            if not filtered or metric.endswith("_stderr") or not isinstance(value, int | float):
                continue
            error = values.get(f"{metric}_stderr,{filtered}")
            yield {
                "task": task,
                "version": str(found["versions"].get(task, "")),
                "metric": metric,
                "filter": filtered,
                "higher_is_better": found["higher_is_better"].get(task, {}).get(metric),
                "value": float(value),
                "standard_error": float(error) if isinstance(error, int | float) else None,
                "num_samples": int(found["n-samples"][task]["effective"]),
                "num_fewshot": int(found["n-shot"][task]),
            }


def _sandbox(before: Any) -> Any:
    """A template environment as the harness's, in which templates reach no attributes of Python's objects."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    made = ImmutableSandboxedEnvironment(undefined=before.undefined, keep_trailing_newline=before.keep_trailing_newline)
    made.filters.update(before.filters)
    return made
