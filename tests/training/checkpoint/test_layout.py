"""What one layout wrote, another reads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from harmony_core.errors import UserError
from harmony_core.training.checkpoint import Piece, check_same, newest, open_checkpoint
from tests.training.checkpoint.ranks import TOKENS, cut, save_all, state, whole, writers


def pieces_of_four_ranks(tensors: dict[str, Tensor]) -> list[list[Piece]]:
    """Two pipeline stages of two ranks: experts on both ranks of a stage, the rest in flat partitions; bias on one."""
    ranks: list[list[Piece]] = [[], [], [], []]
    embedding = tensors["weights/embedding"], tensors["exp_avg/embedding"]
    for name, tensor in zip(("weights/embedding", "exp_avg/embedding"), embedding, strict=True):
        ranks[0] += cut(name, tensor, [0, 19])
        ranks[1] += cut(name, tensor, [19, 37])
    for name in ("weights/blocks.3.inner.up", "exp_avg/blocks.3.inner.up"):
        ranks[2] += cut(name, tensors[name], [0, 6, 24])
        ranks[3] += cut(name, tensors[name], [24, 24, 48])
    ranks[2] += whole({"bias/blocks.1.inner.router.bias_E": tensors["bias/blocks.1.inner.router.bias_E"]})
    ranks[1] += whole({TOKENS: tensors[TOKENS]})
    return ranks


@pytest.fixture
def written(tmp_path: Path) -> Path:
    save_all(writers(tmp_path, 4), 7, pieces_of_four_ranks(state(7)), {"tokens": 14})
    return tmp_path / "step=00000007"


@pytest.mark.parametrize("num_readers", [1, 3, 5])
def test_any_number_of_ranks_reads_what_four_wrote(written: Path, num_readers: int) -> None:
    for name, tensor in state(7).items():
        parts = []
        for rank in range(num_readers):
            begin, end = (tensor.numel() * edge // num_readers for edge in (rank, rank + 1))
            out = torch.empty(end - begin, dtype=tensor.dtype)
            with open_checkpoint(written) as checkpoint:
                checkpoint.fill(name, begin, out)
            parts.append(out)
        assert torch.equal(torch.cat(parts), tensor.flatten())


def test_every_range_of_a_tensor_can_be_read(written: Path) -> None:
    expected = state(7)["weights/blocks.3.inner.up"].flatten()
    with open_checkpoint(written) as checkpoint:
        for begin in range(49):
            for end in range(begin, 49):
                out = torch.full((end - begin,), torch.nan)
                checkpoint.fill("weights/blocks.3.inner.up", begin, out)
                assert torch.equal(out, expected[begin:end])


def test_facts_step_and_names_come_back(written: Path) -> None:
    checkpoint = newest(written.parent)
    assert checkpoint is not None
    assert (checkpoint.step, checkpoint.facts, checkpoint.names()) == (7, {"tokens": 14}, set(state()))


def test_the_files_are_safetensors_and_json_alone(written: Path) -> None:
    names = {path.name for path in written.iterdir()}
    assert names == {"checkpoint.json", *(f"rank={rank:05d}.safetensors" for rank in range(4))}
    found = load_file(written / "rank=00003.safetensors")
    assert torch.equal(found["weights/blocks.3.inner.up[24:48]"], state(7)["weights/blocks.3.inner.up"][4:].flatten())


def test_a_rank_without_pieces_writes_no_file(tmp_path: Path) -> None:
    save_all(writers(tmp_path, 2), 1, [whole(state(1)), []])
    assert {path.name for path in (tmp_path / "step=00000001").iterdir()} == {
        "checkpoint.json",
        "rank=00000.safetensors",
    }


def test_only_the_files_that_a_range_lies_in_are_read(written: Path) -> None:
    with open_checkpoint(written) as checkpoint:
        (written / "rank=00000.safetensors").unlink()
        checkpoint.fill("weights/embedding", 19, torch.empty(18))
        with pytest.raises(FileNotFoundError):
            checkpoint.fill("weights/embedding", 18, torch.empty(18))


def test_masters_can_be_read_as_bf16(written: Path) -> None:
    out = torch.empty(37, dtype=torch.bfloat16)
    with open_checkpoint(written) as checkpoint:
        checkpoint.fill("weights/embedding", 0, out)
        assert torch.equal(out, state(7)["weights/embedding"].bfloat16())
        with pytest.raises(ValueError, match=r"I64 does not become torch.float32"):
            checkpoint.fill(TOKENS, 0, torch.empty(8))


def test_what_is_not_there_is_refused(written: Path) -> None:
    with open_checkpoint(written) as checkpoint:
        with pytest.raises(UserError, match=r"weights/blocks.9: no such tensor"):
            checkpoint.fill("weights/blocks.9", 0, torch.empty(1))
        for begin, length in [(-1, 2), (0, 38), (37, 1)]:
            with pytest.raises(ValueError, match="no range of 37"):
                checkpoint.fill("weights/embedding", begin, torch.empty(length))


@pytest.mark.parametrize(
    ("start", "size", "values"),
    [
        (0, 4, torch.zeros(2, 2)),
        (0, 2, torch.zeros(4)[::2]),
        (0, 2, torch.zeros(2, dtype=torch.bfloat16)),
        (3, 4, torch.zeros(2)),
        (-1, 4, torch.zeros(2)),
    ],
)
def test_a_piece_is_a_range_of_a_flat_tensor(start: int, size: int, values: Tensor) -> None:
    with pytest.raises(ValueError, match=r"^w: "):
        Piece("w", start, size, values)


def test_another_training_is_refused_by_the_first_field_that_differs() -> None:
    facts = {"architecture": "0123", "recipe": {"learning_rate": 0.1, "betas": [0.9, 0.95]}, "tokens": 5}
    check_same(facts, {"recipe": {"learning_rate": 0.1, "betas": (0.9, 0.95)}, "architecture": "0123"})
    with pytest.raises(UserError, match=r"^checkpoint.architecture: 0123: this training has 4567; "):
        check_same(facts, {"architecture": "4567", "tokens": 6})
    with pytest.raises(UserError, match=r"^checkpoint.recipe.learning_rate: 0.1: this training has 0.2; "):
        check_same(facts, {"recipe": {"learning_rate": 0.2, "betas": [0.9, 0.95]}})
    with pytest.raises(UserError, match=r"^checkpoint.recipe.betas: \[0.9, 0.95\]: this training has missing; "):
        check_same(facts, {"recipe": {"learning_rate": 0.1}})
    with pytest.raises(UserError, match=r"^checkpoint.seed: missing: this training has 3; "):
        check_same(facts, {"seed": 3})
