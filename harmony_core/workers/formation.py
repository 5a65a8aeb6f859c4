"""Ranks in teams: who is connected, who is idle, and which teams may be given work."""

from __future__ import annotations

import dataclasses
import heapq
from collections import defaultdict
from collections.abc import Iterable

Team = tuple["Rank", ...]


@dataclasses.dataclass(frozen=True)
class Rank:
    """One connected process of the allocation.

    Args:
        id: unique for the queue's life; a process that comes back is another rank.
        node: name of its node.
        node_index: place of the node in the allocation.
        local: its number on the node.
    """

    id: int
    node: str
    node_index: int
    local: int


class Formation:
    """Forms teams anew whenever a rank comes or goes, or a node is left out.

    A team is made on each node from its ranks in order; what is left over on a node makes teams with what is left
    over on the next ones.

    Args:
        size: ranks a team.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.seen: set[str] = set()
        self._nodes: dict[tuple[int, str], dict[int, Rank]] = defaultdict(dict)
        self._teams: dict[int, Team] = {}
        self._idle: set[int] = set()
        self._startable: list[tuple[int, int, int, Team]] = []
        self._changed: set[tuple[int, str]] = set()
        self._left_out: set[str] = set()
        self._doubted: set[str] = set()

    @property
    def num_ranks(self) -> int:
        """Ranks that are connected."""
        return sum(len(ranks) for ranks in self._nodes.values())

    def join(self, rank: Rank) -> None:
        """A rank has come and is idle."""
        place = _place(rank)
        self.seen.add(rank.node)
        self._nodes[place][rank.id] = rank
        self._idle.add(rank.id)
        self._changed.add(place)

    def leave(self, rank: Rank) -> bool:
        """A rank has gone; False if it was not there."""
        if self._nodes[_place(rank)].pop(rank.id, None) is None:
            return False
        self._idle.discard(rank.id)
        self._changed.add(_place(rank))
        return True

    def engage(self, team: Team) -> None:
        """These ranks have work."""
        self._idle.difference_update(rank.id for rank in team)

    def free(self, rank: Rank) -> None:
        """A rank has nothing to do any more; one that is gone stays so."""
        if rank.id in self._nodes[_place(rank)]:
            self._idle.add(rank.id)
            self._offer(self._teams.get(rank.id))

    def leave_out(self, nodes: Iterable[str]) -> None:
        """Makes no more teams of these nodes' ranks."""
        if new := set(nodes) - self._left_out:
            self._changed.update(place for place in self._nodes if place[1] in new)
            self._left_out |= new

    def doubt(self, nodes: Iterable[str]) -> None:
        """Gives work to no team that has a rank on one of these nodes, until they are doubted no more."""
        cleared, self._doubted = self._doubted - set(nodes), set(nodes)
        if cleared:
            for team in {self._teams[rank.id] for rank in self._of(cleared) if rank.id in self._teams}:
                self._offer(team)

    def idle_rank(self, node: str) -> Rank | None:
        """The first rank of a node that has nothing to do."""
        idle = [rank for rank in self._of({node}) if rank.id in self._idle]
        return min(idle, key=lambda rank: (rank.local, rank.id), default=None)

    def is_present(self, node: str) -> bool:
        """Whether a rank of this node is connected."""
        return any(True for _ in self._of({node}))

    def has_team_outside(self, nodes: frozenset[str]) -> bool:
        """Whether there is a team, idle or not, without any of these nodes."""
        self._update()
        if self.size == 1:
            barred = nodes | self._left_out
            return any(ranks and place[1] not in barred for place, ranks in self._nodes.items())
        return any(all(rank.node not in nodes for rank in team) for team in self._teams.values())

    def take(self) -> Team | None:
        """The next team that can be given work; it must be engaged, or put back."""
        self._update()
        while self._startable:
            *_, team = heapq.heappop(self._startable)
            if self._is_startable(team):
                return team
        return None

    def put_back(self, teams: Iterable[Team]) -> None:
        """These were taken and not engaged."""
        for team in teams:
            self._offer(team)

    def _of(self, nodes: Iterable[str]) -> list[Rank]:
        return [rank for place, ranks in self._nodes.items() if place[1] in nodes for rank in ranks.values()]

    def _update(self) -> None:
        """Brings the teams up to date with who is connected."""
        if not self._changed:
            return
        changed, self._changed = self._changed, set()
        if self.size == 1:
            for place in changed:
                for rank in self._nodes[place].values():
                    if place[1] in self._left_out:
                        self._teams.pop(rank.id, None)
                    elif rank.id not in self._teams:
                        self._teams[rank.id] = (rank,)
                        self._offer((rank,))
            return
        self._teams = {}
        self._startable = []
        spare: list[Rank] = []
        for place in sorted(self._nodes):
            if place[1] in self._left_out:
                continue
            ranks = sorted(self._nodes[place].values(), key=lambda rank: (rank.local, rank.id))
            whole = len(ranks) - len(ranks) % self.size
            self._name_teams(ranks[:whole])
            spare += ranks[whole:]
        self._name_teams(spare[: len(spare) - len(spare) % self.size])

    def _name_teams(self, ranks: list[Rank]) -> None:
        for begin in range(0, len(ranks), self.size):
            team = tuple(ranks[begin : begin + self.size])
            self._teams.update({rank.id: team for rank in team})
            self._offer(team)

    def _offer(self, team: Team | None) -> None:
        if team is not None and self._is_startable(team):
            first = team[0]
            heapq.heappush(self._startable, (first.node_index, first.local, first.id, team))

    def _is_startable(self, team: Team) -> bool:
        return self._teams.get(team[0].id) == team and all(
            rank.id in self._idle and rank.node not in self._doubted for rank in team
        )


def _place(rank: Rank) -> tuple[int, str]:
    return (rank.node_index, rank.node)
