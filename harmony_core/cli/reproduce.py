"""`harmony reproduce`: a row is enough to train its candidate again."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harmony_core.cli.answer import console
from harmony_core.cli.candidate import IdArgument, SearchOption, find_candidate, find_promoted
from harmony_core.store import Run

if TYPE_CHECKING:
    from harmony_core.evaluation.reproduce import Reproduction


def reproduce(
    architecture_id: IdArgument,
    search: SearchOption = None,
    promoted: Annotated[bool, typer.Option("--promoted", help="The training of its promotion.")] = False,
    replicate: Annotated[int, typer.Option(min=0, help="Which of a promotion's trainings.")] = 0,
    rate: Annotated[int, typer.Option(min=0, help="Which learning rate of the recipe's list.")] = 0,
    tolerance: Annotated[float, typer.Option(min=0, help="Largest relative difference of a loss that is fine.")] = 0.0,
) -> None:
    """Trains a candidate again from its row and compares every step's loss; nothing is written to the search.

    On the same machine and version all is equal to the bit, on a GPU where the recipe is deterministic. Elsewhere
    roundings differ, and grow (docs/training.md); --tolerance says how far apart is fine. The exit code is 1 where
    it is further.
    """
    from harmony_core.evaluation.reproduce import reproduce as train_again
    from harmony_core.search.opened import OpenedSearch

    folder, row = (find_promoted if promoted else find_candidate)(architecture_id, search)
    with tempfile.TemporaryDirectory(prefix="harmony-") as work:
        found = train_again(OpenedSearch.open(folder.path), row, Run(replicate, rate), Path(work), typer.echo)
    for number, rung in enumerate(found):
        _tell(rung, f"rung {number}" if len(found) > 1 else "")
    for name in ("device", "kernel_paths"):
        if found[-1].then[name] != found[-1].now[name]:
            console.print(f"{name}: {found[-1].then[name]} then, {found[-1].now[name]} now", markup=False)
    apart = max(rung.apart for rung in found)
    if apart == 0:
        console.print(f"equal to the bit, as are the losses of all {len(found[-1].curve_now)} steps")
        return
    console.print("different" if math.isinf(apart) else f"losses are at most {apart:.1e} apart")
    if apart > tolerance:
        raise typer.Exit(1)


def _tell(found: Reproduction, heading: str) -> None:
    console.print(f"{heading:20}{'then':>24}{'now':>24}", markup=False)
    for name, then, now in found.figures():
        console.print(f"{name:20}{then!s:>24}{now!s:>24}", markup=False)
