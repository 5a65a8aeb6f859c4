import errno
import hashlib
import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harmony_core import atomic
from harmony_core.data import SPLITS, DataManifest, TokenDataset
from harmony_core.data.shards import ShardWriter, open_shard
from harmony_core.errors import UserError

B, T = 4, 32


@pytest.fixture
def data(synthetic_folder: Path) -> TokenDataset:
    return TokenDataset(synthetic_folder, "train")


@pytest.fixture
def copy(synthetic_folder: Path, tmp_path: Path) -> Path:
    """A prepared folder that a test may damage."""
    return Path(shutil.copytree(synthetic_folder, tmp_path / "copy"))


def test_batch_is_a_function_of_its_arguments(synthetic_folder: Path, data: TokenDataset) -> None:
    batch = data.batch(7, B, T, data_seed=3)
    assert batch.shape == (B, T + 1)
    assert batch.dtype == np.int64
    data.batch(8, B, T, data_seed=3)
    assert (TokenDataset(synthetic_folder, "train").batch(7, B, T, data_seed=3) == batch).all()
    assert (data.batch(8, B, T, data_seed=3) != batch).any()
    assert (data.batch(7, B, T, data_seed=4) != batch).any()


def test_rows_do_not_depend_on_how_steps_are_cut(data: TokenDataset) -> None:
    whole = data.batch(5, 8, T, 0)
    halves = [data.batch(10, 4, T, 0), data.batch(11, 4, T, 0)]
    assert (np.concatenate(halves) == whole).all()
    assert (data.batch(5 * 8 + 3, 1, T, 0)[0] == whole[3]).all()


