"""The commands by name; the module of one is imported when it runs, so that `harmony --help` imports none."""

from __future__ import annotations

import importlib
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

_CLI = "harmony_core.cli"
# Where each command is, and what `harmony --help` says of it: the first line of its own help.
COMMANDS = {
    "init": (
        "init:init",
        "Writes a configuration with comments, a search space and a profile of your own, never over what is there.",
    ),
    "search": (
        "search:search",
        "Searches as a configuration says, in this folder: results/NAME. Ctrl-C stops it, `harmony resume` goes on.",
    ),
    "ls": ("ls:ls", "The searches under results/: how far each is, and the best that it found."),
    "top": (
        "query:top",
        "The best candidates by validation bits per byte; exit code 1 where files are missing, and maybe better ones.",
    ),
    "pareto": (
        "query:pareto",
        "The candidates that no other beats in every objective; exit code 1 where files are missing.",
    ),
    "show": (
        "show:show",
        "One candidate: its blocks, costs, results and ancestors; exit code 1 where files of its search are missing.",
    ),
    "lineage": (
        "lineage:lineage",
        "A candidate and its ancestors: what each variation changed, and what that did to the metrics.",
    ),
    "compare": (
        "compare:compare",
        "Two candidates metric by metric and block by block, or two searches by the architectures that both have.",
    ),
    "failures": (
        "failures:failures",
        "The candidates that failed, at what, and why; exit code 1 where files of the search are missing.",
    ),
    "sql": (
        "sql:sql",
        "Answers a SELECT over candidates, training, latency, curves, lineage, selection and the other tables.",
    ),
    "report": (
        "report:report",
        "Writes the report of what is done by now: a page, figures, architectures, a leaderboard.",
    ),
    "export": (
        "export:export",
        "Writes trained weights as a folder for `transformers`, in the family's own class where one computes the same.",
    ),
    "generate": (
        "generate:generate",
        "Prints a prompt and what a trained model makes of it, token by token with its cache.",
    ),
    "evaluate": (
        "evaluate:evaluate",
        "Asks a trained model local tasks, offline, prints its scores and keeps them as rows beside the search.",
    ),
    "reproduce": (
        "reproduce:reproduce",
        "Trains a candidate again from its row and compares every step's loss; nothing is written to the search.",
    ),
    "promote": (
        "promote:promote",
        "Trains candidates of a finished search again, on fresh seeds, and reads them on the test split.",
    ),
    "aggregate": (
        "aggregate:aggregate_search",
        "Block by block what most of the best designs of a search have (Composer's aggregators).",
    ),
    "grow": (
        "grow:grow_architecture",
        "A small design as a large one: stacked or stretched to a depth, its width solved for parameters or state.",
    ),
    "cost": (
        "cost:cost",
        "Parameters, FLOPs, cache and state of an architecture, and its predicted times on a machine.",
    ),
    "calibrate": (
        "calibrate:calibrate",
        "Measures this machine's GPU where it has one, else one of its cores, in one to two minutes.",
    ),
    "plan": (
        "plan:plan",
        "The best layouts of a training on many devices, why the others lose, and weak scaling: predictions all.",
    ),
    "train": ("train:train", "Trains an architecture, and keeps its rows, its curve and its checkpoints."),
    "scale": (
        "scale:scale",
        "Writes a job script for each number of devices, or runs it here, and prints the efficiency of what is done.",
    ),
    "isoflop": (
        "isoflop:isoflop",
        "Trains sizes x budgets, fits power laws, and draws what is compute- and state-optimal.",
    ),
    "mad": ("mad:mad", "Trains an architecture on MAD's tasks, keeps a row a training, and prints the scores."),
    "verify": (
        "verify:verify",
        "Breeds every population and selects from it again, and compares every file's checksums and schema.",
    ),
    "watch": (
        "watch:watch",
        "Shows how far a search is and what each training under way does, until it ends or Ctrl-C.",
    ),
    "ui": ("ui:ui", "Shows searches in a browser, live, until Ctrl-C; reads their files, and changes nothing."),
    "resume": ("resume:resume", "Goes on with a search that was stopped or killed, as it was started."),
    "migrate": (
        "migrate:migrate",
        "Writes a search of an older format to a new folder in this one's; nothing in the old one is changed.",
    ),
    "doctor": (
        "doctor:doctor",
        "Checks whether a search would run with a profile: one line a check, exit code 2 if something is missing.",
    ),
    "config": ("config:app", "Configuration: defaults, schema, check."),
    "run": ("run:app", "The steps of a search or a sweep; the workflow calls these."),
}


class Named(TyperCommand):
    """A command of which name and help are known, and the rest is not imported.

    Args:
        name: of the command.
    """

    def __init__(self, name: str) -> None:
        place, told = COMMANDS[name]
        self._place = place
        super().__init__(name, help=told)

    def load(self) -> Any:
        """The command itself."""
        module, _, attribute = self._place.partition(":")
        found = getattr(importlib.import_module(f"{_CLI}.{module}"), attribute)
        if not isinstance(found, typer.Typer):
            app = typer.Typer(add_completion=False)
            app.command(self.name)(found)
            found = app
        # A group has its own app, which need not offer completion again.
        found._add_completion = False
        command = typer.main.get_command(found)
        command.name = self.name
        return command


class Commands(TyperGroup):
    """All commands, each imported when it is meant; the arguments are typer's."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.commands = {**{name: Named(name) for name in COMMANDS}, **self.commands}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the arguments name, whole, and its own arguments."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, Named) else command, rest
