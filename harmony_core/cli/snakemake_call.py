"""Snakemake's command line for a configuration: the workflow of this installation, and a profile by its name."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from harmony_core.errors import UserError
from harmony_core.resources import ROOT, shipped
from harmony_core.site.profile import Profile

_PLAIN = "local"
_OWN_SNAKEFILE = ("-s", "--snakefile")
# HARMONY says these itself, and of two Snakemake takes the last.
_TAKEN = {
    "--profile": "write it before `--`",
    "--configfile": "the configuration is the first argument",
    "--configfiles": "the configuration is the first argument",
    "--config": "write `--set NAME=VALUE` before `--`",
    "-C": "write `--set NAME=VALUE` before `--`",
}


def snakemake_arguments(
    config: Path, changes: Mapping[str, Any], profile: str | None = None, more: Sequence[str] = ()
) -> list[str]:
    """What `snakemake` is called with, in the folder in which the search is to lie.

    Args:
        config: the configuration's file.
        changes: keys of it that have other values.
        profile: a profile's name or folder; None is the only one in `profiles/` here, or else `local`.
        more: further options and targets of Snakemake's.

    Raises:
        UserError: there is no such profile, or `more` says again what is said here.
    """
    for word in more:
        option = word.partition("=")[0]
        if option in _TAKEN:
            raise UserError("Snakemake's options", option, _TAKEN[option])
    arguments = ["--configfile", str(config)]
    if changes:
        arguments += ["--config", *(f"{name}={_flow(value)}" for name, value in changes.items())]
    if not any(word.partition("=")[0] in _OWN_SNAKEFILE for word in more):
        arguments += _snakefile()
    # An option of one value comes last, so that a target after it is not taken for one more value.
    return [*arguments, "--profile", find_profile(profile), *more]


def find_profile(name: str | None) -> str:
    """The profile as Snakemake finds it: here, among the person's own, in `profiles/`, or one of HARMONY's.

    Raises:
        UserError: there is none of this name.
    """
    if name is None:
        own = sorted(path.parent for path in Path("profiles").glob("*/config.yaml"))
        name = str(own[0]) if len(own) == 1 else _PLAIN
    for place in (name, str(Path("profiles") / name), str(ROOT / "profiles" / name)):
        try:
            found = Profile.find(place)
        except UserError as error:
            if error.field != "profile":
                # It is there, and cannot be read.
                raise
            continue
        script = Path("profiles") / name / "setup.sh"
        if str(script) in found.setup and not script.exists():
            raise UserError("profile", name, f"needs {script} here; `harmony init --for {name} DIR` makes a folder")
        return place
    raise UserError("profile", name, f"none of this name; use {', '.join(shipped_profiles())}, or a folder of your own")


def shipped_profiles() -> list[str]:
    """Names of HARMONY's own profiles."""
    return sorted(path.name for path in shipped("profiles").iterdir())


def _snakefile() -> list[str]:
    """The option that names this installation's workflow; nothing in a clone's root, where Snakemake finds it."""
    installed, here = shipped("Snakefile"), Path("Snakefile")
    return [] if here.exists() and os.path.samefile(here, installed) else ["--snakefile", str(installed)]


def _flow(value: Any) -> str:
    """A value as Snakemake's `--config` reads it: YAML in one line, in which every leaf is text."""
    if not isinstance(value, Mapping | list):
        return str(value)
    text: str = yaml.safe_dump(value, default_flow_style=True, width=float("inf"), allow_unicode=True, sort_keys=False)
    return text.rstrip("\n")
