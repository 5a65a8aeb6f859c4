"""Which resources say something together: what would have no effect, or one of two, is refused."""

from collections.abc import Mapping

from .backend import Resource

# The official plugin uses these names for another cluster than the one whose squeue is asked here.
_OTHER_CLUSTERS = ("cluster", "clusters", "slurm_cluster")
_SLURM_NAMES = ("slurm_partition", "slurm_account", "slurm_extra")
# sbatch takes one of each group: they say the same in other ways.
ONE_OF = (
    ("mem_mb", "mem_mb_per_cpu", "mem_mb_per_gpu"),
    ("cpus_per_task", "cpus_per_gpu"),
    ("gpus", "gpu"),
)
_OF_GPUS = ("gpu_model", "mem_mb_per_gpu", "tasks_per_gpu", "cpus_per_gpu")
_GPUS = ("gpus", "gpu", "gpus_per_node", "gpus_per_task")


class ResourceError(ValueError):
    """A resource that cannot be asked for; its text is one line for the user.

    Args:
        resource: Its name.
        value: What was asked for.
        fix: What is wrong, and what to ask for instead.
    """

    def __init__(self, resource: str, value: object, fix: str) -> None:
        super().__init__(f"resource {resource}={value}: {fix}")
        self.resource, self.value, self.fix = resource, value, fix


def over_defaults(given: Mapping[str, Resource], defaults: Mapping[str, Resource]) -> dict[str, Resource]:
    """Resources over defaults; a default that says in another way what is given gives way to it."""
    outdone = {name for names in ONE_OF if any(is_given(given, one) for one in names) for name in names}
    return {**{name: value for name, value in defaults.items() if name not in outdone}, **given}


def check_resources(resources: Mapping[str, Resource]) -> None:
    """Refuse what would have no effect, or one of two effects.

    Raises:
        ResourceError: The first of them.
    """
    for name in _OTHER_CLUSTERS:
        if resources.get(name):
            raise ResourceError(name, resources[name], "jobs go to the default cluster alone; leave it out")
    for name, value in resources.items():
        if name.startswith("slurm_") and name not in (*_SLURM_NAMES, *_OTHER_CLUSTERS) and is_given(resources, name):
            raise ResourceError(name, value, f"there is no such resource; use {', '.join(_SLURM_NAMES)}")
    for names in ONE_OF:
        given = [name for name in names if is_given(resources, name)]
        if len(given) > 1:
            others = " and ".join(f"{name}={resources[name]}" for name in given[1:])
            raise ResourceError(given[0], resources[given[0]], f"{others} says the same in another way; leave one out")
    # If a job has an explicit gpu=0, the model of its defaults is not meant.
    if not any(is_given(resources, name) for name in (*_GPUS, "gres")):
        for name in _OF_GPUS:
            if is_given(resources, name):
                raise ResourceError(name, resources[name], "has no effect without GPUs; give gpu, how many, too")


def is_given(resources: Mapping[str, Resource], name: str) -> bool:
    """Whether a resource has a value."""
    return resources.get(name) not in (None, "")
