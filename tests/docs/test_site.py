"""The site is built strictly, says nothing from elsewhere, and its links hold; so do those of README."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.docs.blocks import ROOT

pytest.importorskip("material", reason="the extra `docs` is not installed")
WORDS = 800


class Page(HTMLParser):
    """What a page links to and loads, and the places in it that can be linked to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.ids: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        self.loads += [given[name] for name in ("src", "data") if name in given]
        if tag == "link" and given.get("rel") not in ("canonical", "next", "prev"):
            self.loads.append(given["href"])


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Page]:
    """Every page of the site, as `make docs` builds it."""
    site = tmp_path_factory.mktemp("site")
    call = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(call, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return {path: Page(path) for path in site.rglob("*.html")}


def test_links_hold(pages: dict[Path, Page]) -> None:
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            # 404.html is served for any address, and so are its links from the site's root.
            if parts.scheme or parts.netloc or path.name == "404.html":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            found = target.is_file()
            if found and parts.fragment and target in pages:
                found = unquote(parts.fragment) in pages[target].ids
            if not found:
                broken.append(f"{path.name}: {link}")
    assert not broken


def test_nothing_comes_from_elsewhere(pages: dict[Path, Page]) -> None:
    loaded = {link for page in pages.values() for link in page.loads}
    assert not [link for link in loaded if urlsplit(link).netloc]
    styles = [path.read_text() for path in next(iter(pages)).parent.rglob("*.css")]
    assert not [text for text in styles if re.search(r"url\([\"']?(https?:)?//", text)]


def test_references_are_made_from_the_code(pages: dict[Path, Page]) -> None:
    texts = {path.name: path.read_text() for path in pages if path.parent.name == "reference"}
    for page, known in (
        ("configuration.html", ("bits/byte", "decay_fraction", "tournament_size", "mad_score")),
        ("blocks.html", ("bias_update_rate", "kv_lora_rank")),
        ("command-line.html", ("harmony config check", "--submit", "--adopt")),
        ("tables.html", ("val_standard_error", "device_seconds", "parents")),
        ("python.html", ("harmony_core.results.leaderboard", "harmony_core.store.SearchFolder")),
    ):
        assert not [word for word in known if word not in texts[page]], page


def test_links_of_the_projects_own_pages_hold() -> None:
    broken = []
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/**/*.md")):
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            parts = urlsplit(link)
            made = {
                "reference/blocks.md",
                "reference/configuration.md",
                "reference/command-line.md",
                "reference/tables.md",
            }
            made |= {"notebooks/results.md", "changelog.md", "contributing.md", "citing.md"}
            target = (page.parent / parts.path).resolve()
            is_made = target.is_relative_to(ROOT / "docs") and target.relative_to(ROOT / "docs").as_posix() in made
            if not (parts.scheme or not parts.path or target.exists() or is_made):
                broken.append(f"{page.name}: {link}")
    assert not broken


def test_the_readme_is_short_and_begins_with_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.split()) <= WORDS
    assert text.index("make search") < text.index("make test") < 1500
    assert text.count("![") == 1
