"""A notebook as a page: its text, its code, and what the committed cells put out."""

from __future__ import annotations

import re
from pathlib import Path

from nbconvert import MarkdownExporter


def pages(source: Path) -> dict[str, str | bytes]:
    """The page of a notebook, and the pictures that its cells put out, by their paths in the site."""
    text, resources = MarkdownExporter().from_filename(str(source))
    # Tables as the site's own are.
    text = re.sub(r"<style>.*?</style>\n?", "", text, flags=re.DOTALL).replace(' border="1" class="dataframe"', "")
    name = source.stem
    found: dict[str, str | bytes] = {}
    for file, content in resources["outputs"].items():
        found[f"notebooks/{name}_{file}"] = content
        text = text.replace(f"]({file})", f"]({name}_{file})")
    note = f"This page is a notebook, `docs/notebooks/{source.name}`, with what it put out after the demo's search.\n\n"
    title, _, rest = text.partition("\n")
    return {f"notebooks/{name}.md": f"{title}\n\n{note}{rest}", **found}
