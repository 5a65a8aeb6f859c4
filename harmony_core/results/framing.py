"""Which frame a search's hypervolume has: one that is named, its scale's pilot's, or that of its first generation.

The first generation's is known after that is selected from. It lies beside the manifest, in `frame.yaml`, a function
of recorded rows that other searches can name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from harmony_core.atomic import atomic_write
from harmony_core.metrics import metric
from harmony_core.resources import resource_names
from harmony_core.search.config import Config
from harmony_core.search.frame import AUTO, Frame
from harmony_core.space import Space
from harmony_core.store import Manifest, SearchFolder


def choose_frame(config: Config, source: str, reference_seconds: float) -> Frame | None:
    """The frame that a search begins with, its latency in seconds; None where its first generation will say.

    Args:
        config: the search's; its space may be in full.
        source: of the data, as prepared.
        reference_seconds: latency of the reference architecture.

    Raises:
        UserError: the configuration names a frame that is not there, is wrong, or lacks an objective.
    """
    wanted, objectives = config.search.hypervolume, [objective.name for objective in config.search.objectives]
    if wanted != AUTO:
        frame = Frame.read(wanted)
        frame.require(objectives, wanted)
        return frame.in_seconds(reference_seconds)
    for name in resource_names("frames"):
        frame = Frame.read(name)
        if _is_made_for(frame, config, source) and frame.holds(objectives):
            return frame.in_seconds(reference_seconds)
    return None


def read_frame(folder: SearchFolder, manifest: Manifest) -> Frame | None:
    """The frame of a search; None before there is one.

    Raises:
        UserError: the file is damaged.
    """
    if manifest.hypervolume is not None:
        return Frame.parse(manifest.hypervolume, str(folder.manifest))
    if not folder.frame.is_file():
        return None
    reference_seconds = _reference_seconds(manifest)
    frame = Frame.from_file(folder.frame)
    return frame if reference_seconds is None else frame.in_seconds(reference_seconds)


def settle_frame(
    folder: SearchFolder, manifest: Manifest, generation: int, rows: Sequence[Mapping[str, Any]]
) -> Frame | None:
    """The frame of a search, which is written here if it began without one; None while nobody has ended well.

    Args:
        folder: the search's.
        manifest: its manifest.
        generation: the first of which anybody ended well, so that a later call makes the same frame.
        rows: metrics of those of it who did.

    Raises:
        UserError: the manifest's frame is damaged.
    """
    if manifest.hypervolume is not None:
        return read_frame(folder, manifest)
    if not rows:
        return None
    frame = derived_frame(folder, manifest, generation, rows)
    text = yaml.safe_dump(frame.model_dump(mode="json", exclude_defaults=True), sort_keys=False)
    if not folder.frame.is_file() or folder.frame.read_text(encoding="utf-8") != text:
        atomic_write(folder.frame, text.encode())
    return read_frame(folder, manifest)


def derived_frame(
    folder: SearchFolder, manifest: Manifest, generation: int, rows: Sequence[Mapping[str, Any]]
) -> Frame:
    """What `frame.yaml` holds; arguments as for `settle_frame`, with at least one row."""
    frame = frame_around(rows, f"generation {generation} of search {folder.name}")
    reference_seconds = _reference_seconds(manifest)
    # In units of the reference, a search on another machine can share the frame.
    return frame if reference_seconds is None else frame.in_references(reference_seconds)


def frame_around(rows: Sequence[Mapping[str, Any]], origin: str) -> Frame:
    """The frame that the candidates of one generation span, each metric as its `reference` says.

    Args:
        rows: value by metric of candidates that ended well, at least one. A metric that one has not is left out.
        origin: where they come from.
    """
    measured = [metric(name) for name in rows[0] if all(row[name] is not None for row in rows)]
    spans = {one.name: one.reference([float(row[one.name]) for row in rows], one.sign) for one in measured}
    return Frame(
        origin=origin,
        ideal={name: span.ideal for name, span in spans.items()},
        reference={name: span.reference for name, span in spans.items()},
        log=tuple(name for name, span in spans.items() if span.is_log),
    )


def _reference_seconds(manifest: Manifest) -> float | None:
    """What the reference architecture took at the search's start; None in searches that did not record it."""
    return manifest.reference_latency.get(manifest.config["latency"]["objective"])


def _is_made_for(frame: Frame, config: Config, source: str) -> bool:
    scale = frame.scale
    return (
        scale is not None
        and (scale.data, scale.tokens) == (source, config.recipe.tokens)
        and Space.read(scale.space).id == Space.read(config.space).id
    )