def test_threads_get_what_one_gets(data: TokenDataset) -> None:
    expected = [data.batch(step, B, T, 0) for step in range(40)]
    found: dict[int, np.ndarray] = {}

    def read(first: int) -> None:
        for step in range(first, 40, 4):
            found[step] = data.batch(step, B, T, 0)

    threads = [threading.Thread(target=read, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((found[step] == expected[step]).all() for step in range(40))


def test_every_window_once_an_epoch(data: TokenDataset) -> None:
    windows = data.num_windows(T)
    in_order = np.concatenate(list(data.windows(64, T, data.num_tokens)))
    assert len(in_order) == windows
    expected = Counter(map(bytes, in_order))
    epochs = [np.concatenate([data.batch(n, 1, T, 0) for n in range(e * windows, (e + 1) * windows)]) for e in (0, 1)]
    assert Counter(map(bytes, epochs[0])) == expected
    assert Counter(map(bytes, epochs[1])) == expected
    assert (epochs[0] != epochs[1]).any()
    assert (epochs[0] != in_order).any()


def test_a_batch_may_span_epochs(data: TokenDataset) -> None:
    windows = data.num_windows(T)
    across = data.batch(0, windows + 2, T, 0)
    assert (across[windows - 1] == data.batch(windows - 1, 1, T, 0)[0]).all()
    assert (across[windows + 1] == data.batch(windows + 1, 1, T, 0)[0]).all()


def test_evaluation_reads_the_whole_split_when_it_may(data: TokenDataset) -> None:
    rows = np.concatenate(list(data.windows(B, T, data.num_tokens)))
    stream = np.concatenate([rows[0, :1], rows[:, 1:].reshape(-1)])
    everything = data.batch(0, 1, data.num_tokens - 1, 0)[0]
    assert (stream == everything[: len(stream)]).all()
    assert len(everything) - len(stream) < T


def test_windows_are_spread_evenly_and_targets_never_repeat(data: TokenDataset) -> None:
    batches = list(data.windows(B, T, 10 * T + 5))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    chosen, total = data.evaluation_windows(T, 10 * T + 5), data.num_windows(T)
    gaps = np.diff(np.concatenate([[-chosen[0]], chosen, [2 * (total - 1) - chosen[-1]]]))
    assert chosen[0] < total / 10 <= total - chosen[-1] + total / 10
    assert gaps[1:-1].max() - gaps[1:-1].min() <= 1
    everything = data.batch(0, 1, data.num_tokens - 1, 0)[0]
    for row, window in zip(np.concatenate(batches), chosen, strict=True):
        assert (row == everything[window * T : window * T + T + 1]).all()


def test_each_document_has_its_share_of_the_windows(
    prepare_files: Callable[..., tuple[Path, DataManifest]], tmp_path: Path
) -> None:
    for name, letter, lines in (("a", "a", 100), ("b", "b", 300), ("c", "c", 500), ("d", "d", 40), ("e", "e", 60)):
        (tmp_path / f"{name}.txt").write_text(f"{letter * 15}\n" * lines)
    folder, _ = prepare_files(tmp_path)
    data = TokenDataset(folder, "train")
    chosen = data.evaluation_windows(16, 40 * 16)
    documents = data.documents_of(chosen, 16)
    rows = np.concatenate(list(data.windows(7, 16, 40 * 16)))
    assert set(documents) == set(range(len(data.documents)))
    for row, document in zip(rows, documents, strict=True):
        letter = Path(data.documents[document]).stem[0]
        # The middle of the window is of its document; a window over an end has both.
        assert chr(row[1 + 16 // 2]) in (letter, "\n")
    lengths = np.diff([*np.flatnonzero(data.batch(0, 1, data.num_tokens - 1, 0)[0] == 256), data.num_tokens])
    shares = np.bincount(documents) / len(documents)
    assert np.abs(shares - lengths / lengths.sum()).max() <= 1 / 40 + 1e-9


def test_windows_refuse_less_than_one(data: TokenDataset) -> None:
    with pytest.raises(UserError, match=r"31.*32"):
        list(data.windows(B, T, T - 1))


def test_first_token_is_a_separator_and_all_text_is_a_target(data: TokenDataset) -> None:
    rows = data.batch(0, 1, data.num_tokens - 1, 0)
    assert rows[0, 0] == data.tokenizer.separator
    assert data.token_bytes[rows[0, 1:]].sum() == data.manifest.splits["train"].bytes


def test_short_text_names_split_and_numbers(
    prepare_files: Callable[..., tuple[Path, DataManifest]], tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("0123456789\n" * 20)
    folder, manifest = prepare_files(tmp_path / "a.txt")
    tokens = manifest.splits["validation"].tokens
    data = TokenDataset(folder, "validation")
    assert len(next(data.windows(1, tokens - 1, tokens))[0]) == tokens
    with pytest.raises(UserError) as caught:
        data.batch(0, 1, tokens, 0)
    message = str(caught.value)
    assert "validation split of files" in message
    assert f"{tokens} tokens where one sequence needs {tokens + 1}" in message


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "grow"])
@pytest.mark.parametrize("file", ["validation-00000.bin", "tokenizer.json", "manifest.json"])
def test_damage_is_told_with_file_and_fix(copy: Path, file: str, damage: str) -> None:
    path = copy / file
    content = path.read_bytes()
    if damage == "remove":
        path.unlink()
    else:
        half = len(content) // 2
        flipped = content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :]
        path.write_bytes({"truncate": content[:half], "flip": flipped, "grow": content + b"x"}[damage])
    with pytest.raises(UserError) as caught:
        _ = TokenDataset(copy, "validation").token_bytes
    assert file in caught.value.field
    assert "prepare the data" in caught.value.fix


def test_truncated_shard_is_told_without_checksums_too(copy: Path) -> None:
    path = copy / "test-00000.bin"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(UserError, match="bytes where the manifest has"):
        TokenDataset(copy, "test", verify=False)


def test_edited_manifest_is_told(copy: Path) -> None:
    path = copy / "manifest.json"
    content = path.read_text()
    assert '"vocab_size": 257' in content
    path.write_text(content.replace('"vocab_size": 257', '"vocab_size": 258'))
    with pytest.raises(UserError, match="corrupted"):
        DataManifest.load(copy)


def test_checksums_are_computed_once_a_process(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[Any] = []
    real = hashlib.file_digest

    def counted(file: Any, name: str) -> Any:
        computed.append(file)
        return real(file, name)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    for _ in range(3):
        TokenDataset(copy, "test")
    TokenDataset(copy, "train", verify=False)
    assert len(computed) == 1


@pytest.mark.parametrize("dtype", ["<u2", "<u4"])
def test_windows_cross_shards(tmp_path: Path, copy: Path, dtype: str) -> None:
    """The same tokens in one shard and in many small ones give the same rows."""
    original = TokenDataset(copy, "test")
    stream = original.batch(0, 1, original.num_tokens - 1, 0)[0].astype(np.uint32)
    with ShardWriter(tmp_path, "test", dtype, shard_tokens=701) as writer:
        for piece in np.array_split(stream, 17):
            writer.write(piece)
        small = writer.finish()
    assert [record.tokens for record in small[:-1]] == [701] * (len(small) - 1)
    assert sum(record.tokens for record in small) == original.num_tokens
    many = TokenDataset(copy, "test")
    many._shards = [open_shard(tmp_path, record, dtype, verify=True) for record in small]
    many._ends = np.cumsum([record.tokens for record in small])
    assert (many.batch(3, 5, 1500, 1) == original.batch(3, 5, 1500, 1)).all()


def test_manifest_survives_reading(synthetic_folder: Path, tmp_path: Path) -> None:
    manifest = DataManifest.load(synthetic_folder)
    (tmp_path / "manifest.json").write_text(manifest.to_json())
    assert DataManifest.load(tmp_path) == manifest
    assert tuple(manifest.splits) == SPLITS
    assert len(manifest.checksum) == 64
    with pytest.raises(UserError, match="prepare the data first"):
        DataManifest.load(synthetic_folder / "none")


@pytest.mark.parametrize(
    ("number", "fix"),
    [
        (errno.EIO, "the data may be whole: read it on another node first"),
        (errno.EACCES, "ask its owner for the right to read it"),
        (errno.ENOENT, "prepare"),
    ],
)
@pytest.mark.parametrize("name", ["manifest.json", "tokenizer.json", "train-00000.bin"])
def test_only_data_that_is_gone_is_to_be_prepared_again(
    synthetic_folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, fix: str, name: str
) -> None:
    monkeypatch.setattr(atomic, "PATIENCE_SECONDS", 0.1)

    def failing(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Path, *arguments: Any, **options: Any) -> Any:
            if path.name == name:
                raise OSError(number, os.strerror(number))
            return function(path, *arguments, **options)

        return call

    for method in ("read_bytes", "stat"):
        monkeypatch.setattr(Path, method, failing(getattr(Path, method)))
    with pytest.raises(UserError, match=fix) as told:
        TokenDataset(synthetic_folder, "train").tokenizer  # noqa: B018
    assert ("delete" in str(told.value)) == (number == errno.ENOENT and name != "manifest.json")
