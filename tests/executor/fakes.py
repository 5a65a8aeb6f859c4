"""A cluster that does what a test says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from snakemake_executor_plugin_submitit.backend import Resource
from snakemake_executor_plugin_submitit.cluster import Function, Outlook, Refusal, Refused
from snakemake_executor_plugin_submitit.journal import Place
from snakemake_executor_plugin_submitit.resource_rules import ResourceError
from snakemake_executor_plugin_submitit.resources import Parameters


class FakeCluster:
    """Takes submissions, or refuses them; says of jobs what it was told to."""

    name = "fake"

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.largest_array = 1000
        self.room = 1_000_000
        """How many more jobs it takes."""
        self.refusals: list[Exception] = []
        """Raised at the next submissions, one each."""
        self.on_submit: Callable[[str], object] = lambda tag: None
        self.submissions: dict[str, list[Function]] = {}
        self.outlooks: dict[str, Outlook] = {}
        """By job id; other jobs run."""
        self.silent = False
        self.asked: Parameters = {}
        """Parameters of the last submission, taken or refused."""
        self.cancelled: list[Place] = []
        self.closed = False

    def parameters(self, resources: Mapping[str, Resource]) -> Parameters:
        if resources.get("nodes") == 0:
            raise ResourceError("nodes", 0, "give one")
        return dict(resources)

    def submit(self, tag: str, parameters: Parameters, functions: Sequence[Function]) -> list[str]:
        self.on_submit(tag)
        self.asked = parameters
        if self.refusals:
            raise self.refusals.pop(0)
        if len(functions) > self.room:
            raise Refusal(Refused.SO_MANY, "AssocMaxSubmitJobLimit")
        self.room -= len(functions)
        self.submissions[tag] = list(functions)
        return [f"{len(self.submissions)}_{index}" for index in range(len(functions))]

    def look(self, places: Sequence[Place]) -> Mapping[Place, Outlook] | None:
        if self.silent:
            return None
        return {place: self.outlooks.get(place.job_id or "", Outlook(False)) for place in places}

    def cancel(self, places: Sequence[Place]) -> None:
        self.cancelled += places

    def may_live(self, place: Place) -> bool:
        return True

    def files(self, place: Place) -> Path | None:
        return self.folder / place.tag / place.job_id if self.folder and place.job_id else None

    def close(self) -> None:
        self.closed = True
