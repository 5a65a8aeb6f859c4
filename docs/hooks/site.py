"""What MkDocs calls while it builds the site: pages made from the code, and links out of the folder."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import commands
import configuration
import notebook
import table_schemas
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
# Pages whose text is not a file of docs/: what writes each.
PAGES: dict[str, Callable[[], str]] = {
    "reference/configuration.md": configuration.page,
    "reference/blocks.md": configuration.blocks_page,
    "reference/command-line.md": commands.page,
    "reference/tables.md": table_schemas.page,
    "changelog.md": lambda: _from_the_root("CHANGELOG.md"),
    "contributing.md": lambda: _from_the_root("CONTRIBUTING.md"),
    "citing.md": lambda: _citing(ROOT / "CITATION.cff"),
}
# A link of a page of docs/ to a file of the repository beside docs/.
_OUTSIDE = re.compile(r"\[(?P<text>[^\]]+)\]\((?P<path>(?:\.\./)+[^)\s#]+)(?:#[^)]*)?\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Puts what `nav` does not name at the end of its Reference, so that no page is without a place."""
    docs = Path(config.docs_dir)
    named = set(_paths(config.nav)) | set(PAGES)
    found = {path.relative_to(docs).as_posix() for path in docs.rglob("*.md")}
    others = sorted(path for path in found - named if not config.exclude_docs.match_file(path))
    (reference,) = (section["Reference"] for section in config.nav if "Reference" in section)
    reference += others
    return config


def _paths(nav: Any) -> Iterator[str]:
    """The pages that a part of `nav` names."""
    if isinstance(nav, str):
        yield nav
    for one in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ():
        yield from _paths(one)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are made, and the notebooks with what their cells put out."""
    for path, write in PAGES.items():
        files.append(File.generated(config, path, content=write()))
    for source in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        for path, content in notebook.pages(source).items():
            files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """A link to a file that the site does not have becomes its path, or a link to the repository where one is set."""
    folder = (Path(config.docs_dir) / page.file.src_uri).parent

    def replaced(match: re.Match[str]) -> str:
        target = (folder / match["path"]).resolve()
        path = target.relative_to(ROOT).as_posix() if target.is_relative_to(ROOT) else ""
        if path in _KEPT:
            return match[0].replace(match["path"], "../" * page.file.src_uri.count("/") + _KEPT[path])
        if target.is_relative_to(config.docs_dir) or not target.exists():
            # MkDocs follows those within docs/, and tells of those that lead nowhere.
            return match[0]
        if config.repo_url:
            return match[0].replace(match["path"], f"{config.repo_url.rstrip('/')}/blob/main/{path}")
        return match["text"] if match["text"].strip("`") == path else f"{match['text']} (`{path}`)"

    return _OUTSIDE.sub(replaced, markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Each table lies in a place that the keyboard can scroll, as no table of ours fits into every window."""
    number = itertools.count(1)

    def held(match: re.Match[str]) -> str:
        return f'<div class="scrolled" role="group" tabindex="0" aria-label="Table {next(number)}">{match[0]}</div>'

    return re.sub(r"<table>.*?</table>", held, html, flags=re.DOTALL)


# Files of the repository that are pages of the site.
_KEPT = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "CITATION.cff": "citing.md"}


def _from_the_root(name: str) -> str:
    """A page of the project's root, with its links as they are among the site's pages."""
    text = (ROOT / name).read_text().replace("](docs/", "](")
    for file, page in _KEPT.items():
        text = text.replace(f"]({file})", f"]({page})")
    return text


def _citing(path: Path) -> str:
    """The page of CITATION.cff, and how its entry reads in BibTeX."""
    import yaml

    entry = yaml.safe_load(path.read_text())
    authors = " and ".join(one.get("name") or f"{one['given-names']} {one['family-names']}" for one in entry["authors"])
    bibtex = "\n".join(
        [
            "@software{harmony,",
            f"  title = {{{entry['title']}}},",
            f"  author = {{{authors}}},",
            f"  version = {{{entry['version']}}},",
            "}",
        ]
    )
    return (
        f"# Citing\n{entry['message']}\n\n```bibtex\n{bibtex}\n```\n\n"
        "Name the search too: its configuration's hash and the versions are in `results/NAME/manifest.json`. The same\n"
        f"entry as a file, `CITATION.cff`:\n\n```yaml\n{path.read_text()}```\n"
    )
