"""Answers of Slurm's commands and files of other people as they should not be: cut, repeated, mixed, and no text."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Sequence

INPUTS = int(os.environ.get("HARMONY_PARSER_INPUTS", "100000"))
"""Generated inputs over all parsers; the `PARSERS` tests that touch no file take a share each."""
PARSERS = 11

PIECES = [
    *(b"", b"\n", b"\r", b"\0", b"|", b"=", b"||||||", b" ", b"\t", b"\x1b[2J", b"\xe9", b"caf\xe9", b"\xff\xfe"),
    *("\N{SUPERSCRIPT TWO}".encode(), "\N{ARABIC-INDIC DIGIT THREE}".encode(), "\u2028".encode(), b"\xed\xa0\x80"),
    *(b"-1", b"0", b"1e999", b"NaN", b"9" * 5000, b"[" * 3000, b"{", b"}", b'"', b"\\ud800", b"null", b"true", b"[]"),
    *(b"7|0|CANCELLED|None||x", b"7_0|FAILED", b"Submitted batch job ", b"MaxArraySize = x", b"PartitionName="),
]

Mutation = Callable[[random.Random, bytes], bytes]


def _cut(rng: random.Random, text: bytes) -> bytes:
    return text[: rng.randint(0, len(text))]


def _repeat(rng: random.Random, text: bytes) -> bytes:
    begin, end = sorted(rng.randint(0, len(text)) for _ in range(2))
    return text[:end] + text[begin:end] * rng.randint(1, 3) + text[end:]


def _insert(rng: random.Random, text: bytes) -> bytes:
    place = rng.randint(0, len(text))
    return text[:place] + rng.choice(PIECES) + text[place:]


def _replace(rng: random.Random, text: bytes) -> bytes:
    begin = rng.randint(0, len(text))
    return text[:begin] + rng.choice(PIECES) + text[begin + rng.randint(0, 8) :]


def _flip(rng: random.Random, text: bytes) -> bytes:
    changed = bytearray(text)
    for _ in range(rng.randint(1, 4)):
        if changed:
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def _random(rng: random.Random, text: bytes) -> bytes:
    return rng.randbytes(rng.randint(0, 40))


MUTATIONS: Sequence[Mutation] = (_cut, _repeat, _insert, _replace, _flip, _random)


def rubbish(*samples: str, number: int = INPUTS // PARSERS + 1, seed: int = 17) -> Iterator[bytes]:
    """So many inputs, made of good ones by one to three mutations each; the good ones themselves come first."""
    rng = random.Random(seed)
    good = [sample.encode() for sample in samples]
    yield from good
    for _ in range(number - len(good)):
        text = rng.choice(good)
        for _ in range(rng.randint(1, 3)):
            text = rng.choice(MUTATIONS)(rng, text)
        yield text
