"""The wheel also carries what lies beside the code in a clone, for a search outside of any."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BESIDE = ("Snakefile", "workflow", "profiles", "config", "resources")


class Installed(BuildHookInterface):
    """Maps them into the package; an editable installation is the clone, and gets no second copy that grows stale."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Adds them to the files of a wheel that is no editable one."""
        if version != "editable":
            build_data["force_include"] |= {name: f"harmony_core/installed/{name}" for name in BESIDE}
