"""The written report: whole, self-contained, the same bytes for the same rows, right about who is best."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harmony_core.architecture.presets import load_preset
from harmony_core.errors import UserError
from harmony_core.report.write import write_report
from harmony_core.results import pareto_front
from harmony_core.store import LEDGER, SearchFolder, read_manifest, write_manifest, write_table
from tests.report.conftest import GENERATIONS, write_generation

DEVICE = "text"
FIGURES = ("best_loss", "front_active_params", "front_latency", "hypervolume", "test_split", "training_curves")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.*"))}


@pytest.fixture
def report(reported: SearchFolder) -> dict[str, bytes]:
    return files(reported.report)


def test_every_file_is_there(reported: SearchFolder, report: dict[str, bytes]) -> None:
    front = pareto_front(reported).collect()["architecture_id"].to_list()
    expected = {"index.html", "leaderboard.md"}
    expected |= {f"figures/{name}.{suffix}" for name in FIGURES for suffix in ("svg", "png", "pdf")}
    expected |= {f"architectures/{name}.svg" for name in front}
    assert report.keys() == expected
    for name in FIGURES:
        assert report[f"figures/{name}.png"].startswith(b"\x89PNG\r\n\x1a\n")
        assert len(report[f"figures/{name}.png"]) > 4000
        assert report[f"figures/{name}.svg"].startswith(b"<svg")
        # A column of a paper is 3.5 inches wide, which is 252 points.
        assert re.search(rb"/MediaBox \[0 0 252 \d+\]", report[f"figures/{name}.pdf"])


def test_same_rows_same_bytes(reported: SearchFolder, report: dict[str, bytes], tmp_path: Path) -> None:
    write_report(reported, tmp_path / "again")
    assert files(tmp_path / "again") == report


def test_page_needs_nothing_else_and_text_stays_text(report: dict[str, bytes]) -> None:
    page = report["index.html"].decode()
    script = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    markup = page.replace(f"<script>{script[0]}</script>", "")
    assert re.search(r"<script|<link|<img|@import|url\((?!#)|https?://(?!www.w3.org/)", markup) is None
    assert "<b>odd" not in page
    assert "&lt;b&gt;odd&lt;/b&gt;" in page
    # Nothing is loaded, and no script runs but the page's own.
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    assert "default-src 'none'" in page
    assert len(script) == page.count("</script>") == 1
    assert "None yet" not in page


def test_page_is_well_formed_and_its_ids_are_its_own(report: dict[str, bytes]) -> None:
    page = report["index.html"].decode()
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(set(ids)) == len(ids)
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)
    for name in FIGURES:
        assert f'<div class="plot" id="{name}" tabindex="0">' in page
    for svg in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL):
        root = ElementTree.fromstring(svg)
        assert root.get("role") == "img"
        assert root.get("aria-label")


def test_page_shows_test_split_and_failures(report: dict[str, bytes]) -> None:
    page = report["index.html"].decode()
    assert "On the test split" in page
    cells = "<td>-</td><td>2.4000 to 2.4000</td><td>2.3000</td><td>1</td><td>5,000</td><td>60.000</td>"
    assert f"<td>attention</td><td>2.4000</td>{cells}" in page
    assert "<td>training</td><td>diverged</td><td>1</td>" in page
    assert "5 bred, 4 ok" in page


def test_leaderboard_is_in_order_and_stars_the_front(reported: SearchFolder, report: dict[str, bytes]) -> None:
    text = report["leaderboard.md"].decode()
    rows = [re.split(r" \| ", line.strip("| \n")) for line in text.split("\n\n")[2].splitlines()[2:]]
    best = [load_preset(name).id for name in ("mixtral-nano", "mamba-2-nano", "llama-nano", "jamba-nano")]
    assert [row[row.index(name)] for row, name in zip(rows, best, strict=True)] == best
    starred = {row[2] for row in rows if row[0] == "*"}
    assert [row[1] for row in rows] == ["1", "2", "3", "4"]
    assert [row[3] for row in rows] == ["attention", "recurrent", "attention", "attention + recurrent"]
    assert starred == set(pareto_front(reported).collect()["architecture_id"])
    assert "| 2.4000 | 60.000 |" in text
    assert "On the test split" in text
    assert r"odd</b> \| name" in text


def test_page_says_what_was_measured_where_and_on_which_text(search: SearchFolder) -> None:
    manifest = read_manifest(search.manifest)
    data = {**manifest.data, "source": "installed-python"}
    write_manifest(search.manifest, manifest.model_copy(update={"data": data}))
    page = write_report(search).read_text()
    assert "installed-python (in place of shakespeare, which could not be fetched)" in page
    assert (
        f"<dt>latency</dt><dd>prefill, batch 8, context 256, measured relative to llama-nano on {DEVICE}</dd>" in page
    )
    assert f"measured relative to llama-nano on {DEVICE}." in (search.report / "leaderboard.md").read_text()


def test_search_without_rows_gives_a_report(begun: SearchFolder) -> None:
    page = write_report(begun).read_text()
    assert "None yet" in page
    assert "0 bred, 0 ok, 0 on the front" in page
    assert "On the test split" not in page


def test_generation_without_results_gives_a_report(search: SearchFolder) -> None:
    """What `harmony report` meets while a search runs."""
    search.shard(1, "training", 0).unlink()
    search.shard(1, "latency", 0).unlink()
    assert "5 bred, 2 ok" in write_report(search).read_text()


def test_no_such_search(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such search"):
        write_report(tmp_path)


# Text that is no text to a browser, a terminal, an XML parser or a reader.
HOSTILE = "<script>alert(1)</script>\x1b[31mred\x07\x00 [bold] ]]> right\u202eot left"


def test_hostile_names_are_text_in_page_figures_and_tables(begun: SearchFolder) -> None:
    write_generation(begun, 0, GENERATIONS[0], name=HOSTILE)
    promoted = (("mixtral-nano", 2.3, 0.06),)
    write_generation(begun, None, promoted, role="baseline", name=HOSTILE)
    row = {"search": "small", "generation": 0, "stage": "propose", "reason": HOSTILE, "count": 3}
    write_table(begun.ledger(0), [row], LEDGER)
    write_report(begun)
    for name, content in files(begun.report).items():
        if not name.endswith((".png", ".pdf")):
            text = content.decode()
            assert name == "leaderboard.md" or "<script>alert" not in text, name
            assert not set(text) & {"\x1b", "\x07", "\x00", "\u202e"}, name
        if name.endswith(".svg"):
            ElementTree.fromstring(content)
    page = (begun.report / "index.html").read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\x1b[31mred" in page
    assert "\\u202eot left" in page


def test_a_damaged_table_is_a_gap_with_what_it_costs(search: SearchFolder) -> None:
    curves, latency = search.shard(0, "curves", 0), search.shard(1, "latency", 0)
    curves.write_bytes(curves.read_bytes()[:200])
    content = bytearray(latency.read_bytes())
    content[40] ^= 1
    latency.write_bytes(content)
    page = write_report(search).read_text()
    assert "Not all of it is here" in page
    assert f"<td>{curves}</td><td>damaged: " in page
    assert "<td>the curves of up to 16 candidates</td>" in page
    assert f"<td>{latency}</td><td>damaged: " in page
    assert "<td>2 rows</td>" in page
    # Of generation 1 the latencies are not known any more, so that nobody of it is ok.
    assert "5 bred, 2 ok" in page
    assert f"damaged: {curves}; " in (search.report / "leaderboard.md").read_text()


def test_a_missing_table_is_a_gap_with_what_it_costs(search: SearchFolder) -> None:
    search.shard(1, "training", 0).unlink()
    page = write_report(search).read_text()
    assert (
        f"<td>{search.shard(1, 'training', 0)}</td><td>missing</td><td>the training of up to 16 candidates</td>" in page
    )


def test_within_the_workflow_a_damaged_table_is_an_error(search: SearchFolder) -> None:
    path = search.shard(0, "curves", 0)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match="curves"):
        write_report(search, whole=True)


def test_a_spent_budget_is_told_with_what_it_left_out(closed: SearchFolder) -> None:
    page = write_report(closed).read_text()
    # Half a second in each row of training and of latency.
    assert "<dt>budget</dt><dd>0.000833 of 0.001 GPU-hours spent</dd>" in page
    assert "<td>1</td><td>0</td><td>0</td><td>2.4000</td>" in page
    assert "<td>propose</td><td>budget of &lt;it&gt;</td><td>3</td>" in page
    assert "<p>3 left out: budget of &lt;it&gt;.</p>" in page
    assert "Trained again" not in page
    text = (closed.report / "leaderboard.md").read_text()
    assert text.endswith("\n## On the test split, trained again on fresh seeds\n\n3 left out: budget of <it>.\n")


def test_without_a_budget_none_is_told(report: dict[str, bytes]) -> None:
    assert "GPU-hours" not in report["index.html"].decode()
    assert "left out" not in report["leaderboard.md"].decode()
