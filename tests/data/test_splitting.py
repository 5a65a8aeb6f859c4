import random
from collections.abc import Sequence
from functools import cache

import pytest

from harmony_core.data import digests
from harmony_core.data.corpus import SPLITS, Document, Log, Splits
from harmony_core.data.splitting import SplitDocuments
from harmony_core.errors import UserError
from tests.data.plain_splitting import split_plainly

WORDS = [f"{onset}{rest}" for onset in "bcdfghlmnprst" for rest in ("and", "ell", "ike", "ow", "ultry")]


@cache
def prose(seed: int, size: int) -> bytes:
    """Words in lines and paragraphs, exactly `size` bytes."""
    draw, text = random.Random(seed), ""
    while len(text) < size:
        lines = (" ".join(draw.choices(WORDS, k=9)) for _ in range(draw.randrange(1, 7)))
        text += "\n".join(lines) + "\n\n"
    return text[:size].encode()


def documents(sizes: Sequence[int], seed: int = 0) -> list[Document]:
    return [Document(f"d{number}", prose(seed * 100_000 + number, size)) for number, size in enumerate(sizes)]


SHAPES = {
    "one book": [600_000],
    "two books": [300_000, 500_000],
    "three short texts": [400, 300, 500],
    "a book among notes": [110_000, *[360] * 30],
    "a book among many notes": [900_000, *[300] * 1000],
    "plays": [*range(10_000, 14_000, 100)],
    "notes": [200] * 3000,
    "all sizes": [int(40 * 1.1**number) for number in range(80)],
    "twenty lines": [30] * 20,
}


def split_documents(given: Sequence[Document], log: Log) -> Splits:
    splits = Splits({split: [] for split in SPLITS})
    for split, document in SplitDocuments(lambda: iter(given), log).parts():
        splits[split].append(document)
    return splits


def quietly(given: Sequence[Document]) -> Splits:
    return split_documents(given, [].append)


