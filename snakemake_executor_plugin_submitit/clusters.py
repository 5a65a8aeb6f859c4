"""The places where jobs run, by name."""

from collections.abc import Callable

from snakemake_interface_common.exceptions import ApiError

from .cluster import Cluster
from .debug import Debug
from .folder import Folder
from .local import Local
from .log import Log
from .settings import ExecutorSettings
from .slurm import Slurm


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
