import codecs

import pytest

from harmony_core.data.encoding import first_names, shown, to_utf8
from harmony_core.errors import UserError

TEXT = "naïve 東京 🙂\r\nsecond line\n"


def fails(data: bytes) -> UserError:
    with pytest.raises(UserError) as caught:
        to_utf8(data, "a.txt")
    assert caught.value.field == "a.txt"
    assert str(caught.value).isprintable()
    return caught.value


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_marks_are_understood_and_taken_off(encoding: str) -> None:
    assert to_utf8(TEXT.encode(encoding), "a.txt") == TEXT.encode()
    assert to_utf8("plain".encode(encoding), "a.txt") == b"plain"


def test_both_orders_of_bytes_and_nothing_but_a_mark() -> None:
    for mark, encoding in ((codecs.BOM_UTF16_BE, "utf-16-be"), (codecs.BOM_UTF32_BE, "utf-32-be")):
        assert to_utf8(mark + TEXT.encode(encoding), "a.txt") == TEXT.encode()
    for mark in (b"", codecs.BOM_UTF8, codecs.BOM_UTF16, codecs.BOM_UTF32):
        assert to_utf8(mark, "a.txt") == b""


@pytest.mark.parametrize(
    ("data", "value", "fix"),
    [
        ("Größe".encode("latin-1"), "byte 0xf6 at offset 2 (line 1) is not UTF-8", "iconv -f ISO-8859-1 -t UTF-8"),
        (codecs.BOM_UTF8 + b"a\nb\xff", "byte 0xff at offset 6 (line 2) is not UTF-8", "iconv"),
        ("cut 東".encode()[:-1], "byte 0xe6 at offset 4 (line 1) is not UTF-8", "iconv"),
        (b"\xed\xa0\x80", "byte 0xed at offset 0 (line 1) is not UTF-8", "iconv"),
        ("no mark".encode("utf-16-le"), "a NUL byte at offset 1 (line 1)", "iconv -f UTF-16LE"),
        (b"\x89PNG\r\n\x1a\n\0\0\0", "a NUL byte at offset 8 (line 3)", "binary"),
        ("odd".encode("utf-16")[:-1], "byte 0x64 at offset 6 (line 1) is not UTF-16-LE", "not whole"),
        ("x\0y".encode("utf-16"), "NUL characters in UTF-16-LE text", "binary"),
        (codecs.BOM_UTF32_LE + b"\xff\xff\xff\xff", "byte 0xff at offset 4 (line 1) is not UTF-32-LE", "another"),
    ],
)
def test_what_is_no_text_is_told_with_its_place(data: bytes, value: str, fix: str) -> None:
    error = fails(data)
    assert error.value == value
    assert fix in error.fix


def test_names_are_shown_in_one_line() -> None:
    assert shown("a b é.txt") == "a b é.txt"
    assert shown("a\nb\udce9\x1b") == "a\\nb\\udce9\\x1b"
    assert first_names(["a", "b"]) == "a, b"
    assert first_names(list("abcdefg")) == "a, b, c, d, e, ..."
