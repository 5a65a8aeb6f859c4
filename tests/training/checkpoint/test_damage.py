"""A checkpoint that is not what was written is told from a whole one, and the one before it is used."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from harmony_core.base import canonical_json
from harmony_core.errors import UserError
from harmony_core.training.checkpoint import CheckpointWriter, newest, open_checkpoint
from tests.training.checkpoint.ranks import assert_state, cut, save_all, save_alone, state, writers

VALUES, MANIFEST = "rank=00000.safetensors", "checkpoint.json"


def flip(position: float) -> Callable[[Path], None]:
    """Changes one bit at a place between 0 (the first byte) and 1 (the last)."""

    def change(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[round(position * (len(content) - 1))] ^= 4
        path.write_bytes(content)

    return change


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def garbage(path: Path) -> None:
    path.write_bytes(b"\x00\xff{" * 50)


def other_json(path: Path) -> None:
    path.write_text('[{"crc32": 1}]')


def sealed(path: Path) -> None:
    """A checksum that fits, around something else."""
    text = canonical_json({"format_version": 1, "step": "seven"})
    path.write_text(f'{{"crc32":{zlib.crc32(text.encode())},"content":{text}}}')


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A folder with the steps 3 and 5."""
    writer = CheckpointWriter(tmp_path, 0, 1)
    save_alone(writer, 3)
    save_alone(writer, 5)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "damage"),
    [(VALUES, flip(position)) for position in (0.0, 0.01, 0.3, 0.9, 1.0)]
    + [(MANIFEST, flip(position)) for position in (0.02, 0.3, 0.6, 0.9)]
    + [(name, damage) for name in (VALUES, MANIFEST) for damage in (Path.unlink, cut_short, empty, garbage)]
    + [(MANIFEST, other_json), (MANIFEST, sealed)],
)
def test_the_one_before_is_used_and_the_damage_is_named(two: Path, name: str, damage: Callable[[Path], None]) -> None:
    damage(two / "step=00000005" / name)
    lines: list[str] = []
    assert_state(newest(two, log=lines.append), 3)
    assert len(lines) == 1
    assert f"step=00000005/{name}" in lines[0]
    with pytest.raises(UserError, match=f"step=00000005/{name}: "):
        open_checkpoint(two / "step=00000005")


def test_a_file_that_was_cut_short_is_told_by_its_size(two: Path) -> None:
    path = two / "step=00000005" / VALUES
    whole = path.stat().st_size
    cut_short(path)
    with pytest.raises(UserError, match=f"{VALUES}: {whole - 9} bytes of {whole}: "):
        open_checkpoint(path.parent)


def test_every_bit_of_the_manifest_counts(two: Path) -> None:
    path = two / "step=00000005" / MANIFEST
    content = path.read_bytes()
    for place in range(len(content) - 1):  # the last one is the line's end
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(UserError):
            open_checkpoint(path.parent)


def test_nothing_whole_is_none_with_a_warning_each(two: Path) -> None:
    for step in (3, 5):
        cut_short(two / f"step=0000000{step}" / VALUES)
    lines: list[str] = []
    assert newest(two, log=lines.append) is None
    assert ["step=00000005" in lines[0], "step=00000003" in lines[1], len(lines)] == [True, True, 2]


def test_an_empty_or_absent_folder_has_none(tmp_path: Path) -> None:
    assert newest(tmp_path) is None
    assert newest(tmp_path / "absent") is None


def test_a_folder_that_is_no_checkpoint_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"checkpoint.json: No such file or directory: use another checkpoint"):
        open_checkpoint(tmp_path)


def test_a_newer_format_is_told_and_never_passed_over(two: Path) -> None:
    path = two / "step=00000005" / MANIFEST
    content = json.loads(path.read_text())["content"] | {"format_version": 2}
    text = canonical_json(content)
    path.write_text(f'{{"crc32":{zlib.crc32(text.encode())},"content":{text}}}')
    with pytest.raises(UserError, match=r"format_version: 2: this HARMONY reads 1"):
        newest(two)


def test_ranks_share_the_reading_and_agree(tmp_path: Path) -> None:
    tensors = {"w": state(1)["weights/embedding"]}
    ranks = writers(tmp_path, 3)
    for step in (1, 2):
        pieces = [cut("w", tensors["w"], bounds) for bounds in ([0, 5], [5, 9], [9, 37])]
        save_all(ranks, step, pieces)
    flip(0.9)(tmp_path / "step=00000002" / "rank=00002.safetensors")

    def look(rank: int, others: list[bool]) -> tuple[int | None, list[bool], list[str]]:
        """What `rank` of two finds, and says, while the other says `others` of one checkpoint after the other."""
        said: list[bool] = []
        lines: list[str] = []

        def agree(mine: bool) -> bool:
            said.append(mine)
            return mine and others[len(said) - 1]

        found = newest(tmp_path, rank=rank, world_size=2, agree=agree, log=lines.append)
        return None if found is None else found.step, said, lines

    older, said, (line,) = look(0, [True, True])
    assert (older, said) == (1, [False, True])
    assert "rank=00002.safetensors" in line
    assert look(1, [True, True]) == (2, [True], [])
    assert look(1, [False, True]) == (1, [True, True], [])
    with pytest.raises(UserError, match="another rank found it damaged"):
        open_checkpoint(tmp_path / "step=00000002", rank=1, world_size=2, agree=lambda mine: False)
