"""What a site allows, as far as Slurm does not say it itself (resources/sites)."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from harmony_core.base import Frozen, read_yaml
from harmony_core.resources import named_yaml, resource_names


class Bin(Frozen):
    """Jobs of a size, and how long they may run.

    Args:
        nodes: the most nodes of this bin.
        hours: the longest time.
    """

    nodes: int = Field(ge=1)
    hours: float = Field(gt=0)


class Site(Frozen):
    """A site's rules, and what its jobs need.

    Args:
        name: as the profile is called.
        source: where all this is from.
        account_required: whether every job names an account.
        bins: for each partition, its sizes of jobs, smallest first.
        max_eligible_jobs: jobs of one user that may compete for nodes at once; None is no limit.
        max_queued_jobs: jobs of one user in the queue, those that run or wait for others among them; None is no limit.
        cpus_per_node: CPUs of a node that jobs get; None is all that Slurm counts.
        read_only_on_nodes: folders that compute nodes cannot write to; `~` is the user's home.
        variables: environment variables that a job needs.
        deepspeed_ops: operations of DeepSpeed that must be in the environment already compiled.
        archive: the packed environment, relative to the project; None where jobs start from the shared file system.
    """

    name: str = Field(min_length=1)
    source: str = Field(min_length=1)
    account_required: bool = False
    bins: dict[str, tuple[Bin, ...]] = Field(default_factory=dict)
    max_eligible_jobs: int | None = Field(default=None, ge=1)
    max_queued_jobs: int | None = Field(default=None, ge=1)
    cpus_per_node: int | None = Field(default=None, ge=1)
    read_only_on_nodes: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    deepspeed_ops: tuple[str, ...] = ()
    archive: str | None = None

    @classmethod
    def named(cls, name: str) -> Site:
        """The site of resources/sites of this name, or the YAML file at this path; `UserError` if there is none."""
        path = named_yaml("sites", name)
        return cls.parse(read_yaml(path), path.name)

    @classmethod
    def of_profile(cls, name: str) -> Site:
        """The site that is called as the profile is; one without rules where nothing is known."""
        if name in resource_names("sites"):
            return cls.named(name)
        return cls(name=Path(name).name, source="nothing is known of this site but what Slurm says")

    def bin(self, partition: str | None, nodes: int) -> Bin | None:
        """The bin that a job of so many nodes falls into; None where the site has none for it."""
        return next((one for one in self.bins.get(partition or "", ()) if nodes <= one.nodes), None)
