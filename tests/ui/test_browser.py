"""The page in a real browser, at a search that runs."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Route

from tests.browser import Watched, browser
from tests.ui.conftest import Served, serving, tunnel
from tests.ui.live_search import HOSTILE, LiveSearch, live_search

Holder = subprocess.Popen[str]


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveSearch]:
    made = live_search(tmp_path_factory.mktemp("live"))
    yield made
    made.end()


@pytest.fixture(scope="module")
def holder(search: LiveSearch) -> Iterator[Holder]:
    process = search.run()
    yield process
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


@pytest.fixture(scope="module")
def looked_at(search: LiveSearch, holder: Holder) -> Iterator[Served]:
    with serving(search.folder.path.parents[1]) as found:
        yield found


@pytest.fixture(scope="module")
def watched(looked_at: Served) -> Iterator[Watched]:
    with browser(f"http://127.0.0.1:{looked_at.port}/") as found:
        found.page.goto(looked_at.address)
        # The entry hands on to the page by itself.
        found.page.wait_for_selector("main .card a")
        yield found


def show(watched: Watched, place: str, width: int = 1400, scheme: str = "light") -> None:
    """Goes to a place behind the #, as `/toy/candidates`, and waits until all of its parts are drawn."""
    watched.look(width, scheme)
    # The address is the same where that is shown already.
    watched.page.evaluate("place => { location.hash = place; }", place)
    watched.page.wait_for_selector(f"#main[data-shown='#{place}'][aria-busy=false]", timeout=30_000)


def tile(watched: Watched, name: str) -> str:
    found: str = watched.page.evaluate(
        "name => [...document.querySelectorAll('.tile')].find(one => one.innerText.startsWith(name))?.innerText ?? ''",
        name,
    )
    return found


def wait_for(watched: Watched, name: str, text: str, seconds: float) -> float:
    """How long a tile took to say something."""
    began = time.monotonic()
    watched.page.wait_for_function(
        "([name, text]) => [...document.querySelectorAll('.tile')].some(one => one.firstChild.textContent === name && "
        "one.innerText.includes(text))",
        arg=[name, text],
        timeout=1000 * seconds,
    )
    return time.monotonic() - began


def test_what_is_under_way_is_shown(watched: Watched) -> None:
    show(watched, "/toy")
    watched.page.wait_for_selector(".state.running")
    under_way = watched.page.locator("section", has=watched.page.get_by_role("heading", name="Under way"))
    assert "146 / 488" in under_way.inner_text()
    assert under_way.locator("svg.spark").count() == 1
    # What attacks is there as text.
    assert HOSTILE.split("\x1b")[0] in watched.page.locator("main").inner_text()
    assert watched.page.locator("main img").count() == 0


def test_a_page_is_busy_until_each_of_its_parts_is_drawn(watched: Watched) -> None:
    """The first answer is what it is while a search is read, and the two after it come when they are let go."""
    page, held = watched.page, dict[str, Route]()

    def answer(route: Route) -> None:
        name = route.request.url.rpartition("/")[2].partition("?")[0]
        if name == "search" and "first" not in held:
            held["first"] = route
            told = route.fetch().json()
            later = ("stages", "failures", "pace")
            route.fulfill(json={key: told[key] for key in told if key not in later} | {"whole": False})
        elif name in ("search", "front") and name not in held:
            held[name] = route
        else:
            route.continue_()

    def busy() -> str | None:
        return page.locator("main").get_attribute("aria-busy")

    show(watched, "/")
    page.route("**/api/*", answer)
    with page.expect_request("**/api/front?*"):
        page.evaluate("location.hash = '/toy'")
    page.wait_for_selector(".tile")
    assert (busy(), page.get_by_label("The table below has them").count()) == ("true", 0)
    with page.expect_request("**/api/search?*"):
        held["front"].continue_()
    assert page.locator("main").get_attribute("data-shown") == "#/toy"
    assert (busy(), page.get_by_label("The table below has them").count()) == ("true", 1)
    assert HOSTILE.split("\x1b")[0] not in page.locator("main").inner_text()
    held["search"].continue_()
    page.wait_for_selector("main[aria-busy=false]")
    assert HOSTILE.split("\x1b")[0] in page.locator("main").inner_text()
    page.unroute("**/api/*", answer)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1400])
def test_pages_are_usable_by_everybody(watched: Watched, search: LiveSearch, width: int, scheme: str) -> None:
    ids = [search._key(0, number)["architecture_id"] for number in (7, 6)]
    of_candidates = (f"/toy/candidate/{ids[0]}", f"/toy/compare/{'/'.join(ids)}")
    for place in ("/", "/toy", "/toy/candidates", "/toy/metrics", *of_candidates):
        show(watched, place, width, scheme)
        assert watched.hindrances() == [], place
        assert not watched.is_too_wide(), place


def test_a_keyboard_sorts_and_keeps_its_place(watched: Watched) -> None:
    show(watched, "/toy/candidates")
    watched.page.locator("[data-key='sort latency_seconds']").focus()
    watched.page.keyboard.press("Enter")
    watched.page.wait_for_selector("th[aria-sort='ascending'] [data-key='sort latency_seconds']:focus")
    watched.page.keyboard.press("Enter")
    watched.page.wait_for_selector("th[aria-sort='descending'] [data-key='sort latency_seconds']:focus")
    first = watched.page.locator("tbody tr").first.inner_text()
    assert "90 ms" in first


