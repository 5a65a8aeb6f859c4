"""Settings of the plugin, as Snakemake's command line and profiles give them."""

from dataclasses import dataclass, field

from snakemake_interface_executor_plugins.settings import CommonSettings, ExecutorSettingsBase


def _switch(value: str | bool) -> bool:
    words = {"true": True, "yes": True, "false": False, "no": False}
    try:
        return words[str(value).lower()]
    except KeyError:
        raise ValueError(f"{value!r} is neither true nor false") from None


@dataclass
class ExecutorSettings(ExecutorSettingsBase):
    """Each field is an option ``--submitit-<field>``, and a key of a profile without the dashes in front."""

    cluster: str = field(
        default="slurm",
        metadata={
            "help": "where jobs run: 'slurm', in a standing allocation ('pilot'), as processes of this machine "
            "('local'), or one after the other in Snakemake's own process ('debug')"
        },
    )
    folder: str = field(
        default=".snakemake/submitit",
        metadata={"help": "folder for logs, states and submitit's files, on a file system that all nodes share"},
    )
    # The type is not a plain bool: for one that is true by default, Snakemake's interface makes an option which it then
    # does not find.
    direct: bool | None = field(
        default=True,
        metadata={
            "type": _switch,
            "help": "run the command of a shell rule itself where that is sound, not a Snakemake that runs it",
        },
    )
    array_parallelism: int = field(default=256, metadata={"help": "how many members of one job array may run at once"})
    signal_seconds: int = field(
        default=300, metadata={"help": "lead of SIGUSR2 ahead of the time limit, to all job steps"}
    )
    setup: str = field(
        default="", metadata={"help": "shell lines that every job runs first: module loads, environment"}
    )
    resubmissions: int = field(
        default=20,
        metadata={"help": "how often a job that ends with exit code 75, 'run me again', is submitted again"},
    )
    query_seconds: float = field(
        default=10.0, metadata={"help": "least time between two questions (squeue, for all jobs) to the scheduler"}
    )
    pilot_resources: str = field(
        default="",
        metadata={"help": "the standing allocation: 'nodes=2 tasks_per_node=8 runtime=120', names as for jobs"},
    )
    pilot_command: str = field(
        default="", metadata={"help": "command that runs in the standing allocation for as long as that lives"}
    )
    pilot_chain: bool | None = field(
        default=False,
        metadata={"type": _switch, "help": "keep a successor queued behind the running allocation"},
    )
    pilot_idle_seconds: float = field(
        default=60.0, metadata={"help": "give an allocation back that has had nothing to do for so long"}
    )


common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=False,
    job_deploy_sources=False,
    pass_default_storage_provider_args=True,
    pass_default_resources_args=True,
    pass_envvar_declarations_to_cmd=True,
    auto_deploy_default_storage_provider=False,
    init_seconds_before_status_checks=0,
    pass_group_args=True,
)
