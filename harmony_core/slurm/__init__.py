"""The one client of Slurm's commands. Imports nothing of HARMONY's but its ground."""

from harmony_core.slurm.client import Node, Partition, Slurm
from harmony_core.slurm.command import NOT_FOUND, TOO_LATE, Answer, Run, run

__all__ = ["NOT_FOUND", "TOO_LATE", "Answer", "Node", "Partition", "Run", "Slurm", "run"]
