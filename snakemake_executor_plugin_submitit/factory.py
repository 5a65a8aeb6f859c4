"""From settings to the parts that they name."""

from collections.abc import Callable, Mapping
from pathlib import Path

from snakemake_interface_common.exceptions import ApiError

from .array import ArrayBackend
from .backend import Backend, Resource
from .cluster import Cluster
from .debug import Debug
from .folder import Folder
from .journal import Journal
from .local import Local
from .log import Log
from .settings import ExecutorSettings
from .slurm import Slurm


def make_folder(settings: ExecutorSettings) -> Folder:
    """The executor's folder, made and tried.

    Raises:
        ApiError: It cannot be written to.
    """
    folder = Folder(Path(settings.folder).absolute())
    try:
        folder.make()
    except OSError as error:
        raise ApiError(
            f"--submitit-folder {folder.root}: {error.strerror}; "
            "name a folder that can be written to, on a file system that all nodes share"
        ) from error
    return folder


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


def make_cluster(name: str, settings: ExecutorSettings, folder: Folder, log: Log, settle_seconds: float) -> Cluster:
    """The place where jobs run.

    Args:
        name: slurm, local or debug.
        settings: Of the plugin.
        folder: The executor's.
        log: Snakemake's logger.
        settle_seconds: How long the shared file system may take to show a file.

    Raises:
        ApiError: There is no such place here.
    """
    makers: dict[str, Callable[[], Cluster]] = {
        "slurm": lambda: Slurm(
            folder,
            log,
            setup=settings.setup,
            signal_seconds=settings.signal_seconds,
            array_parallelism=settings.array_parallelism,
            query_seconds=settings.query_seconds,
            settle_seconds=settle_seconds,
        ),
        "local": lambda: Local(folder, settle_seconds),
        "debug": lambda: Debug(folder),
    }
    if name not in makers:
        raise ApiError(f"--submitit-cluster {name}: unknown; use slurm, pilot, local or debug")
    if name == "slurm" and (missing := Slurm.missing()):
        raise ApiError(
            f"--submitit-cluster slurm: not on PATH: {', '.join(missing)}; start Snakemake on a login node of the "
            "cluster, or use --submitit-cluster local"
        )
    return makers[name]()


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
        from .pilot.keeper import PilotBackend

        return PilotBackend(settings, folder, journal, log, settle_seconds, defaults)
    cluster = make_cluster(settings.cluster, settings, folder, log, settle_seconds)
    return ArrayBackend(cluster, folder, journal, log)
