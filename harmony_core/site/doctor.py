"""All checks in the order in which a search would meet them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from harmony_core.search.config import Config
from harmony_core.site import environment, local_checks, probe, scheduler_checks
from harmony_core.site.finding import Finding, ok, unknown
from harmony_core.site.limits import Site
from harmony_core.site.profile import Profile
from harmony_core.site.setup_script import SetupScript
from harmony_core.slurm.client import Slurm
from harmony_core.slurm.command import Run, run

DATA = Path("data")
RESULTS = Path("results")


def examine(
    profile: Profile,
    site: Site,
    configfile: Path | None,
    run: Run = run,
    probe_seconds: float | None = None,
) -> Iterator[Finding]:
    """Checks everything that can be known before a job is queued.

    Args:
        profile: the profile.
        site: what its site allows.
        configfile: the search's configuration; None is the Snakefile's own.
        run: runs commands.
        probe_seconds: how long to wait for a node to report; None sends no job.

    Raises:
        UserError: the profile asks for something that is no number, or the configuration is wrong.
    """
    yield ok("profile", f"{profile.path}; {profile.executor}, {site.name}: {site.source}")
    yield environment.check_plugin(profile)
    yield from environment.check_versions()
    yield from environment.check_deepspeed_ops(site)
    yield local_checks.check_plan(profile, configfile, run)
    for subject, folder in (("results", RESULTS), ("data folder", DATA), ("job folder", profile.folder)):
        yield local_checks.check_folder(subject, folder, site)
    if configfile is None:
        yield unknown("data", "not looked for", "name the search with --configfile")
    else:
        yield local_checks.check_data(Config.from_yaml(configfile), DATA)
    setup = SetupScript.read(profile.setup)
    yield from local_checks.check_modules(setup, run)
    yield from local_checks.check_variables(setup, site)
    yield from environment.check_archive(site, Path.cwd())
    yield from local_checks.check_pilot_command(profile)
    if not profile.uses_slurm:
        return
    refused = False
    for finding in scheduler_checks.check_slurm(Slurm(run), profile, site):
        refused = refused or finding.verdict == "missing"
        yield finding
    if probe_seconds is not None and not refused:
        yield from probe.check_node(profile, site, run, probe_seconds)
