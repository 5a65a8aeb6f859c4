"""The authors' generators as they are described, an example at a time: slow, plain, and written apart from ours."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from harmony_core.mad import FuzzyRecall, MadTask, NoisyRecall, SelectiveCopying

Sequence = list[int]


def recall(task: MadTask, rng: np.random.Generator) -> Sequence:
    noise, share = (task.num_noise, task.noise_share) if isinstance(task, NoisyRecall) else (0, 0.0)
    plain = task.vocab_size - noise
    pairs = task.length // 2
    kept, values, tokens = int(rng.integers(pairs)), dict[int, int](), Sequence()
    for number in range(pairs - 1):
        if number != kept and rng.random() < share:
            tokens += (plain + rng.integers(noise, size=2)).tolist()
            continue
        key = int(rng.integers(plain // 2))
        tokens += [key, values.setdefault(key, int(rng.integers(plain // 2, plain)))]
    asked = int(rng.choice(sorted(values)))
    return [*tokens, asked, values[asked]]


def fuzzy_recall(task: FuzzyRecall, rng: np.random.Generator, training: bool) -> Sequence:
    half, pad = (task.vocab_size - 1) // 2, task.vocab_size - 1

    def draw() -> tuple[tuple[int, ...], tuple[int, ...]]:
        size = int(rng.integers(1, task.key_length + 1)) if training else task.key_length
        key = tuple(rng.permutation(half)[:size].tolist())
        return key, tuple((half + rng.permutation(pad - half))[: rng.integers(1, task.value_length + 1)].tolist())

    asked, answer = draw()
    size = len(asked) + len(answer)
    place, shown = int(rng.integers(task.length - 2 * size)), False
    values, tokens = dict[tuple[int, ...], tuple[int, ...]](), Sequence()
    while len(tokens) < task.length - size - task.key_length - task.value_length:
        key, value = draw()
        if len(tokens) >= place and not shown:
            key = asked
        shown = shown or key == asked
        tokens += [*key, *values.setdefault(key, answer if key == asked else value)]
    tokens += [*asked, *answer]
    return [pad] * (task.length + 1 - len(tokens)) + tokens


def selective_copying(task: SelectiveCopying, rng: np.random.Generator) -> Sequence:
    blank, tokens = task.vocab_size - 2, Sequence()
    before = rng.integers(task.num_copied, size=task.length - 2 * task.num_copied - 1).tolist()
    for number in range(task.num_copied):
        tokens += [blank] * before.count(number) + [int(rng.integers(blank))]
    return tokens


def many(make: Callable[[np.random.Generator], Sequence], count: int) -> list[Sequence]:
    rng = np.random.default_rng(7)
    return [make(rng) for _ in range(count)]
