"""`harmony doctor`: says what is missing before anything is queued."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from harmony_core.errors import UserError
from harmony_core.site import Finding, Profile, Site, examine
from harmony_core.site.probe import LIMIT_SECONDS, refuse_local

console = Console(soft_wrap=True, highlight=False)
_STYLES = {"ok": "green", "missing": "red", "warning": "yellow", "unknown": "cyan"}


def doctor(
    profile: Annotated[str, typer.Option(help="A Snakemake profile: frontier, slurm, local, or a path.")],
    configfile: Annotated[Path | None, typer.Option(help="The search's configuration.")] = None,
    site: Annotated[str | None, typer.Option(help="Limits to hold it to (resources/sites), or a YAML file.")] = None,
    probe: Annotated[bool, typer.Option("--probe", help="Also send a job of one task, and wait for it.")] = False,
    probe_seconds: Annotated[float, typer.Option(min=1, help="How long to wait for that job.")] = LIMIT_SECONDS,
) -> None:
    """Checks whether a search would run with a profile: one line a check, exit code 2 if something is missing."""
    found = Profile.find(profile)
    if probe:
        refuse_local(found)
    limits = Site.named(site) if site else Site.of_profile(found.site)
    counts = dict.fromkeys(_STYLES, 0)
    for finding in examine(found, limits, configfile, probe_seconds=probe_seconds if probe else None):
        counts[finding.verdict] += 1
        console.print(line(finding))
    if counts["missing"]:
        console.print(f"[red]{counts['missing']} missing[/]: nothing was queued")
        raise typer.Exit(UserError.EXIT_CODE)
    console.print(f"ready, {counts['warning']} warnings, {counts['unknown']} unknown")


def line(finding: Finding) -> str:
    """A finding, its verdict in front."""
    style = _STYLES[finding.verdict]
    return f"[{style}]{finding.verdict:8}[/]{escape(finding.line)}"
