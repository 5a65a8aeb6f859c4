"""What `harmony train` was asked for, as its front and each of its ranks know it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from harmony_core.architecture import Architecture
from harmony_core.errors import UserError
from harmony_core.workers.lease import Held

if TYPE_CHECKING:
    from harmony_core.machines import Layout, Machine
    from harmony_core.search.config import Config


@dataclasses.dataclass(frozen=True)
class Asked:
    """What was asked for, checked as far as it can be before anything is allocated.

    Args:
        architecture: what is trained.
        file: where it is from.
        config: recipe, data and seed.
        layout: how it is spread.
        out: folder of the results.
        fresh: whether what the folder holds is deleted first.
        machine: whose memory it must fit, whose predicted times cut a pipeline, and whose peak the utilisation is of.
        threads: CPU threads of a rank.
        timeout_seconds: a rank that stands still so long ends the training.
        every_steps: steps between checkpoints; 0 is by time alone.
        every_seconds: seconds between checkpoints.
        trunk_of: folder of a shorter training, from whose trunk this one goes on.
    """

    architecture: Architecture
    file: str
    config: Config
    layout: Layout
    out: Path
    fresh: bool
    machine: Machine | None
    threads: int
    timeout_seconds: float
    every_steps: int
    every_seconds: float
    trunk_of: Path | None


@contextlib.contextmanager
def folder_refusals(path: Path) -> Iterator[None]:
    """Says it as a person's mistake when somebody trains in a run's folder, or it cannot be written."""
    try:
        yield
    except Held as held:
        raise UserError("out", path, f"{held} trains here; wait for it, or use another --out") from None
    except OSError as error:
        raise UserError("out", path, f"{error.strerror}; name a folder that can be made and written") from None
