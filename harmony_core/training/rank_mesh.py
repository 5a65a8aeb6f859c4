"""Where one process stands in a layout, and the groups that it talks to."""

from __future__ import annotations

import dataclasses

import torch.distributed as dist

from harmony_core.machines import Layout
from harmony_core.models.context_parallel import ContextParallel
from harmony_core.models.expert_parallel import ExpertParallel
from harmony_core.training.engine import import_deepspeed


@dataclasses.dataclass(frozen=True)
class RankMesh:
    """Rank r is stage r // (dp x cp); within a stage, replicas one after the other, each of cp neighbouring ranks.

    Args:
        layout: the sizes.
        rank: this process's number.
    """

    layout: Layout
    rank: int

    @property
    def stage(self) -> int:
        """Pipeline stage, from 0."""
        return self.rank // self.layout.data_ranks

    @property
    def data_rank(self) -> int:
        """Number among the ranks that hold the same stage."""
        return self.rank % self.layout.data_ranks

    @property
    def replica(self) -> int:
        """Which share of each batch this process sees."""
        return self.data_rank // self.layout.cp

    @property
    def previous(self) -> int:
        """The rank that hands its activations to this one."""
        return self.rank - self.layout.data_ranks

    @property
    def next(self) -> int:
        """The rank that this one hands its activations to."""
        return self.rank + self.layout.data_ranks

    def stage_ranks(self, stage: int) -> range:
        """All ranks of a stage."""
        return range(stage * self.layout.data_ranks, (stage + 1) * self.layout.data_ranks)


@dataclasses.dataclass(frozen=True)
class Groups:
    """Process groups of one rank; None where it would be alone, or where it is everybody.

    Args:
        data: the ranks of this stage; None is all.
        ends: for tied embeddings, the two ranks of the first and the last stage that stand here.
        experts: who shares the experts.
        context: who shares the sequences.
        expert_name: what DeepSpeed calls the groups of the experts.
    """

    data: dist.ProcessGroup | None = None
    ends: dist.ProcessGroup | None = None
    experts: ExpertParallel | None = None
    context: ContextParallel | None = None
    expert_name: str = ""


def make_groups(mesh: RankMesh, tied: bool) -> Groups:
    """Makes all groups of a layout: a collective of all its processes.

    Args:
        mesh: where this process stands.
        tied: whether first and last stage share the embedding.
    """
    layout = mesh.layout
    data = ends = context = experts = None
    if layout.pp > 1:
        data = _mine([list(mesh.stage_ranks(stage)) for stage in range(layout.pp)], mesh.rank)
    if layout.pp > 1 and tied:
        pairs = zip(mesh.stage_ranks(0), mesh.stage_ranks(layout.pp - 1), strict=True)
        ends = _mine([list(pair) for pair in pairs], mesh.rank)
    if layout.cp > 1:
        firsts = range(0, layout.num_processes, layout.cp)
        context = ContextParallel(_mine([list(range(first, first + layout.cp)) for first in firsts], mesh.rank))
    name = f"ep_size_{layout.ep}"
    if layout.ep > 1:
        groups = import_deepspeed().utils.groups
        # DeepSpeed knows the group under this name, and reduces the experts' gradients over it.
        groups._create_expert_and_data_parallel(layout.ep, pp_size=layout.pp)
        experts = ExpertParallel(groups._get_expert_parallel_group(name))
    return Groups(data, ends, experts, context, name)


def _mine(members: list[list[int]], rank: int) -> dist.ProcessGroup | None:
    """Makes every group, as all ranks must, and returns the one that this rank is in."""
    found = None
    for ranks in members:
        group = dist.new_group(ranks)
        if rank in ranks:
            found = group
    return found
