"""Chromium, headless, driven by its DevTools protocol; what a page does wrong is noted as it does it."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.slurm.daemon import find
from tests.slurm.packages import install

# Where `make test` puts it.
AXE = Path(sys.prefix) / "axe" / "node_modules" / "axe-core" / "axe.min.js"
# A browser of Debian's, which asks nothing of its maker's servers; root may not have its sandbox.
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_RULES = """async (beside) => (await axe.run({exclude: beside}, {resultTypes: ["violations"]})).violations.map(
  (one) => `${one.id}: ${one.nodes.length} of ${one.nodes[0].html.slice(0, 160)}`)"""


@dataclasses.dataclass
class Watched:
    """A page, and what it did that it should not.

    Args:
        page: Playwright's.
        wrong: messages on its console, exceptions, dialogs, requests to elsewhere.
    """

    page: Page
    wrong: list[str]

    def look(self, width: int, scheme: str = "light") -> None:
        """Looks at the page in a window of this width [px], in the scheme `light` or `dark`."""
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")

    def hindrances(self, *beside: str) -> list[str]:
        """What axe-core finds, but in elements that match `beside`; the test is skipped where that is not installed."""
        if not AXE.is_file():
            pytest.skip(f"axe-core is not installed: make test puts it into {AXE.parents[2].name}/ with npm")
        self.page.evaluate(AXE.read_text())
        found: list[str] = self.page.evaluate(_RULES, list(beside))
        return found

    def is_too_wide(self) -> bool:
        """Whether the page, and not a part of it alone, has to be moved sideways to be read."""
        found: bool = self.page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
        return found


@contextmanager
def browser(allowed: str) -> Iterator[Watched]:
    """A browser with one page, which may ask for addresses that begin so alone; skips where there can be none."""
    missing = install({"chromium": "chromium"}, "a browser")
    if missing is not None:
        pytest.skip(missing)
    program = find("chromium")
    assert program is not None
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(program), args=list(_FLAGS))
        page = chromium.new_page()
        watched = Watched(page, [])
        page.on("console", lambda told: watched.wrong.append(f"{told.type}: {told.text}"))
        page.on("pageerror", lambda error: watched.wrong.append(f"exception: {error}"))
        page.on("dialog", lambda dialog: watched.wrong.append(f"dialog: {dialog.message}"))
        page.on(
            "request",
            lambda request: request.url.startswith(allowed) or watched.wrong.append(request.url),
        )
        yield watched
        chromium.close()
