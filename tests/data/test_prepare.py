import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harmony_core.data import SPLITS, DataConfig, DataManifest, TokenDataset, data_id, prepare
from harmony_core.data.manifest import MAX_NAMES
from harmony_core.data.staging import staged_folder
from harmony_core.errors import UserError

SMALL = DataConfig(source="synthetic", max_bytes=8000)


def quiet(line: str) -> None:
    """A log that nobody reads."""


def test_makes_a_folder_once(tmp_path: Path) -> None:
    lines: list[str] = []
    manifest = prepare(SMALL, tmp_path, lines.append)
    folder = tmp_path / manifest.id
    assert data_id(SMALL) == manifest.id
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert prepare(SMALL, tmp_path, lines.append) == manifest == DataManifest.load(folder)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    first, second = [number for number, line in enumerate(lines) if line.startswith(str(folder))]
    assert "already prepared from synthetic" in lines[second]
    warned = [line for line in lines[:first] if line.startswith("warning: ")]
    assert lines[second + 1 :] == warned != [], "what was noise is noise again"
    assert [path.name for path in tmp_path.iterdir()] == [manifest.id]
    assert oct(folder.stat().st_mode & 0o777) == oct(0o777 & ~_umask())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_same_configuration_same_tokens_anywhere(tmp_path: Path) -> None:
    config = DataConfig(source="synthetic", max_bytes=30_000, tokenizer="bpe", vocab_size=400)
    first, second = prepare(config, tmp_path / "a", quiet), prepare(config, tmp_path / "b", quiet)
    assert first == second
    other = prepare(config.model_copy(update={"seed": 1}), tmp_path / "a", quiet)
    assert other.checksum != first.checksum


def test_id_counts_what_is_used(tmp_path: Path) -> None:
    same = SMALL.model_copy(update={"vocab_size": 999, "fallback": None, "text_key": "body"})
    assert data_id(same) == data_id(SMALL)
    for change in ({"seed": 1}, {"max_bytes": 9000}, {"tokenizer": "bpe"}, {"source": "installed-python"}):
        assert data_id(SMALL.model_copy(update=change)) != data_id(SMALL)
    shakespeare = DataConfig()
    assert data_id(shakespeare.model_copy(update={"seed": 1})) == data_id(shakespeare)
    synthetic = DataConfig(fallback="synthetic")
    assert data_id(synthetic) != data_id(shakespeare)
    assert data_id(synthetic.model_copy(update={"seed": 1})) != data_id(synthetic)


