"""Examples of a task: what a model reads and what it should answer, each a function of its number alone.

N examples, T tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from harmony_core.mad.draws import Integers, uniforms

if TYPE_CHECKING:
    from harmony_core.mad.task import MadTask

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
# A target that asks for nothing: neither loss nor accuracy counts it.
IGNORED = -100
# So many examples are made at once, which bounds the memory of their random numbers.
_AT_ONCE = 2048


@dataclass(frozen=True)
class Examples:
    """Some examples of a task.

    Args:
        inputs_NT: int64 tokens.
        targets_NT: int64, what is to be said at each token; `IGNORED` where nothing is asked.
    """

    inputs_NT: Integers
    targets_NT: Integers

    def __len__(self) -> int:
        return len(self.inputs_NT)


def make_examples(task: MadTask, split: Split, indices: range, seed: int = 0) -> Examples:
    """The examples of these numbers, as if each were made alone.

    Args:
        task: in its setting.
        split: train, validation or test; they share nothing but a task's fixed rules.
        indices: consecutive numbers from 0 on.
        seed: of the whole task.
    """
    parts = [
        _some(task, split, range(first, min(first + _AT_ONCE, indices.stop)), seed)
        for first in range(indices.start, indices.stop, _AT_ONCE)
    ]
    if not parts:
        empty_NT = np.empty((0, task.num_tokens), np.int64)
        return Examples(empty_NT, empty_NT)
    return Examples(np.concatenate([one.inputs_NT for one in parts]), np.concatenate([one.targets_NT for one in parts]))


def _some(task: MadTask, split: Split, indices: range, seed: int) -> Examples:
    entropy = (seed, task.number, SPLITS.index(split))
    numbers_NK = uniforms(entropy, indices.start, len(indices), task.num_draws)
    return task.make(numbers_NK, split, seed)


def next_tokens(tokens_NT: Integers, asked_NT: Integers, split: Split) -> Examples:
    """Sequences cut into inputs and the tokens that follow.

    Args:
        tokens_NT: whole sequences, one token longer than what is read.
        asked_NT: at each of their tokens, the token itself where a test asks for it, else `IGNORED`.
        split: training asks for every token, the others for those of `asked_NT`.
    """
    targets_NT = tokens_NT if split == "train" else asked_NT
    return Examples(tokens_NT[:, :-1], targets_NT[:, 1:])
