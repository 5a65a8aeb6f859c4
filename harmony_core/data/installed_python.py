"""The running interpreter's own standard library: real text on every machine, nothing to download."""

from __future__ import annotations

import hashlib
import os
import platform
import sysconfig
from pathlib import Path

from harmony_core.data.corpus import SPLITS, Document, Log, Splits, hashed_split
from harmony_core.errors import UserError

# Tests repeat the code that they test. What others installed is not the standard library. Build records name the
# machine.
_SKIPPED_FOLDERS = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
_SKIPPED_PREFIXES = ("config-", "_sysconfigdata")


class InstalledPythonSource:
    """About 12 MB of Python source, split by top-level module or package."""

    name = "installed-python"

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or Path(sysconfig.get_paths()["stdlib"])
        self.origin = f"standard library of {platform.python_implementation()} {platform.python_version()}"
        self.licence = "Python Software Foundation License Version 2; Copyright Python Software Foundation."

    def fingerprint(self) -> object:
        """The interpreter's version."""
        return self.origin

    def documents(self, log: Log) -> Splits:
        """Every source file once (by content), in the order of paths."""
        log(f"reading the {self.origin}")
        splits = Splits({split: [] for split in SPLITS})
        seen: set[bytes] = set()
        for path in _sources(self._folder):
            relative = path.relative_to(self._folder)
            try:
                text = path.read_bytes()
            except OSError as error:
                raise UserError(str(path), error.strerror, "make it readable, or use another source") from None
            key = hashlib.sha256(text).digest()
            if text and key not in seen:
                seen.add(key)
                module = relative.parts[0].removesuffix(".py")
                splits[hashed_split(module.encode())].append(Document(relative.as_posix(), text))
        return splits


def _sources(root: Path) -> list[Path]:
    found: list[Path] = []
    for folder, children, files in os.walk(root):
        children[:] = [c for c in children if c not in _SKIPPED_FOLDERS and not c.startswith(_SKIPPED_PREFIXES)]
        names = (name for name in files if name.endswith(".py") and not name.startswith(_SKIPPED_PREFIXES))
        found.extend(Path(folder, name) for name in names)
    return sorted(found, key=lambda path: path.relative_to(root).parts)
