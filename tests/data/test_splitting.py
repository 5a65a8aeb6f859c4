import hashlib
from collections import Counter

from harmony_core.data.corpus import SPLITS, Document, hashed_split
from harmony_core.data.splitting import split_documents


def documents(count: int) -> list[Document]:
    return [Document(f"d{n}", f"text number {n}".encode()) for n in range(count)]


def test_shares_are_about_ninety_five_five() -> None:
    counts = Counter(hashed_split(str(n).encode()) for n in range(20_000))
    assert 850 < counts["validation"] < 1150
    assert 850 < counts["test"] < 1150


def test_split_depends_on_content_alone() -> None:
    lines: list[str] = []
    original = split_documents(documents(300), lines.append)
    renamed = [Document("other", document.text) for document in reversed(documents(300))]
    again = split_documents(renamed, lines.append)
    for split in SPLITS:
        assert sorted(d.text for d in original[split]) == sorted(d.text for d in again[split])
        assert original[split]
    assert sum(len(original[split]) for split in SPLITS) == 300
    assert lines == []


def test_equal_texts_are_in_one_split() -> None:
    splits = split_documents(documents(60) * 3, print)
    texts = [{document.text for document in splits[split]} for split in SPLITS]
    assert not texts[0] & texts[1]
    assert not texts[0] & texts[2]
    assert not texts[1] & texts[2]
    assert sum(len(splits[split]) for split in SPLITS) == 180


def test_three_documents_fill_three_splits() -> None:
    for start in range(20):
        splits = split_documents(documents(start + 3)[start:], print)
        assert [len(splits[split]) for split in SPLITS] == [1, 1, 1]


def test_order_of_documents_is_kept() -> None:
    names = [document.name for document in split_documents(documents(100), print)["train"]]
    assert names == sorted(names, key=lambda name: int(name[1:]))


def test_one_document_is_cut_at_lines_and_it_is_said() -> None:
    lines: list[str] = []
    text = b"".join(b"line %d\n" % n for n in range(1000))
    splits = split_documents([Document("a.txt", text)], lines.append)
    parts = [splits[split][0] for split in SPLITS]
    assert b"".join(part.text for part in parts) == text
    assert all(part.text.endswith(b"\n") for part in parts)
    assert 0.88 < len(parts[0].text) / len(text) < 0.92
    assert 0.04 < len(parts[1].text) / len(text) < 0.06
    assert parts[0].name == f"a.txt[0:{len(parts[0].text)}]"
    assert "position" in lines[0]


def test_one_line_is_cut_between_characters() -> None:
    text = "東京".encode() * 333
    splits = split_documents([Document("a", text), Document("b", text)], print)
    assert b"".join(splits[split][0].text for split in SPLITS) == text
    for split in SPLITS:
        assert len(splits[split]) == 1
        splits[split][0].text.decode("utf-8")


def test_where_chance_fills_no_other_split_the_longest_is_trained_on() -> None:
    found = 0
    for seed in range(30):
        texts = {"short": 200, "middle": 400, "long": 4_000}
        three = [Document(name, f"{seed} {name}".encode() * length) for name, length in texts.items()]
        if {hashed_split(hashlib.sha256(document.text).digest()) for document in three} == {"train"}:
            found += 1
            splits = split_documents(three, print)
            assert [document.name for split in SPLITS for document in splits[split]] == ["long", "short", "middle"]
    assert found > 10
