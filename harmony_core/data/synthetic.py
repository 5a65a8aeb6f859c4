"""Seeded text with something to learn at every distance: spelling, word order, topics, brackets, recall.

A language (words, their frequencies, which nouns go with which verb) is drawn once from the seed; documents
of all three splits are written in it, so that what is learned in training holds in validation.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

import numpy as np

from harmony_core.data.corpus import SPLITS, Document, Log, Split, Splits

GRAMMAR_VERSION = 1
DEFAULT_BYTES: dict[Split, int] = {"train": 2_000_000, "validation": 150_000, "test": 150_000}
_DOCUMENT_BYTES = 3000
_PURPOSE = 3  # of the seed: synthetic text (docs/design.md, Seeds)
_ONSETS = ("b", "br", "d", "dr", "f", "fl", "g", "k", "l", "m", "n", "p", "r", "s", "st", "t", "tr", "v")
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ou")
_CODAS = ("", "", "l", "m", "n", "r", "s", "sk")


class SyntheticSource:
    """Generated text; needs no network and no file."""

    name = "synthetic"
    licence = "Generated; no rights are claimed."

    def __init__(self, seed: int, max_bytes: int | None) -> None:
        self._seed, self._max_bytes = seed, max_bytes
        self.origin = f"grammar version {GRAMMAR_VERSION}, seed {seed}"

    def fingerprint(self) -> object:
        """Grammar and seed."""
        return self.origin

    def documents(self, log: Log) -> Splits:
        """Documents of about 3 kB until each split has its bytes (2 MB train, 150 kB the others, at most)."""
        log(f"generating text ({self.origin})")
        language = _Language(_Draw(self._seed, _PURPOSE, len(SPLITS)))
        splits = Splits({split: [] for split in SPLITS})
        for number, split in enumerate(SPLITS):
            target, size = min(DEFAULT_BYTES[split], self._max_bytes or DEFAULT_BYTES[split]), 0
            while size < target:
                index = len(splits[split])
                text = language.document(_Draw(self._seed, _PURPOSE, number, index)).encode()[: target - size]
                splits[split].append(Document(f"{split}-{index:05d}", text))
                size += len(text)
        return splits


class _Draw:
    """Choices from one stream of raw uniform numbers; numpy may change how it derives other ones."""

    def __init__(self, *key: int) -> None:
        self._generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))

    def uniform(self) -> float:
        return float(self._generator.random())

    def below(self, size: int) -> int:
        return int(self.uniform() * size)

    def one_of(self, items: Sequence[str]) -> str:
        return items[self.below(len(items))]

    def zipf(self, items: Sequence[str]) -> str:
        """The item of rank r with a probability in proportion to 1 / r, as words are in real text."""
        cumulative = _zipf_sums(len(items))
        return items[bisect(cumulative, self.uniform() * cumulative[-1], hi=len(items) - 1)]

    def shuffled(self, items: Sequence[str]) -> tuple[str, ...]:
        keys = [self.uniform() for _ in items]
        return tuple(item for _, item in sorted(zip(keys, items, strict=True)))


@lru_cache
def _zipf_sums(size: int) -> tuple[float, ...]:
    return tuple(accumulate(1 / rank for rank in range(1, size + 1)))


class _Language:
    """Words, topics and preferences, and how documents are written with them."""

    def __init__(self, draw: _Draw) -> None:
        words: dict[str, None] = {}
        while len(words) < 330:
            syllables = range(1 + draw.below(3))
            words["".join(draw.one_of(_ONSETS) + draw.one_of(_VOWELS) + draw.one_of(_CODAS) for _ in syllables)] = None
        lexicon = draw.shuffled(tuple(words))
        self._names = tuple(word.capitalize() for word in lexicon[:50])
        self._adjectives, self._verbs, nouns = lexicon[50:110], lexicon[110:170], lexicon[170:]
        self._topics = tuple(draw.shuffled(nouns) for _ in range(8))
        self._objects = {verb: draw.shuffled(nouns)[:5] for verb in self._verbs}

    def document(self, draw: _Draw) -> str:
        """A topic, a cast with a number each, and sentences that come back to them."""
        topic = self._topics[draw.below(len(self._topics))]
        cast = draw.shuffled(self._names)[:4]
        numbers = {name: str(100 + draw.below(900)) for name in cast}
        opening = " ".join(f"{name} has {number}." for name, number in numbers.items())
        lines, size = [opening], len(opening)
        while size < _DOCUMENT_BYTES:
            line = " ".join(self._sentence(draw, topic, numbers) for _ in range(2 + draw.below(4)))
            lines.append(line)
            size += len(line) + 1
        return "\n".join(lines) + "\n"

    def _sentence(self, draw: _Draw, topic: Sequence[str], numbers: dict[str, str]) -> str:
        name, kind = draw.one_of(tuple(numbers)), draw.uniform()
        if kind < 0.15:
            return f"{name} still has {numbers[name]}."
        if kind < 0.30:
            word = draw.zipf(topic)
            return f'"{word.capitalize()} {word} {word}!" said {name}.'
        if kind < 0.40:
            first, second = draw.below(50), draw.below(50)
            return f"{first} and {second} make {first + second}."
        subject = name if kind < 0.65 else self._noun_phrase(draw, topic, 0)
        verb = draw.zipf(self._verbs)
        return f"{subject[0].upper()}{subject[1:]} {verb}s the {draw.zipf(self._objects[verb])}."

    def _noun_phrase(self, draw: _Draw, topic: Sequence[str], depth: int) -> str:
        phrase = f"the {draw.zipf(self._adjectives)} {draw.zipf(topic)}"
        if depth < 3 and draw.uniform() < 0.3:
            inner = self._noun_phrase(draw, topic, depth + 1)
            phrase += f" ({inner})" if depth % 2 == 0 else f" [{inner}]"
        return phrase
