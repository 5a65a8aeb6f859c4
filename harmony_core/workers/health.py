"""Which nodes are believed healthy, and whose fault a death is. No input, no output, no clock.

A death counts against a candidate only where its node is believed healthy. So it stays open for a moment: when
another candidate dies on the node within it, or when the death would be the last word and nothing but this node has
spoken, a known small task must end well there first. A node where that fails is left out, and so is one whose own
error (a full disk, a missing library) a death was.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable

# Deaths that are this close together look like the node's fault.
WINDOW_SECONDS = 5.0
# So many different candidates must die in that time.
_SEVERAL = 2
# A death from outside says less of a candidate than a death of its own.
_OUTSIDE_DEATHS = 3


@dataclasses.dataclass(frozen=True)
class Death:
    """An attempt that died.

    Args:
        id: of the attempt.
        task: whose it was.
        nodes: where; each of them may be to blame.
        at: when [s].
        decisive: whether it would be the last word on the task with nothing but one node's word for it.
    """

    id: int
    task: Hashable
    nodes: frozenset[str]
    at: float
    decisive: bool = False


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether a death counts against its task; the node that is to blame where it does not."""

    death: Death
    counts: bool
    node: str | None = None


@dataclasses.dataclass(frozen=True)
class View:
    """What the allocation looks like from here, asked by a node's name.

    Args:
        idle: whether a rank there could run the known task now.
        present: whether any rank is there.
        busy: whether other tasks run there, or wait and may be begun there: more deaths may come.
    """

    idle: Callable[[str], bool]
    present: Callable[[str], bool]
    busy: Callable[[str], bool]


@dataclasses.dataclass
class _Open:
    death: Death
    doubts: set[str]


class Health:
    """Deaths that nobody has been blamed for yet, and the nodes that are left out.

    Args:
        window_seconds: how long a death stays open, and how close together deaths are suspicious.
    """

    def __init__(self, window_seconds: float = WINDOW_SECONDS) -> None:
        self._window = window_seconds
        self.left_out: dict[str, str] = {}
        self._open: list[_Open] = []
        self._probing: set[str] = set()

    @property
    def num_open(self) -> int:
        """Deaths without a verdict."""
        return len(self._open)

    @property
    def suspects(self) -> list[str]:
        """Nodes that the known task must clear, those where it runs included; the first to be suspected first."""
        tasks: dict[str, set[Hashable]] = {}
        for one in self._open:
            for node in sorted(one.doubts):
                tasks.setdefault(node, set()).add(one.death.task)
        decisive = {node for one in self._open if one.death.decisive for node in one.doubts}
        return [node for node in tasks if node in decisive or len(tasks[node]) >= _SEVERAL]

    def died(self, death: Death) -> None:
        """Takes a death in; `judge` says what becomes of it."""
        self._open.append(_Open(death, set(death.nodes)))

    def leave_out(self, node: str, why: str) -> None:
        """Nothing is begun on this node any more."""
        self.left_out.setdefault(node, why)

    def is_probed(self, node: str) -> bool:
        """Whether the known task runs there."""
        return node in self._probing

    def begin_probe(self, node: str) -> None:
        """The known task was begun there."""
        self._probing.add(node)

    def end_probe(self, node: str, failure: str | None, conclusive: bool = True) -> None:
        """The known task has ended.

        Args:
            node: its name.
            failure: what went wrong; None is that it ended well.
            conclusive: whether that says something of the node; not where the task was only cut off.
        """
        self._probing.discard(node)
        if not conclusive:
            return
        if failure is not None:
            self.leave_out(node, f"a known small task fails there too ({failure})")
        for one in self._open:
            one.doubts.discard(node)

    def judge(self, now: float, view: View, at_once: bool = False) -> list[Verdict]:
        """The deaths that need not stay open any longer.

        Args:
            now: the time [s].
            view: of the allocation.
            at_once: judge all that are open, since nothing will be begun any more.
        """
        suspects = set(self.suspects)
        verdicts = {id(one): self._verdict(one, suspects & one.doubts, now, view, at_once) for one in self._open}
        self._open = [one for one in self._open if verdicts[id(one)] is None]
        return [verdict for verdict in verdicts.values() if verdict is not None]

    def next_time(self) -> float | None:
        """When the next death ceases to be open by itself [s]."""
        return min((one.death.at + self._window for one in self._open), default=None)

    def _verdict(self, one: _Open, suspects: set[str], now: float, view: View, at_once: bool) -> Verdict | None:
        death = one.death
        out = min(death.nodes & self.left_out.keys(), default=None)
        if out is not None:
            return Verdict(death, counts=False, node=out)
        if not one.doubts:
            return Verdict(death, counts=True)
        waits = not at_once and now < death.at + self._window
        if not suspects:
            return None if waits and any(view.busy(node) for node in one.doubts) else Verdict(death, counts=True)
        if not at_once and any(node in self._probing or view.idle(node) for node in suspects):
            return None
        if waits:
            return None
        # No rank of the node can be asked. Where others go on working there, the node is believed healthy. If a node
        # has gone with several tasks, none of them is to blame.
        gone = min((node for node in suspects if not view.present(node)), default=None)
        return Verdict(death, counts=not at_once and (gone is None or not self._has_company(death)), node=gone)

    def _has_company(self, death: Death) -> bool:
        return any(one.death.task != death.task and one.doubts & death.nodes for one in self._open)


@dataclasses.dataclass
class History:
    """What a task has died of so far.

    Args:
        attempts: how often it may die.
        deaths: the nodes of each death that counts; empty where nobody knows them any more.
        outside: whether each was a signal from outside, or its worker's loss; unknown is as good as yes.
    """

    attempts: int
    deaths: list[frozenset[str]] = dataclasses.field(default_factory=list)
    outside: list[bool] = dataclasses.field(default_factory=list)

    @property
    def nodes(self) -> frozenset[str]:
        """Where it has died."""
        return frozenset().union(*self.deaths)

    @property
    def is_owed_another_node(self) -> bool:
        """Whether it has died often enough, and only another node's word is missing."""
        return len(self.deaths) >= self.attempts

    @property
    def is_one_nodes_word(self) -> bool:
        """Whether one node had a part in every death."""
        return bool(self.deaths) and bool(frozenset.intersection(*self.deaths))

    def and_another(self, nodes: frozenset[str], outside: bool) -> History:
        """With one more death."""
        return History(self.attempts, [*self.deaths, nodes], [*self.outside, outside])

    def is_over(self, elsewhere: bool) -> bool:
        """Whether the deaths are the last word.

        They are when there are as many as are allowed and two nodes agree. Of one node alone they are where no other
        one could run it; but signals from outside must then be three.

        Args:
            elsewhere: whether another node could run it.
        """
        if len(self.deaths) < self.attempts:
            return False
        if self.attempts == 1 or not self.is_one_nodes_word:
            return True
        return not elsewhere and (not all(self.outside) or len(self.deaths) >= _OUTSIDE_DEATHS)
