"""`harmony export`: a trained model as a folder that `transformers` opens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from harmony_core.cli.candidate import SearchOption, find_promoted
from harmony_core.errors import UserError
from harmony_core.store import Run, SearchFolder, best_runs, training


def export(
    trained: Annotated[
        str, typer.Argument(help="A promoted architecture's ID or SEARCH/ID, or a `harmony train`'s folder.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")],
    search: SearchOption = None,
    replicate: Annotated[int, typer.Option(min=0, help="Which of the trainings on other seeds.")] = 0,
) -> None:
    """Writes trained weights as a folder for `transformers`, in the family's own class where one computes the same."""
    _refuse_searches(out)
    folder = _weights(trained, search, replicate)
    # Imports torch and transformers, for seconds.
    from harmony_core.interop.hf import export as export_model
    from harmony_core.training.trained import load_trained

    kind = export_model(load_trained(folder), out)
    remote = ", trust_remote_code=True" if kind == "harmony" else ""
    typer.echo(f"{out}: {kind}; AutoModelForCausalLM.from_pretrained({str(out)!r}{remote})")


def _refuse_searches(out: Path) -> None:
    """Refuses a folder of a search, or within one: nothing there is anybody's but the search's."""
    place = out.absolute()
    for folder in map(SearchFolder, (place, *place.parents)):
        if folder.main.is_file() or (folder.manifest.is_file() and folder.generations()):
            raise UserError("out", out, f"{folder.path} is a search; name a folder outside of it")


def _weights(trained: str, search: Path | None, replicate: int) -> Path:
    """Where the checkpoints lie."""
    from harmony_core.evaluation.single_run import checkpoints_of

    for path in (Path(trained), Path("results") / trained):
        if (run := checkpoints_of(path)) is not None:
            return run
    found, row = find_promoted(trained, search)
    # Only those of the learning rate that suits it best were kept.
    own = best_runs(training(found, promoted=True)).filter(pl.col("candidate") == row["candidate"]).collect()
    rates = dict(own.select("replicate", "rate").iter_rows())
    weights = found.weights(row["architecture_id"], row["candidate"], Run(replicate, rates.get(replicate, 0)))
    if not weights.exists():
        fix = "use a replicate that ended well, of a search with promote.keep_weights"
        raise UserError("replicate", replicate, f"{found.name} kept no weights of it; {fix}")
    return weights
