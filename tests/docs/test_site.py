"""The site is built strictly, says nothing from elsewhere, and its links hold; so do those of README."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.browser import Watched, browser
from tests.docs.blocks import ROOT

pytest.importorskip("material", reason="the extra `docs` is not installed")
WORDS = 800
# A page of each kind: the home, prose with blocks and pictures, a reference, wide tables, a notebook.
SEEN = ("index.html", "tutorial.html", "reference/tables.html", "benchmarks.html", "notebooks/results.html")
# What the theme calls them.
SCHEMES = {"light": "default", "dark": "slate"}


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


@pytest.fixture(scope="module")
def opened(pages: dict[Path, Page]) -> Iterator[tuple[Watched, str]]:
    """A browser, and the site's address."""
    site = min(pages, key=lambda path: len(path.parts)).parent
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(site))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}/"
        with browser(address) as watched:
            yield watched, address
        server.shutdown()
        thread.join()
    assert watched.wrong == []


class _Quiet(SimpleHTTPRequestHandler):
    """Serves files, and says nothing of each."""

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.mark.parametrize("page", SEEN)
def test_a_telephone_shows_it_to_everybody(opened: tuple[Watched, str], page: str) -> None:
    """At 390 pixels, in both schemes: no page is moved sideways, and no rule of accessibility is broken by us."""
    watched, address = opened
    for scheme in ("light", "dark"):
        watched.look(390, scheme)
        watched.page.goto(address + page)
        assert watched.page.locator("body").get_attribute("data-md-color-scheme") == SCHEMES[scheme]
        assert not watched.is_too_wide(), scheme
        # The theme's menus have one name, or none, as its search has.
        assert watched.hindrances("nav", ".md-search") == [], scheme


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
