"""The manifest of a search, and the configuration that its steps follow now."""

from __future__ import annotations

from harmony_core.config import Config
from harmony_core.store import Manifest, SearchFolder, read_manifest


def read_settings(folder: SearchFolder) -> tuple[Manifest, Config]:
    """The manifest, and its configuration with what the newest start has changed.

    Raises:
        UserError: one of the two files is missing or damaged.
    """
    manifest = read_manifest(folder.manifest)
    config = Config.parse(manifest.config, str(folder.manifest))
    if folder.config.exists():
        config = config.renewed(Config.from_yaml(folder.config))
    return manifest, config
