"""What is said of a prepared corpus."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harmony_core.data import DataConfig, DataManifest, TokenDataset, prepare
from harmony_core.data.corpus import LeftOut
from harmony_core.data.summary import WINDOW_TOKENS, Summary, summarise
from harmony_core.training.held_out import summarise as summarise_held_out

NOTES = [
    f"note {number}: the lamp is green, and the river walks north by {number * 7919 % 1000}.\n" for number in range(900)
]


def said_of(path: Path, root: Path, **options: object) -> list[str]:
    said: list[str] = []
    prepare(DataConfig.parse({"source": "files", "paths": (str(path),), **options}), root, said.append)
    return said


def test_the_standard_error_is_that_of_a_models_loss(synthetic_folder: Path) -> None:
    """The plainest model's windows, given to what summarises those of a trained one, have the same error."""
    train, test = (TokenDataset(synthetic_folder, split) for split in ("train", "test"))
    found = summarise(LeftOut(), train._shards, test._shards, test.token_bytes)
    counts = 1 + np.bincount(np.concatenate(train._shards), minlength=257)
    nats, num_bytes = [], []
    tokens = np.concatenate(test._shards).astype(np.int64)
    for start in range(0, len(tokens), WINDOW_TOKENS):
        window = tokens[start : start + WINDOW_TOKENS]
        nats.append(float(np.log(counts.sum() / counts[window]).sum()))
        num_bytes.append(int(test.token_bytes[window].sum()))
    documents = np.zeros(len(nats), dtype=np.int64)
    plainly = summarise_held_out(np.array(nats), np.array(num_bytes), WINDOW_TOKENS, documents, ["all"] * 65)
    assert found.bits_per_byte == pytest.approx(plainly.bits_per_byte)
    assert found.standard_error == pytest.approx(plainly.standard_error)


def test_what_is_there_and_what_was_left_out_is_printed(tmp_path: Path) -> None:
    lines = [json.dumps({"text": note}) for note in NOTES]
    (tmp_path / "a.jsonl").write_text("\n".join([*lines, *lines[:50], *["no JSON"] * 3]))
    said = said_of(tmp_path / "a.jsonl", tmp_path / "data", skip_bad_records=True)
    [train] = [line for line in said if line.startswith("train: ")]
    total = sum(map(len, NOTES))
    assert train.startswith("train: 8")
    assert f"{int(train.split(' bytes')[0].split(', ')[-1].replace(',', '')) / total:.1%}" in train
    assert "left out: 50 duplicate(s), 3 bad record(s)" in said
    assert any(line.startswith("standard error of the test split: ") for line in said)
    assert not any("bad records were skipped; look" in line for line in said), "three of a thousand"


def test_what_would_be_noise_is_warned_of(tmp_path: Path) -> None:
    lines = [json.dumps({"text": note}) for note in NOTES[:40]]
    (tmp_path / "a.jsonl").write_text("\n".join([*lines * 3, "no JSON", "no JSON"]))
    warned = [line for line in said_of(tmp_path / "a.jsonl", tmp_path, skip_bad_records=True) if "warning" in line]
    assert [line.partition(";")[0] for line in warned] == [
        "warning: the test split has no two windows of 256 tokens",
        "warning: most documents were duplicates",
        "warning: 2 bad records were skipped",
    ]
    pages = ["abcdefgh" * 99, "zzzz" * 99] * 20
    (tmp_path / "b.jsonl").write_text("\n".join(json.dumps({"text": f"{n}{p}"}) for n, p in enumerate(pages)))
    [warning] = [line for line in said_of(tmp_path / "b.jsonl", tmp_path) if "warning" in line]
    assert "may be noise; use more text" in warning


def test_a_folder_without_one_is_read(prepare_files: Callable[..., tuple[Path, DataManifest]], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("".join(NOTES))
    folder, manifest = prepare_files(tmp_path / "a.txt")
    assert Summary.load(folder) is not None
    for content in (b"{}", b"\xff", b"[" * 10**5):
        (folder / "summary.json").write_bytes(content)
        assert prepare_files(tmp_path / "a.txt")[1] == manifest
    (folder / "summary.json").unlink()
    assert prepare_files(tmp_path / "a.txt")[1] == manifest
