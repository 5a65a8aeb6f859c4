"""How tasks are run: warm children, teams of ranks in an allocation, the queue between them, leases."""

from harmony_core.workers.lease import Held, Lease, LeaseLost
from harmony_core.workers.pool import WarmPool
from harmony_core.workers.task import Outcome, Pool, Task, WorkInterrupted

__all__ = ["Held", "Lease", "LeaseLost", "Outcome", "Pool", "Task", "WarmPool", "WorkInterrupted"]
