import bz2
import gzip
import lzma
import random
from collections.abc import Callable

import pytest
import zstandard

from harmony_core.data.compression import COMPRESSIONS, decompress
from harmony_core.errors import UserError

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}
TEXT = random.Random(0).randbytes(5000) + b"text " * 250_000


def undo(suffix: str, data: bytes) -> bytes:
    # Blocks of an odd size: streams end within them.
    blocks = (data[start : start + 10_007] for start in range(0, len(data), 10_007))
    return b"".join(decompress(blocks, COMPRESSIONS[suffix], f"a.txt{suffix}"))


def fails(suffix: str, data: bytes) -> UserError:
    with pytest.raises(UserError) as caught:
        undo(suffix, data)
    assert caught.value.field == f"a.txt{suffix}"
    assert str(caught.value).isprintable()
    return caught.value


@pytest.fixture(params=COMPRESS)
def suffix(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_streams_are_joined(suffix: str) -> None:
    compress = COMPRESS[suffix]
    assert undo(suffix, compress(TEXT)) == TEXT
    assert undo(suffix, compress(b"")) == b""
    streams = b"".join(compress(b"%d\n" % number) for number in range(200))
    assert undo(suffix, streams) == b"".join(b"%d\n" % number for number in range(200))
    assert undo(suffix, streams + b"\0" * 512) == undo(suffix, streams), "tapes and disks pad with zeros"


def test_other_suffix_of_zstandard_and_frames_to_skip() -> None:
    compress = COMPRESS[".zst"]
    skipped = b"\x53\x2a\x4d\x18\x04\0\0\0abcd"
    assert undo(".zstd", skipped + compress(b"one ") + skipped + compress(b"two")) == b"one two"


@pytest.mark.parametrize("bits", [27, 31])
def test_long_window_is_no_damage(bits: int) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=bits, enable_ldm=True, compression_level=3)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    assert undo(".zst", compressor.compress(TEXT) + compressor.flush()) == TEXT


def test_limits_of_the_decoder_are_no_damage() -> None:
    words = [b"note %d: the lamp is green" % number * 10 for number in range(1000)]
    dictionary = zstandard.train_dictionary(1000, words)
    error = fails(".zst", zstandard.ZstdCompressor(dict_data=dictionary).compress(words[0]))
    assert "needs a dictionary" in error.fix
    # A frame's header that asks for the longest window that can be written, 3.75 TiB.
    error = fails(".zst", b"\x28\xb5\x2f\xfd\x00\xff\x01\x00\x00")
    assert "at most --long=31" in error.fix
    assert "does not know" in fails(".gz", b"\x1f\x8b\x07" + b"\0" * 20).fix


def test_cut_anywhere_is_told(suffix: str) -> None:
    whole = COMPRESS[suffix](b"some words " * 20)
    for size in range(1, len(whole)):
        error = fails(suffix, whole[:size])
        assert "end early" in error.value, size
        assert "not whole" in error.fix
    assert "end early" in fails(suffix, whole + whole[:-1]).value
    assert fails(suffix, b"").value == "an empty file"


def test_flipped_bit_is_told(suffix: str) -> None:
    draw = random.Random(1)
    whole = COMPRESS[suffix](TEXT[:6000])
    second = COMPRESS[suffix](b"first") + whole
    for data in (whole, second):
        for _ in range(30):
            damaged = bytearray(data)
            damaged[draw.randrange(len(data) - len(whole) + 100, len(data) - 200)] ^= 1 << draw.randrange(8)
            error = fails(suffix, bytes(damaged))
            assert "damaged" in error.fix or "not whole" in error.fix


def test_what_follows_the_end_is_told(suffix: str) -> None:
    error = fails(suffix, COMPRESS[suffix](b"text") + b"and more")
    assert error.value.startswith("8 byte(s) after the end of the")
    assert "cut them off" in error.fix


def test_other_format_is_named(suffix: str) -> None:
    error = fails(suffix, b"this is no archive at all")
    assert error.value == "begins with the bytes 74 68 69 73"
    assert "take the last suffix off" in error.fix
    for other, compress in COMPRESS.items():
        if other != suffix:
            assert f"it is {other}" in fails(suffix, compress(b"text")).fix
