"""How tasks are run: warm children, teams of ranks in an allocation, the queue between them, leases."""

from harmony_core.workers.lease import Held, Lease, LeaseLost
from harmony_core.workers.pool import WarmPool
from harmony_core.workers.task import Interrupted, Outcome, Pool, Task

__all__ = ["Held", "Interrupted", "Lease", "LeaseLost", "Outcome", "Pool", "Task", "WarmPool"]
