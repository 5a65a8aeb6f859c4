"""From settings to the parts that they name."""

from collections.abc import Mapping
from pathlib import Path

from snakemake_interface_common.exceptions import ApiError

from .array import ArrayBackend
from .backend import Backend, Resource
from .clusters import make_cluster
from .folder import Folder
from .journal import Journal
from .log import Log
from .pilot.keeper import PilotBackend
from .settings import ExecutorSettings
from .shared_files import NotOurs


def make_folder(settings: ExecutorSettings) -> Folder:
    """The executor's folder, made and tried.

    Raises:
        ApiError: It cannot be written to, or others may.
    """
    folder = Folder(Path(settings.folder).absolute())
    try:
        folder.make()
    except NotOurs as error:
        raise ApiError(f"--submitit-folder {error}") from error
    except OSError as error:
        raise ApiError(
            f"--submitit-folder {folder.root}: {error.strerror}; "
            "name a folder that can be written to, on a file system that all nodes share"
        ) from error
    return folder


def make_journal(folder: Folder, log: Log) -> Journal:
    """The executor's journal, as far as it can be read.

    Raises:
        ApiError: It cannot be read at all, or somebody else can have written it.
    """
    try:
        return Journal(folder.journal, log)
    except NotOurs as error:
        raise ApiError(f"--submitit-folder {error}") from error
    except OSError as error:
        raise ApiError(f"--submitit-folder {folder.journal}: {error.strerror}; name another folder") from error


def check_numbers(settings: ExecutorSettings) -> None:
    """Refuse numbers that make no sense; of some of them nothing else would ever be heard.

    Raises:
        ApiError: One of them.
    """
    least = {
        "array_parallelism": 1,
        "signal_seconds": 0,
        "resubmissions": 0,
        "query_seconds": 0,
        "pilot_idle_seconds": 0,
    }
    for name, lowest in least.items():
        value = getattr(settings, name)
        if not lowest <= value < float("inf"):
            raise ApiError(f"--submitit-{name.replace('_', '-')} {value}: give a number, at least {lowest}")


def make_backend(
    settings: ExecutorSettings,
    folder: Folder,
    journal: Journal,
    log: Log,
    settle_seconds: float,
    defaults: Mapping[str, Resource],
) -> Backend:
    """Who runs the works.

    Args:
        settings: Of the plugin.
        folder: The executor's.
        journal: Of the same folder.
        log: Snakemake's logger.
        settle_seconds: How long the shared file system may take to show a file.
        defaults: Resources of whatever is not a job's own, such as a standing allocation.

    Raises:
        ApiError: A setting is wrong, or cannot be met here.
    """
    check_numbers(settings)
    if settings.cluster == "pilot":
        return PilotBackend(settings, folder, journal, log, settle_seconds, defaults)
    cluster = make_cluster(settings.cluster, settings, folder, log, settle_seconds)
    return ArrayBackend(cluster, folder, journal, log)
