"""What earlier Snakemake processes, killed ones, left behind in the executor's folder."""

from collections.abc import Sequence
from dataclasses import replace

from .backend import Backend, Done, Work
from .command import target
from .folder import Folder, find_state
from .journal import Journal
from .shared_files import patiently


class Past:
    """Open attempts at the start of this process; each is asked for once.

    Args:
        journal: Of the folder.
        folder: The executor's.
    """

    def __init__(self, journal: Journal, folder: Folder) -> None:
        self._folder = folder
        self._open = {key: attempt for key in journal.open_keys() if (attempt := journal.open_attempt(key))}
        self._by_target: dict[str, set[str]] = {}
        for key in self._open:
            self._by_target.setdefault(target(key), set()).add(key)

    def finished(self, work: Work) -> tuple[Work, Done] | None:
        """The attempt at this work that ended well meanwhile."""
        if (attempt := self._open.get(work.key)) is None:
            return None
        state = find_state(self._folder, work.key, attempt)
        if state is None or state["rc"] != 0:
            return None
        self._open.pop(work.key)
        return replace(work, attempt=attempt), Done(**state)

    def attach(self, works: Sequence[Work], backend: Backend) -> dict[str, Work]:
        """Have the backend take over those of these works that may be queued or running; by key, with their attempt."""
        candidates = {}
        for work in works:
            attempt = self._open.pop(work.key, None)
            if attempt is not None and not patiently(self._folder.state(work.key, attempt).exists):
                candidates[work.key] = replace(work, attempt=attempt)
        attached = backend.attach(list(candidates.values()))
        return {key: candidates[key] for key in attached}

    def cancel_rivals(self, work: Work, backend: Backend) -> dict[str, Work]:
        """Cancel jobs on the same files that another command, or other input, was given to; those to wait for.

        Both would write, and the last one to do so would win.
        """
        keys = self._by_target.get(target(work.key), set()) - {work.key}
        rivals = self.attach([replace(work, key=key) for key in keys], backend)
        if rivals:
            backend.cancel(rivals.keys())
        return rivals
