"""The manifest of a search, and the configuration that its steps follow now."""

from __future__ import annotations

from harmony_core.search.config import Config
from harmony_core.store import Manifest, SearchFolder, read_manifest


def read_settings(folder: SearchFolder, manifest: Manifest | None = None) -> tuple[Manifest, Config]:
    """The manifest, and its configuration with what the newest start has changed.

    Args:
        folder: the search's.
        manifest: its manifest, where it was read already.

    Raises:
        UserError: the search was not prepared, or one of the two files is damaged.
    """
    manifest = read_manifest(folder.manifest) if manifest is None else manifest
    config = Config.parse(manifest.config, str(folder.manifest))
    if folder.config.exists():
        config = config.renewed(Config.from_yaml(folder.config))
    return manifest, config
