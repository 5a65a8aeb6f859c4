"""A Snakemake profile, as far as it says where and with what jobs run."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harmony_core.base import Frozen, read_yaml
from harmony_core.errors import UserError
from harmony_core.site.job_request import JobRequest, shell_words
from snakemake_executor_plugin_submitit.resource_rules import over_defaults

DEFAULT_FOLDER = ".snakemake/submitit"
# The values that `submitit-cluster` may have (docs/executor.md).
CLUSTERS = ("slurm", "pilot", "local", "debug")


class Profile(Frozen):
    """A profile's file and what it says.

    Args:
        name: as the person called it.
        path: the YAML file.
        values: its keys.
    """

    name: str
    path: Path
    values: dict[str, Any]

    @classmethod
    def find(cls, name: str) -> Profile:
        """Reads the profile that `snakemake --profile NAME` would take.

        Raises:
            UserError: there is none of this name, or its file is not a YAML mapping.
        """
        path = _file(name)
        if path is None:
            fix = f"there is no {name}/config.yaml here or in {_user_folder()}; run this in the project's folder"
            raise UserError("profile", name, fix)
        values = read_yaml(path)
        if not isinstance(values, dict):
            raise UserError(str(path), type(values).__name__, "write `key: value` lines")
        return cls(name=name, path=path, values=values)

    @property
    def site(self) -> str:
        """Name of the folder that the profile really is in, which is also its site's."""
        return self.path.resolve().parent.name

    @property
    def executor(self) -> str:
        """Name of the executor plugin; `local` is Snakemake's own."""
        return str(self.values.get("executor", "local"))

    @property
    def cluster(self) -> str:
        """How the submitit executor runs jobs: slurm, pilot, local or debug."""
        return str(self.setting("cluster") or "slurm")

    @property
    def uses_slurm(self) -> bool:
        """Whether any job goes to Slurm."""
        if self.cluster == "pilot":
            return self._pilot_resources().get("cluster", "slurm") == "slurm"
        return self.executor == "slurm" or (self.executor == "submitit" and self.cluster == "slurm")

    @property
    def folder(self) -> Path:
        """Folder of the executor's files, which every node must see."""
        return Path(str(self.setting("folder") or DEFAULT_FOLDER)).expanduser()

    @property
    def setup(self) -> str:
        """Shell lines that every job begins with."""
        return str(self.setting("setup") or "")

    def setting(self, name: str) -> Any:
        """A setting of the submitit executor, environment variables replaced as Snakemake does."""
        value = self.values.get(f"submitit-{name.replace('_', '-')}")
        return os.path.expandvars(value) if isinstance(value, str) else value

    def rules(self) -> dict[str, dict[str, Any]]:
        """Resources of each rule that the profile names, over its defaults; `every rule` where it names none."""
        defaults = self._mapping("default-resources")
        named = self._mapping("set-resources") or {"every rule": {}}
        for rule, resources in named.items():
            if not isinstance(resources, Mapping):
                raise UserError(f"{self.path}: set-resources.{rule}", resources, "write `resource: value` lines")
        threads = self._mapping("set-threads")
        return {
            rule: over_defaults({**({"threads": threads[rule]} if rule in threads else {}), **resources}, defaults)
            for rule, resources in named.items()
        }

    def requests(self) -> list[JobRequest]:
        """What will be asked of Slurm: one standing allocation, or a job a rule."""
        if self.cluster == "pilot":
            resources = over_defaults(self._pilot_resources(), self._mapping("default-resources"))
            return [JobRequest.from_resources("standing allocation", resources)]
        return [JobRequest.from_resources(rule, resources) for rule, resources in self.rules().items()]

    def _pilot_resources(self) -> dict[str, str]:
        field = f"{self.path}: submitit-pilot-resources"
        words = shell_words(field, str(self.setting("pilot-resources") or ""))
        wrong = [word for word in words if "=" not in word]
        if wrong:
            raise UserError(field, wrong[0], "write name=value, with spaces between")
        return dict(word.split("=", 1) for word in words)

    def _mapping(self, key: str) -> dict[str, Any]:
        value = self.values.get(key) or {}
        if isinstance(value, list) and all("=" in str(item) for item in value):
            value = dict(str(item).split("=", 1) for item in value)
        if not isinstance(value, dict):
            raise UserError(f"{self.path}: {key}", value, "write `name: value` lines below it")
        return {name: _expanded(given) for name, given in value.items()}


def _expanded(value: Any) -> Any:
    return os.path.expandvars(value) if isinstance(value, str) else value


def _user_folder() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME", "~/.config")).expanduser() / "snakemake"


def _file(name: str) -> Path | None:
    """The YAML file of a profile: in the folder as given, or in the user's folder of that name."""
    for folder in (Path(name), _user_folder() / name):
        if folder.is_file():
            return folder
        # `config.v9+.yaml` is for Snakemake 9 and later; the highest version is taken.
        names = (re.fullmatch(r"(?:profile|config)(?:\.v(\d+)\+)?\.yaml", path.name) for path in folder.glob("*.yaml"))
        versions = {match[0]: int(match[1] or 0) for match in names if match}
        if versions:
            return folder / max(versions, key=lambda file: versions[file])
    return None