def test_changed_file_is_new_data(prepare_files: Callable[..., tuple[Path, DataManifest]], tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one line\n" * 50)
    first, manifest = prepare_files(path)
    path.write_text("another line\n" * 50)
    second, changed = prepare_files(path)
    assert first != second
    assert manifest.checksum != changed.checksum


def test_max_bytes_cuts_every_split(prepare_files: Callable[..., tuple[Path, DataManifest]], tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(60):
        (folder / f"{number:02d}.txt").write_text(f"text {number:02d} " * 12)
    _, whole = prepare_files(folder)
    _, cut = prepare_files(folder, max_bytes=150)
    assert all(whole.splits[split].bytes > 80 for split in SPLITS)
    assert cut.splits["train"].bytes == 150
    assert cut.splits["train"].num_documents == 2
    assert all(cut.splits[split].bytes <= 150 for split in SPLITS)


def test_bpe_and_byte_hold_the_same_text(
    prepare_files: Callable[..., tuple[Path, DataManifest]], tmp_path: Path
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("Was für ein schöner Tag, 東京!\n" * 200 + "\x7f\ufffd 🙂 raw\n" * 20)
    texts = []
    for options in ({"tokenizer": "byte"}, {"tokenizer": "bpe", "vocab_size": 320}):
        folder, manifest = prepare_files(path, **options)
        data = TokenDataset(folder, "train")
        row = data.batch(0, 1, data.num_tokens - 1, 0)[0]
        texts.append(data.tokenizer.decode(row.tolist()))
        assert data.token_bytes[row].sum() == manifest.splits["train"].bytes
        assert row.max() < data.vocab_size == manifest.vocab_size
    assert texts[0] == texts[1]


def test_names_of_documents_are_bounded(
    prepare_files: Callable[..., tuple[Path, DataManifest]], tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(f'{{"text": "document {n}"}}\n' for n in range(1500)))
    _, manifest = prepare_files(path)
    assert len(manifest.splits["train"].documents) == MAX_NAMES
    assert manifest.splits["train"].num_documents > 1200
    assert sum(manifest.splits[split].num_documents for split in SPLITS) == 1500


def test_text_too_short_for_three_splits_is_refused(
    prepare_files: Callable[..., tuple[Path, DataManifest]], tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UserError, match="1 bytes of different text"):
        prepare_files(tmp_path / "a.txt")


def test_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left") as caught:
        prepare(SMALL, tmp_path / "root", quiet)
    assert caught.value.field == str(tmp_path / "root")
    assert list((tmp_path / "root").iterdir()) == []
    monkeypatch.undo()
    assert prepare(SMALL, tmp_path / "root", quiet).source == "synthetic"


def test_root_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "root").touch()
    with pytest.raises(UserError, match="folder that can be written"):
        prepare(SMALL, tmp_path / "root", quiet)


def test_second_of_two_keeps_what_the_first_made(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with staged_folder(target) as slow:
        (slow / "by").write_text("slow")
        with staged_folder(target) as fast:
            (fast / "by").write_text("fast")
        assert (target / "by").read_text() == "fast"
    assert (target / "by").read_text() == "fast"
    assert list(tmp_path.iterdir()) == [target]


def test_many_at_once(tmp_path: Path) -> None:
    barrier, found = threading.Barrier(4), []

    def run() -> None:
        barrier.wait()
        found.append(prepare(SMALL, tmp_path, quiet))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len({manifest.checksum for manifest in found}) == 1
    assert [path.name for path in tmp_path.iterdir()] == [found[0].id]


def test_killed_half_way_leaves_no_folder_and_the_next_cleans_up(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from harmony_core.data.staging import staged_folder\n"
        f"with staged_folder(Path({str(tmp_path / 'target')!r})) as folder:\n"
        "    (folder / 'half').write_text('half')\n"
        "    print('ready', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command, pipe = [sys.executable, "-c", code], subprocess.PIPE
    with subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        [temporary] = tmp_path.iterdir()
        with staged_folder(tmp_path / "target") as folder:
            assert temporary.exists(), "a living process keeps its folder"
            (folder / "whole").touch()
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert temporary.exists()
    with staged_folder(tmp_path / "target"):
        assert not temporary.exists()
    assert (tmp_path / "target" / "whole").exists()


def test_failure_inside_removes_the_folder_and_is_not_hidden(tmp_path: Path) -> None:
    def fail(error: Exception) -> None:
        with staged_folder(tmp_path / "target") as folder:
            (folder / "half").touch()
            raise error

    for error in (ZeroDivisionError(), OSError(errno.EIO, "broken")):
        with pytest.raises(type(error)) as caught:
            fail(error)
        assert caught.value is error
        assert list(tmp_path.iterdir()) == []


def test_damaged_folder_is_not_reused(tmp_path: Path) -> None:
    manifest = prepare(SMALL, tmp_path, quiet)
    (tmp_path / manifest.id / "manifest.json").write_text("{}")
    with pytest.raises(UserError, match="delete the folder"):
        prepare(SMALL, tmp_path, quiet)


def test_shards_are_what_the_format_says(synthetic_folder: Path) -> None:
    manifest = DataManifest.load(synthetic_folder)
    [record] = manifest.splits["test"].shards
    raw = np.fromfile(synthetic_folder / record.file, dtype="<u2")
    assert len(raw) == record.tokens
    assert raw[0] == manifest.separator
    assert (raw == manifest.separator).sum() == manifest.splits["test"].num_documents
