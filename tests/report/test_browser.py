"""The page in Chromium: nothing on its console, nothing asked of anybody, usable at 390 pixels and without a mouse."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harmony_core.store import SearchFolder

sync_api = pytest.importorskip("playwright.sync_api")

AXE = Path(sys.prefix) / "axe" / "node_modules" / "axe-core" / "axe.min.js"
_FLAGS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync")
_RULES = """async () => (await axe.run(document, {resultTypes: ["violations"]})).violations.map(
  (one) => `${one.id}: ${one.nodes.length} of ${one.nodes[0].html.slice(0, 160)}`)"""


@pytest.fixture(scope="module")
def opened(reported: SearchFolder) -> Iterator[tuple[Any, list[str]]]:
    """The report in a browser, and what it did that it should not."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no chromium")
    wrong: list[str] = []
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=list(_FLAGS))
        page = chromium.new_page()
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: wrong.append(dialog.message))
        page.on("request", lambda asked: asked.url.startswith("file:") or wrong.append(asked.url))
        page.goto((reported.report / "index.html").as_uri())
        yield page, wrong
        chromium.close()
    assert wrong == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1400])
def test_no_rule_of_accessibility_is_broken(opened: tuple[Any, list[str]], width: int, scheme: str) -> None:
    page, wrong = opened
    if not AXE.is_file():
        pytest.skip(f"axe-core is not in {AXE}")
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    # The page's own policy lets no other script in, so axe comes by the debugger.
    page.evaluate(AXE.read_text())
    assert page.evaluate(_RULES) == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert wrong == []


def test_marks_are_told_at_the_keyboards_place_and_at_the_pointer(opened: tuple[Any, list[str]]) -> None:
    page, _ = opened
    page.set_viewport_size({"width": 1400, "height": 900})
    page.focus("#front_latency")
    assert page.inner_text("#tip") == ""
    page.keyboard.press("ArrowRight")
    first = page.inner_text("#tip")
    page.keyboard.press("ArrowRight")
    assert "bits/byte at" in first
    assert page.inner_text("#tip") not in ("", first)
    page.keyboard.press("Escape")
    assert page.inner_text("#tip") == ""
    page.hover("#front_latency [data-tip][stroke] >> nth=0", force=True)
    assert "bits/byte at" in page.inner_text("#tip")
