"""One sequence over several processes: who holds which tokens, and how mixers see those of the others.

After Ku et al. 2025, arXiv:2503.01868, section 4. Parameters are whole on every rank. A rank's gradients are its share:
added up over the group they are those of one process with the sum of the ranks' losses. The caller all-reduces them
(sum) over the group.
"""

from harmony_core.models.context_parallel.group import ContextParallel

__all__ = ["ContextParallel"]
