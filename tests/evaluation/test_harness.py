"""`harmony evaluate`: scores as lm-evaluation-harness finds them, and task files that may run nothing."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from harmony_core.architecture import Architecture
from harmony_core.data.tokenizer import ByteTokenizer
from harmony_core.errors import UserError
from harmony_core.evaluation.harness.run import Asked, evaluate, offline
from harmony_core.models import HybridLM, build
from harmony_core.store.table import to_arrow
from harmony_core.store.task_scores import TASK_SCORES

STACK = {
    "d_model": 32,
    "vocab_size": 257,
    "blocks": [{"kind": "mqa", "num_heads": 2, "head_dim": 16}, {"kind": "mlp", "d_ff": 64}],
}
KEY = {"search": "one", "generation": 0, "candidate": 0, "architecture_id": "0" * 16, "replicate": 0, "rate": 0}
TASK = {
    "task": "animals",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "animals.jsonl"}},
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": "The {{kind}} says",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "answer",
    "metadata": {"version": 2},
}
EXAMPLES = [
    {"kind": kind, "choices": ["moo", "woof", "baa"], "answer": answer}
    for kind, answer in (("cow", 0), ("dog", 1), ("sheep", 2), ("calf", 0))
]


@pytest.fixture(scope="module")
def harness() -> Iterator[None]:
    pytest.importorskip("lm_eval", reason="harmony-search[eval] is not installed")
    before = dict(os.environ)
    with offline():
        assert os.environ["HF_HUB_OFFLINE"] == "1"
        yield
    assert dict(os.environ) == before


@pytest.fixture(scope="module")
def model() -> HybridLM:
    return build(Architecture.parse(STACK), init_seed=3).eval()


def write(folder: Path, name: str = "animals.yaml", **fields: object) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "animals.jsonl").write_text("".join(json.dumps(one) + "\n" for one in EXAMPLES))
    (folder / name).write_text(yaml.safe_dump({**TASK, **fields}))


def asked(folder: Path, **options: object) -> Asked:
    standard = {"num_fewshot": None, "limit": None, "max_length": 64, "seed": 0, "allow_code": False}
    return Asked(folder, **{**standard, **options})  # type: ignore[arg-type]


def likelihood(model: HybridLM, context: str, continuation: str) -> float:
    """Of a continuation, token by token."""
    tokens = [256, *f"{context}{continuation}".encode()]
    with torch.no_grad():
        told_TV = model(torch.tensor([tokens[:-1]]))[0].double().log_softmax(-1)
    start = len(tokens) - 1 - len(continuation.encode())
    return sum(float(told_TV[place, tokens[place + 1]]) for place in range(start, len(tokens) - 1))


@pytest.mark.usefixtures("harness")
def test_scores_are_those_of_likelihoods_counted_by_hand(model: HybridLM, tmp_path: Path) -> None:
    write(tmp_path)
    text = " ".join(one["kind"] for one in EXAMPLES) * 4  # type: ignore[misc]
    (tmp_path / "text.jsonl").write_text(json.dumps({"text": text}) + "\n")
    write(
        tmp_path,
        "text.yaml",
        task="text",
        dataset_kwargs={"data_files": {"test": "text.jsonl"}},
        output_type="loglikelihood_rolling",
        doc_to_text="",
        doc_to_target="{{text}}",
        doc_to_choice=None,
    )
    identity, rows = evaluate(lambda: model, ByteTokenizer(), asked(tmp_path), KEY)
    to_arrow(rows, TASK_SCORES)
    right = 0
    for one in EXAMPLES:
        told = [likelihood(model, f"The {one['kind']} says", f" {choice}") for choice in one["choices"]]  # type: ignore[attr-defined]
        right += told.index(max(told)) == one["answer"]
    (acc,) = (row for row in rows if (row["task"], row["metric"]) == ("animals", "acc"))
    assert (acc["value"], acc["num_samples"], acc["version"]) == (right / len(EXAMPLES), len(EXAMPLES), "2")
    assert acc["higher_is_better"] is True
    assert acc["standard_error"] > 0 or right in (0, len(EXAMPLES))
    (bits,) = (row for row in rows if row["metric"] == "bits_per_byte")
    assert len(text) > 64
    windows = -sum(likelihood_of_window(model, text, start) for start in range(0, len(text), 64))
    assert bits["value"] == pytest.approx(windows / len(text) / math.log(2), rel=1e-5)
    again, same = evaluate(lambda: model, ByteTokenizer(), asked(tmp_path), KEY)
    changing = {"seconds", "started_at"}
    assert again == identity
    assert [{k: v for k, v in row.items() if k not in changing} for row in same] == [
        {k: v for k, v in row.items() if k not in changing} for row in rows
    ]
    assert evaluate(lambda: model, ByteTokenizer(), asked(tmp_path, limit=2), KEY)[0] != identity


def likelihood_of_window(model: HybridLM, text: str, start: int) -> float:
    """Of 64 tokens of a text after the one before them, or the last 64 for the last window."""
    tokens = [256, *text.encode()]
    end = min(start + 64, len(text))
    first = max(0, end - 64)
    with torch.no_grad():
        told_TV = model(torch.tensor([tokens[first:end]]))[0].double().log_softmax(-1)
    return sum(float(told_TV[place - first, tokens[place + 1]]) for place in range(start, end))


@pytest.mark.usefixtures("harness")
def test_it_writes_until_a_stop(model: HybridLM) -> None:
    from harmony_core.evaluation.harness.language_model import TrainedLM

    lm = TrainedLM(model, ByteTokenizer(), 64, seed=0)
    options = {"until": [], "max_gen_toks": 12, "do_sample": False}
    (whole,) = lm.generate_until([SimpleNamespace(args=("to be", options))])
    assert len(whole) > 2
    stop = whole[2]
    (cut,) = lm.generate_until([SimpleNamespace(args=("to be", {**options, "until": [stop]}))])
    assert cut == whole[: whole.index(stop)]


@pytest.mark.usefixtures("harness")
@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"dataset_path": "glue"}, "dataset_path: glue: data is not loaded from a hub"),
        ({"dataset_kwargs": {"data_files": "../outside.jsonl"}}, "it is outside of the folder"),
        ({"dataset_kwargs": {"data_files": "https://example.org/a.jsonl"}}, "name a file of this folder"),
        ({"dataset_kwargs": {"data_files": "link.jsonl"}}, "it is outside of the folder"),
        ({"dataset_kwargs": {"data_files": "animals.jsonl", "trust_remote_code": True}}, "dataset_kwargs"),
        ({"metric_list": [{"metric": "somebody/metric"}]}, "it would be loaded from elsewhere"),
        ({"metric_list": [{"metric": "acc", "hf_evaluate": True}]}, "it would be loaded from elsewhere"),
        ({"filter_list": [{"name": "a", "filter": [{"function": "custom"}]}]}, "it would be loaded from elsewhere"),
        ({"process_docs": "utils.process"}, "process_docs: utils.process: not read here"),
        ({"class": "os.system"}, "not read here"),
        ({"include": "../outside.yaml"}, "it is outside of the folder"),
        ({"include": "animals.yaml"}, "includes itself"),
        ({"task": ["one", "two"]}, "a group of tasks"),
        ({"doc_to_text": "{{ ''.__class__.__mro__ }}"}, "SecurityError: access to attribute '__class__'"),
        ({"doc_to_text": "{{ nothing }}"}, "animals: UndefinedError: 'nothing' is undefined"),
        ({"doc_to_text": "{{ kind if kind == 'cow' else nothing }}"}, "template: 'nothing' is undefined"),
        ({"output_type": "magic"}, "animals: ValueError: Got invalid output_type 'magic'"),
    ],
)
def test_a_task_that_runs_or_loads_something_is_refused(
    model: HybridLM, tmp_path: Path, fields: dict[str, object], told: str
) -> None:
    (tmp_path / "outside.jsonl").write_text("{}\n")
    (tmp_path / "outside.yaml").write_text("task: other\n")
    write(tmp_path / "tasks", **fields)
    (tmp_path / "tasks" / "link.jsonl").symlink_to(tmp_path / "outside.jsonl")
    with pytest.raises(UserError) as refused:
        evaluate(lambda: model, ByteTokenizer(), asked(tmp_path / "tasks"), KEY)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.usefixtures("harness")
def test_python_of_a_task_runs_only_where_it_is_trusted(
    model: HybridLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tasks"
    write(folder)
    task = folder / "animals.yaml"
    task.write_text(task.read_text() + "process_docs: !function utils.process\n")
    mark = tmp_path / "ran"
    (folder / "utils.py").write_text(f"open({str(mark)!r}, 'w').close()\ndef process(docs):\n    return docs\n")
    with pytest.raises(UserError, match=r"animals\.yaml: !function utils\.process: it asks for code"):
        evaluate(lambda: model, ByteTokenizer(), asked(folder), KEY)
    assert not mark.exists()
    # The harness's own reader finds data from where one stands.
    monkeypatch.chdir(folder)
    _, rows = evaluate(lambda: model, ByteTokenizer(), asked(folder, allow_code=True), KEY)
    assert mark.exists()
    assert {row["task"] for row in rows} == {"animals"}
