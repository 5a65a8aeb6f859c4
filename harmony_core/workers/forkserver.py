"""Imported first by the process that forks children: what it does with signals.

Slurm sends the signal ahead of an end to every process of a step. Rank and child know what to do with it; this
process would die of it, and its children with it.
"""

from __future__ import annotations

import signal

for _number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM):
    signal.signal(_number, signal.SIG_IGN)
