"""Bytes that strangers leave: whole messages that were cut, repeated, mixed up, or written by something else."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

# What a value may turn into.
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 2**31, 2**64, 10**400, 1e308, float("nan"), float("inf"), "", "\ud800", "\0", "²", [], {}, [[]],
    {"a": []}, ["x"], "0" * 64,
)  # fmt: skip
BITS = (b"\xff\xfe", b"caf\xe9", b"\0\0\0\0", b"\r", b"\n", b'"', b"\\u", b"{", b"}", b"[" * 3000, b"9" * 5000, b"NaN")


def rubbish(count: int, seed: int, samples: Sequence[dict[str, Any]]) -> Iterator[bytes]:
    """As many inputs, made of whole ones by a generator of its own."""
    chance = random.Random(seed)
    for _ in range(count):
        sample = dict(chance.choice(samples))
        kind = chance.randrange(8)
        if kind == 0:
            yield chance.randbytes(chance.randrange(64))
            continue
        for _ in range(chance.randrange(3)):
            sample[chance.choice([*sample, "else"])] = chance.choice(VALUES)
        if kind == 1:
            sample.pop(chance.choice(list(sample)))
        content = bytearray(json.dumps(sample).encode())
        at = chance.randrange(len(content) + 1)
        if kind == 2:
            del content[at:]
        elif kind == 3:
            content[at:at] = chance.choice(BITS)
        elif kind == 4:
            content += content[:at]
        elif kind == 5 and at < len(content):
            content[at] ^= 1 << chance.randrange(8)
        yield bytes(content)
