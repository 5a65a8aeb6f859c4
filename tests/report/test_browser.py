"""The page in Chromium: nothing on its console, nothing asked of anybody, usable at 390 pixels and without a mouse."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harmony_core.store import SearchFolder
from tests.browser import Watched, browser


@pytest.fixture(scope="module")
def opened(reported: SearchFolder) -> Iterator[Watched]:
    """The report in a browser."""
    with browser("file:") as watched:
        watched.page.goto((reported.report / "index.html").as_uri())
        yield watched
    assert watched.wrong == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1400])
def test_no_rule_of_accessibility_is_broken(opened: Watched, width: int, scheme: str) -> None:
    opened.look(width, scheme)
    assert opened.hindrances() == []
    assert not opened.is_too_wide()


def test_marks_are_told_at_the_keyboards_place_and_at_the_pointer(opened: Watched) -> None:
    page = opened.page
    opened.look(1400)
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
