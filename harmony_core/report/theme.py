"""The colours of ink and paper that figures and diagrams share, and pictures that a page shows in its own."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from harmony_core.report.family import FAMILIES

INK, MUTED, GRID, PAPER = "#1c1f23", "#5b6470", "#e3e6ea", "#ffffff"
# What a page's style sheet calls them, light or dark.
_VARIABLES = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--line)", PAPER: "var(--paper)"}
# The share of its colour that a pale mark has; the rest is paper.
PALE = 0.4
_SVG = "http://www.w3.org/2000/svg"
ElementTree.register_namespace("", _SVG)


def flat(svg: str) -> str:
    """A picture whose pale marks are of a paler colour and not transparent.

    Transparent marks make a PDF several times as large, with its resources in another order each time.
    """
    svg = re.sub(rf'fill="(#[0-9a-f]{{6}})" fill-opacity="{PALE}"', lambda found: f'fill="{_pale(found[1])}"', svg)
    return svg.replace(' opacity="1"', "")


def _pale(color: str) -> str:
    parts = (PALE * int(color[place : place + 2], 16) + (1 - PALE) * 255 for place in (1, 3, 5))
    return "#" + "".join(f"{round(part):02x}" for part in parts)


_VARIABLES |= {_pale(one.color): f"color-mix(in srgb, {one.color} {PALE:.0%}, var(--paper))" for one in FAMILIES}


def inline(svg: str, name: str, label: str) -> str:
    """A picture as a part of a page: in the page's colours, of its width, one image to a screen reader.

    Marks keep what they are in `data-tip`, which the page shows at the pointer and at the keyboard's place.

    Args:
        svg: a whole document.
        name: of the picture, unique in the page.
        label: what it shows, for those who do not see it.
    """
    root = ElementTree.fromstring(svg)
    for node in root.iter():
        is_mark = node.get("role") == "graphics-symbol"
        for attribute, value in list(node.attrib.items()):
            if attribute.startswith("aria-") or attribute in ("role", "class", "pointer-events"):
                del node.attrib[attribute]
                if attribute == "aria-label" and is_mark:
                    node.set("data-tip", value)
            elif attribute in ("fill", "stroke") and value.lower() in _VARIABLES:
                node.set(attribute, _VARIABLES[value.lower()])
            elif attribute == "id":
                node.set(attribute, f"{name}-{value}")
            elif value.startswith("url(#"):
                node.set(attribute, f"url(#{name}-{value[5:]}")
    root.attrib.pop("height", None)
    root.set("width", "100%")
    root.set("role", "img")
    root.set("aria-label", label)
    return ElementTree.tostring(root, encoding="unicode")
