import re
from pathlib import Path

import pytest

from harmony_core.data.config import DataConfig
from harmony_core.data.corpus import SPLITS, hashed_split
from harmony_core.data.installed_python import InstalledPythonSource
from harmony_core.data.sources import open_source
from harmony_core.data.synthetic import SyntheticSource
from harmony_core.errors import UserError


def quiet(line: str) -> None:
    """A log that nobody reads."""


@pytest.mark.parametrize("name", ["shakespeare", "installed-python", "files", "synthetic"])
def test_every_source_says_what_it_is(name: str) -> None:
    config = DataConfig.parse({"source": name, "paths": ("a.txt",) if name == "files" else ()})
    source = open_source(config.source, config)
    assert source.name == name
    assert source.licence
    assert source.origin


def test_synthetic_is_a_function_of_its_seed() -> None:
    first, again, other = (SyntheticSource(seed, 20_000).documents(quiet) for seed in (1, 1, 2))
    assert first == again
    assert first["train"] != other["train"]
    texts = [document.text for split in SPLITS for document in first[split]]
    assert len(set(texts)) == len(texts)
    assert all(sum(len(document.text) for document in first[split]) == 20_000 for split in SPLITS)


def test_synthetic_has_something_to_learn() -> None:
    """Order-2 counts of the training split predict validation far better than order-0 counts."""
    splits = SyntheticSource(0, 200_000).documents(quiet)
    train, validation = (b"".join(d.text for d in splits[s]) for s in ("train", "validation"))
    pairs: dict[bytes, dict[int, int]] = {}
    for n in range(2, len(train)):
        counts = pairs.setdefault(train[n - 2 : n], {})
        counts[train[n]] = counts.get(train[n], 0) + 1

    def best(history: bytes) -> int | None:
        counts = pairs.get(history)
        return max(counts, key=lambda byte: counts[byte]) if counts else None

    right = sum(best(validation[n - 2 : n]) == validation[n] for n in range(2, len(validation)))
    most_common = max(validation.count(bytes([byte])) for byte in set(validation))
    assert right / len(validation) > 0.4
    assert right > 2 * most_common


def test_synthetic_recalls_numbers_and_closes_brackets() -> None:
    for document in SyntheticSource(0, 30_000).documents(quiet)["train"][:5]:
        text = document.text.decode()
        numbers = dict(re.findall(r"(\w+) has (\d+)\.", text))
        recalled = re.findall(r"(\w+) still has (\d+)\.", text)
        assert recalled
        assert all(numbers[name] == number for name, number in recalled)
        assert text.count("(") == text.count(")")


def test_installed_python_is_this_interpreter_without_tests() -> None:
    splits = InstalledPythonSource().documents(quiet)
    names = {split: {document.name for document in splits[split]} for split in SPLITS}
    every = set().union(*names.values())
    assert {"json/decoder.py", "ast.py", "tarfile.py"} <= every
    assert not any(part in name.split("/") for name in every for part in ("test", "tests", "site-packages"))
    assert all(splits[split] for split in SPLITS)
    modules = [{name.split("/")[0].removesuffix(".py") for name in names[split]} for split in SPLITS]
    assert not modules[0] & modules[1]
    assert not modules[0] & modules[2]
    assert not modules[1] & modules[2]


def test_installed_python_is_sorted_and_reads_a_text_once(tmp_path: Path) -> None:
    for name in (
        "b.py",
        "a.py",
        "pkg/copy.py",
        "pkg/own.py",
        "pkg/test/t.py",
        "_sysconfigdata_x.py",
        "c.txt",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("same" if name in ("b.py", "pkg/copy.py") else name)
    splits = InstalledPythonSource(tmp_path).documents(quiet)
    found = sorted(document.name for split in SPLITS for document in splits[split])
    assert found == ["a.py", "b.py", "pkg/own.py"]
    assert splits[hashed_split(b"a")][0].name == "a.py"


def test_paths_go_with_files_alone() -> None:
    for data in ({"source": "files"}, {"source": "synthetic", "paths": ("x.txt",)}):
        with pytest.raises(UserError, match="paths"):
            DataConfig.parse(data)