@pytest.mark.parametrize("held", [digests._HELD, 7], ids=["in memory", "in files"])
@pytest.mark.parametrize("sizes", SHAPES.values(), ids=SHAPES)
def test_the_plain_form_gives_the_same(sizes: list[int], held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plain form holds every document, and sorts them all."""
    monkeypatch.setattr(digests, "_HELD", held)
    given = documents(sizes[:300], 5)
    given = [*given[::3], *given, *given[:5], *documents([90, 4000], 6)]
    said: list[str] = []
    plainly: list[str] = []
    assert split_documents(given, said.append) == split_plainly(given, plainly.append)
    assert said == plainly


def test_text_that_changes_while_it_is_read_is_refused() -> None:
    given = documents([500] * 60)
    corpus = SplitDocuments(lambda: iter(given), [].append)
    list(corpus.parts())
    for changed in (documents([500] * 60, seed=1), given[1:], documents([500] * 61)):
        given[:] = changed
        with pytest.raises(UserError, match="changed while they were read"):
            list(corpus.parts())


def shares(splits: Splits) -> dict[str, float]:
    sizes = {split: sum(len(document.text) for document in splits[split]) for split in SPLITS}
    return {split: size / sum(sizes.values()) for split, size in sizes.items()}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sizes", SHAPES.values(), ids=SHAPES)
def test_shares_are_of_bytes(sizes: list[int], seed: int) -> None:
    given = documents(sizes, seed)
    splits = quietly(given)
    total, found = sum(sizes), shares(splits)
    near = 0.011 if total > 200_000 else 0.075
    assert found["validation"] == pytest.approx(0.05, abs=near)
    assert found["test"] == pytest.approx(0.05, abs=near)
    assert sum(len(document.text) for split in SPLITS for document in splits[split]) == total


@pytest.mark.parametrize("sizes", SHAPES.values(), ids=SHAPES)
def test_no_document_takes_more_than_a_quarter_of_a_split(sizes: list[int]) -> None:
    said: list[str] = []
    splits = split_documents(documents(sizes), said.append)
    total = sum(sizes)
    long = [size for size in sizes if size > max(total / 80, min(2048, total / 10))]
    assert (f"{len(long)} document(s) would take too much of a held-out split" in " ".join(said)) == bool(long)
    if total > 200_000:
        held_out = [document for split in ("validation", "test") for document in splits[split]]
        # Two pieces that happened to be neighbours are one.
        assert max(len(document.text) for document in held_out) < total / 80 * 2
        assert min(len(splits[split]) for split in SPLITS) > 2


def test_split_depends_on_content_alone() -> None:
    for sizes in SHAPES.values():
        given = documents(sizes)
        original = quietly(given)
        copies = [Document("other", document.text) for document in reversed(given * 2)] + given[-1:] * 20
        again = quietly(copies)
        for split in SPLITS:
            assert original[split]
            assert sorted(d.text for d in original[split]) == sorted(d.text for d in again[split])
        assert quietly(given) == original


def test_added_text_moves_little() -> None:
    sizes = [200] * 3000
    before, after = quietly(documents(sizes)), quietly(documents([*sizes, *[200] * 30]))
    side = {document.text: split for split in SPLITS for document in before[split]}
    moved = [d for split in SPLITS for d in after[split] if side.get(d.text, split) != split]
    assert len(moved) <= 6


def test_equal_texts_are_kept_once_and_it_is_said() -> None:
    said: list[str] = []
    given = [*documents([230] * 30), *[Document("copy", prose(7, 230))] * 2000]
    splits = split_documents(given, said.append)
    assert said == ["leaving out 2000 document(s) whose text is there already"]
    texts = [document.text for split in SPLITS for document in splits[split]]
    assert len(texts) == len(set(texts)) == 30
    assert "copy" not in {document.name for split in SPLITS for document in splits[split]}


def test_order_of_documents_is_kept() -> None:
    names = [document.name for document in quietly(documents([50] * 100))["train"]]
    assert len(names) == 90
    assert names == sorted(names, key=lambda name: int(name[1:]))


def rejoined(splits: Splits, name: str) -> bytes:
    """A document from its pieces, by the places that their names tell."""
    parts = {}
    for document in (document for split in SPLITS for document in splits[split]):
        assert document.name.startswith(f"{name}[")
        start, stop = map(int, document.name.removeprefix(f"{name}[").removesuffix("]").split(":"))
        assert stop - start == len(document.text)
        parts[start] = document.text
    return b"".join(parts[start] for start in sorted(parts))


def test_one_document_is_cut_at_paragraphs_and_it_is_said() -> None:
    said: list[str] = []
    text = prose(0, 400_000) + b"\n"
    splits = split_documents([Document("a.txt", text)], said.append)
    assert rejoined(splits, "a.txt") == text
    ends = [document.text for split in SPLITS for document in splits[split]]
    assert sum(part.endswith(b"\n\n") for part in ends) >= len(ends) - 1
    assert said == [
        "1 document(s) would take too much of a held-out split of 20,000 bytes: cut at paragraphs, and the pieces "
        "spread over the splits, which are not independent works: a.txt"
    ]


def test_without_paragraphs_lines_are_kept_whole_and_without_lines_characters() -> None:
    lines = b"".join(b"line %d\r\n" % number for number in range(20_000))
    splits = quietly([Document("a", lines)])
    assert rejoined(splits, "a") == lines
    assert all(document.text.endswith(b"\n") for split in SPLITS for document in splits[split])
    blank = b"".join(b"line %d\r\n \t\r\n" % number for number in range(20_000))
    assert all(d.text.endswith(b" \t\r\n") for split in SPLITS for d in quietly([Document("a", blank)])[split])
    for text in ("a東京🙂é" * 9000, "東" * 70, "🙂" * 50):
        splits = quietly([Document("a", text.encode())])
        assert rejoined(splits, "a") == text.encode()
        for split in SPLITS:
            assert splits[split]
            for document in splits[split]:
                document.text.decode("utf-8")


def test_too_little_text_is_refused() -> None:
    with pytest.raises(UserError, match=r"data\.paths: 199 bytes of different text: too little for three splits"):
        quietly(documents([100, 99]) * 50)
    assert all(quietly(documents([100, 100])).values())
    assert all(quietly([Document("a", b"x" * 200)]).values())