def test_a_keyboard_walks_the_points_of_the_figure(watched: Watched) -> None:
    """One stop for Tab; arrow keys go by x; what is focused says what it is; Enter opens it."""
    show(watched, "/toy")
    page, focused = watched.page, "document.activeElement"
    figure = page.get_by_label("The table below has them")
    # By the loss, since by latency they are in the order in which they were bred.
    choices = page.locator("section", has=page.get_by_role("heading", name="Trade-off")).locator("select")
    choices.first.select_option("latency_seconds")
    page.wait_for_selector("main[aria-busy=false]")
    assert choices.last.input_value() == "val_bits_per_byte"
    page.get_by_label("y logarithmic").focus()
    while not page.evaluate(f"{focused}.matches('[role=link]')"):
        assert page.evaluate(f"{focused} !== document.body")
        page.keyboard.press("Tab")
    assert figure.locator("[tabindex]").count() == 1
    told = []
    for number, key in enumerate(["", *["ArrowRight"] * 6]):
        if key:
            page.keyboard.press(key)
        told.append(page.evaluate(f"{focused}.getAttribute('aria-label')"))
        assert told[-1].endswith(f"{number + 1} of 7")
        assert figure.locator("[tabindex]").count() == 1
    latencies = [float(re.search(r"latency: (\d+) ms", one)[1]) for one in told]  # type: ignore[index]
    assert latencies == [90, 80, 70, 60, 40, 30, 20]
    # At an end it stays, and a figure that is drawn anew has the stop where it was.
    page.keyboard.press("ArrowRight")
    wide = page.evaluate("document.querySelector('svg[role=application]').viewBox.baseVal.width")
    page.set_viewport_size({"width": 1200, "height": 900})
    page.wait_for_function(
        "before => document.querySelector('svg[role=application]').viewBox.baseVal.width < before", arg=wide
    )
    assert page.evaluate(f"{focused}.getAttribute('aria-label')") == told[-1]
    page.keyboard.press("Home")
    assert ", ".join(page.locator("#tip p").all_inner_texts()) == told[0].partition("; ")[0]
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_selector("#main[data-shown^='#/toy/candidate/'][aria-busy=false]")
    assert told[1].startswith(page.evaluate("location.hash.split('/')[3].slice(0, 8)"))
    assert page.locator("#tip").is_hidden()


def test_a_row_on_disk_appears_within_five_seconds_without_a_reload(watched: Watched, search: LiveSearch) -> None:
    show(watched, "/toy")
    wait_for(watched, "best bits/byte", "2.3000", 20)
    watched.page.evaluate("window.kept = true")
    search.train(1, 1, 2.05)
    search.measure(1, 1, 0.015)
    took = wait_for(watched, "best bits/byte", "2.0500", 5)
    wait_for(watched, "under way", "1", 5)
    assert watched.page.evaluate("window.kept")
    print(f"a row appeared after {took:.1f} s")


def test_a_killed_search_says_so(watched: Watched, holder: Holder) -> None:
    show(watched, "/toy")
    watched.page.wait_for_selector(".state.running")
    holder.kill()
    holder.wait()
    began = time.monotonic()
    watched.page.wait_for_selector(".state.stopped", timeout=30_000)
    print(f"a killed search said so after {time.monotonic() - began:.1f} s")


def test_nothing_went_wrong_meanwhile(watched: Watched) -> None:
    """No error on the console, no exception, no dialog, no request to another machine or port."""
    assert watched.wrong == []


def test_a_used_address_is_one_line(watched: Watched, looked_at: Served) -> None:
    watched.page.goto(looked_at.address)
    assert watched.page.locator("body").inner_text().startswith("The token is wrong or was used")


def test_a_tunnel_with_another_port(watched: Watched, looked_at: Served) -> None:
    """Whoever sits at the tunnel's other end opens the printed address with the port there, by any name of the host."""
    with tunnel(looked_at.port) as port:
        watched.page.goto(looked_at.next_address().replace(f"127.0.0.1:{looked_at.port}", f"localhost:{port}"))
        watched.page.wait_for_selector("main .card a")
        assert watched.page.url.startswith(f"http://localhost:{port}/")


def test_a_search_that_is_damaged_and_one_of_another_format(tmp_path: Path, watched: Watched) -> None:
    """Shown in a page of their own server; that which can be read is."""
    search = live_search(tmp_path, "damaged")
    path = search.folder.population(0)
    path.write_bytes(path.read_bytes()[:-64])
    old = tmp_path / "results" / "old" / "manifest.json"
    old.parent.mkdir()
    old.write_text('{"format_version": 2}')
    with serving(tmp_path) as found:
        watched.page.goto(found.next_address())
        watched.page.wait_for_selector("text=harmony migrate")
        show(watched, "/damaged")
        banner = watched.page.locator("main .banner.warn")
        assert "population.parquet" in banner.inner_text()
        assert "up to 8 candidates" in banner.inner_text()
        assert "7" in tile(watched, "front")
    search.end()
