"""The Python environment that jobs run in: what is installed, and whether it is what HARMONY asks for.

`python -m harmony_core.site.environment` prints one `name==version` a line, which pack.sh keeps beside the archive.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import platform
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from harmony_core.site.finding import Finding, missing, ok, warning
from harmony_core.site.limits import Site
from harmony_core.site.profile import CLUSTERS, Profile

DISTRIBUTION = "harmony-search"
TOLD = ("torch", "deepspeed", "snakemake", "submitit")


def installed() -> dict[str, str]:
    """Name and version of every distribution, this project left out, which no archive holds."""
    found = {str(one.metadata["Name"]).lower().replace("_", "-"): one.version for one in metadata.distributions()}
    found.pop(DISTRIBUTION, None)
    return dict(sorted(found.items()))


def check_versions() -> Iterator[Finding]:
    """Python and the packages that everything stands on, against what the project's metadata asks for."""
    yield ok("python", f"{platform.python_version()}, {sys.executable}")
    wanted = _wanted()
    for name in TOLD:
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield missing(name, "not installed", "install harmony into this environment again")
            continue
        least = wanted.get(name, "0")
        if _release(version) < _release(least):
            yield missing(name, f"{version} is older than {least}", f"install {name}>={least}")
        else:
            yield ok(name, version)


def check_plugin(profile: Profile) -> Finding:
    """Whether the profile's executor can be imported; a broken one breaks every call of Snakemake."""
    if profile.executor == "local":
        return ok("executor", "local, Snakemake's own")
    if profile.executor == "submitit" and profile.cluster not in CLUSTERS:
        return missing("executor", f"submitit-cluster {profile.cluster!r} is unknown", f"use {', '.join(CLUSTERS)}")
    module = f"snakemake_executor_plugin_{profile.executor.replace('-', '_')}"
    try:
        plugin = importlib.import_module(module)
        # Snakemake takes this from the plugin, which may put off its imports until then.
        found = plugin.Executor
    except Exception as error:
        return missing("executor", f"{profile.executor}: {type(error).__name__}: {error}", "install harmony again")
    return ok("executor", f"{profile.executor}, {found.__module__}")


def check_deepspeed_ops(site: Site) -> Iterator[Finding]:
    """Whether operations that must not be compiled in a job are compiled already."""
    if not site.deepspeed_ops:
        return
    built = _built_ops()
    absent = [name for name in site.deepspeed_ops if not built.get(name)]
    if absent:
        fix = f"install deepspeed from source with {' '.join(f'DS_BUILD_{name.upper()}=1' for name in absent)}"
        yield warning("deepspeed ops", f"{', '.join(absent)} would be compiled in a job", fix)
    else:
        yield ok("deepspeed ops", f"{', '.join(site.deepspeed_ops)} are compiled")


def check_archive(site: Site, project: Path) -> Iterator[Finding]:
    """Whether the packed environment is there, and holds the packages that are installed here."""
    if site.archive is None:
        return
    path = project / site.archive
    fix = f"run profiles/{site.name}/pack.sh"
    if not path.is_file():
        yield warning("packed environment", f"no {site.archive}: ranks would start from the shared file system", fix)
        return
    listed = path.with_name(f"{path.name}.txt")
    packed = listed.read_text(encoding="utf-8", errors="replace").split() if listed.is_file() else []
    here = [f"{name}=={version}" for name, version in installed().items()]
    if changed := sorted(set(packed) ^ set(here)):
        said = f"{site.archive} has other packages than this environment ({', '.join(changed[:3])}, ...)"
        yield missing("packed environment", said, fix)
    else:
        yield ok("packed environment", f"{site.archive}, {path.stat().st_size / 1e9:.1f} GB")


def _built_ops() -> dict[str, bool]:
    """Which operations DeepSpeed was installed with; read from its file, since importing it looks for a device."""
    package = importlib.util.find_spec("deepspeed")
    path = Path(str(package and package.origin)).parent / "git_version_info_installed.py"
    if not path.is_file():
        return {}
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "installed_ops":
            return dict(ast.literal_eval(statement.value))
    return {}


def _wanted() -> dict[str, str]:
    """The least version of each dependency, as the project's metadata says it."""
    try:
        lines = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return {}
    found = (re.match(r"([\w.-]+)>=([\d.]+)", line) for line in lines)
    return {match[1].lower(): match[2] for match in found if match}


def _release(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


if __name__ == "__main__":
    print("\n".join(f"{name}=={version}" for name, version in installed().items()))
