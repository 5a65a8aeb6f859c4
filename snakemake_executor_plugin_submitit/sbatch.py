"""submitit's Slurm executor with its files in a folder a submission, and sbatch's words taken as the bytes they are."""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import DelayedSubmission, JobPaths

from . import launch
from .folder import Folder
from .shared_files import make_own
from .squeue import words

PYTHON = f"{shlex.quote(sys.executable)} -u -m {launch.__name__}"
"""Interpreter of a job, for submitit, which appends a module and a folder."""
SBATCH_SECONDS = 170.0
"""sbatch itself goes on for two minutes where slurmctld is busy."""


def write_pickle(path: Path, function: Callable[[], object]) -> None:
    """Write submitit's pickle of a function, for its user alone whatever the umask is."""
    # The file is made first, with its rights: submitit writes into it.
    path.touch(mode=0o600, exist_ok=False)
    DelayedSubmission(function).dump(path)


class Submission:
    """Files of one submission, gone again if it fails.

    Args:
        folder: The executor's.
        tag: The submission's name.
    """

    def __init__(self, folder: Folder, tag: str) -> None:
        self.root = folder.submission(tag)
        self.pattern = folder.submitit(tag)

    def __enter__(self) -> "Submission":
        make_own(self.root)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            shutil.rmtree(self.root, ignore_errors=True)

    def sbatch(
        self,
        parameters: dict[str, Any],
        functions: Sequence[Callable[[], object]],
        run: Callable[..., bytes],
    ) -> list[str]:
        """Submit functions as one job, or as one array.

        They are pickled first, and moved to where their jobs look for them when sbatch has named the job: what a
        submission of unknown fate left in the queue has nothing to run.

        Args:
            parameters: Of submitit's Slurm executor.
            functions: What to run.
            run: Runs a command; returns its output, or raises.

        Returns:
            An id for each.

        Raises:
            ValueError: sbatch told of no job.
            OSError: A file cannot be written.
        """
        executor = submitit.SlurmExecutor(self.pattern, python=PYTHON)
        executor.update_parameters(**parameters)
        array = len(functions) > 1
        if array:
            executor.parameters["map_count"] = len(functions)
        pickles = [self.root / f"{index}.pkl" for index in range(len(functions))]
        for path, function in zip(pickles, functions, strict=True):
            write_pickle(path, function)
        script = self.root / "batch.sh"
        text = executor._make_submission_file_text(executor._submitit_command_str, "")
        # Commands and paths may hold bytes that are no text; Python keeps them.
        script.write_bytes(os.fsencode(f"{text}\n"))
        first = parse_job_id(run("sbatch", str(script), limit=SBATCH_SECONDS))
        ids = [f"{first}_{index}" for index in range(len(functions))] if array else [first]
        for path, job_id in zip(pickles, ids, strict=True):
            self.hand_over(path, job_id)
        return ids

    def hand_over(self, pickle: Path, job_id: str) -> None:
        """Move a pickle to where its job waits for it."""
        paths = JobPaths(self.pattern, job_id)
        make_own(paths.folder)
        pickle.rename(paths.submitted_pickle)


def parse_job_id(said: bytes) -> str:
    """The id in sbatch's answer, `Submitted batch job 123` somewhere among other lines.

    Raises:
        ValueError: There is none.
    """
    match = re.search(rb"\bSubmitted batch job ([0-9]{1,20})\b", said)
    if match is None:
        raise ValueError(f"sbatch told of no job; it said {words(said)[:200]!r}")
    return match[1].decode()
