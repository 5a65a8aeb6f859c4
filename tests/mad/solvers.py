"""Who knows the rules of a task and reads its context: answers by plain search, written apart from the generators."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from harmony_core.mad import (
    IGNORED,
    Compression,
    Examples,
    FuzzyRecall,
    InContextRecall,
    MadTask,
    Memorisation,
    NoisyRecall,
    SelectiveCopying,
    make_examples,
)

# Of the tokens up to one, what comes next; None is no answer.
Solver = Callable[[Sequence[int]], int | None]


def recall(task: MadTask) -> Solver:
    noise = task.num_noise if isinstance(task, NoisyRecall) else 0
    keys = range((task.vocab_size - noise) // 2)

    def solve(seen: Sequence[int]) -> int | None:
        for place in range(0, len(seen) - 1, 2):
            if seen[place] == seen[-1] and seen[-1] in keys:
                return seen[place + 1]
        return None

    return solve


def fuzzy_recall(task: MadTask) -> Solver:
    half = (task.vocab_size - 1) // 2

    def solve(seen: Sequence[int]) -> int | None:
        # A word is a run of key tokens or of value tokens; padding is neither.
        words: list[list[int]] = []
        for token in seen:
            kind = token < half
            if token == task.vocab_size - 1:
                continue
            if words and (words[-1][0] < half) == kind:
                words[-1].append(token)
            else:
                words.append([token])
        said = words.pop() if words[-1][0] >= half else []
        asked = words[-1]
        for key, value in zip(words[:-1:2], words[1:-1:2], strict=False):
            if key == asked and len(said) < len(value):
                return value[len(said)]
        return None

    return solve


def selective_copying(task: MadTask) -> Solver:
    blank, asks = task.vocab_size - 2, task.vocab_size - 1

    def solve(seen: Sequence[int]) -> int | None:
        end = list(seen).index(asks)
        tokens = [token for token in seen[:end] if token != blank]
        return tokens[len(seen) - end - 2]

    return solve


def memorisation(task: MadTask, seed: int) -> Solver:
    trained = make_examples(task, "train", range(task.num_train), seed)
    known = dict(zip(trained.inputs_NT[:, ::2].ravel(), trained.targets_NT[:, 1::2].ravel(), strict=True))
    return lambda seen: known.get(seen[-2])


def wrong_answers(task: MadTask, examples: Examples, seed: int = 0) -> np.ndarray:
    """How many of the questions of each example its solver does not answer."""
    if isinstance(task, Compression):
        return (examples.inputs_NT != examples.targets_NT).sum(1)
    solvers: dict[type[MadTask], Callable[[MadTask], Solver]] = {
        InContextRecall: recall,
        NoisyRecall: recall,
        FuzzyRecall: fuzzy_recall,
        SelectiveCopying: selective_copying,
        Memorisation: lambda task: memorisation(task, seed),
    }
    solve = solvers[type(task)](task)
    wrong = [
        sum(
            solve(inputs[: place + 1].tolist()) != target
            for place, target in enumerate(targets.tolist())
            if target != IGNORED
        )
        for inputs, targets in zip(examples.inputs_NT, examples.targets_NT, strict=True)
    ]
    return np.array(wrong)
