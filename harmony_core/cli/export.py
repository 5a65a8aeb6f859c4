"""`harmony export`: a trained model as a folder that `transformers` opens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NamedTuple

import polars as pl
import typer

from harmony_core.cli.candidate import SearchOption, find_promoted
from harmony_core.cli.export_origin import Trained
from harmony_core.errors import UserError
from harmony_core.store import Run, SearchFolder, best_runs, population, training

TrainedArgument = Annotated[
    str, typer.Argument(help="A promoted architecture's ID or SEARCH/ID, or a `harmony train`'s folder.")
]


def export(
    trained: TrainedArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write: a new one, or an empty one.")],
    search: SearchOption = None,
    replicate: Annotated[int, typer.Option(min=0, help="Which of the trainings on other seeds.")] = 0,
) -> None:
    """Writes trained weights as a folder for `transformers`, in the family's own class where one computes the same.

    With tokenizer, generation settings, and a model card: results, recipe, and how to train it again.
    """
    _refuse_searches(out)
    done = export_trained(find_trained(trained, search, replicate), out)
    remote = ", trust_remote_code=True" if done.kind == "harmony" else ""
    typer.echo(f"{out}: {done.kind}; AutoModelForCausalLM.from_pretrained({str(out)!r}{remote})")
    if not done.has_tokenizer:
        why = "the data that it was trained on is not there, or was prepared anew otherwise"
        typer.echo(f"no tokenizer: {why}; put it back and export into another folder")


class Exported(NamedTuple):
    """What was written.

    Args:
        kind: the family in whose class it opens, or `harmony`.
        has_tokenizer: whether the tokenizer is in the folder.
    """

    kind: str
    has_tokenizer: bool


def export_trained(trained: Trained, out: Path) -> Exported:
    """Writes a training's weights, tokenizer and card.

    Raises:
        UserError: `out` is a search's, or not empty.
    """
    _refuse_searches(out)
    tokenizer, context = trained.tokenizer(), trained.context()
    # Imports torch and transformers, for seconds.
    from harmony_core.interop.hf import export as export_model
    from harmony_core.training.trained import load_trained

    model = load_trained(trained.checkpoints)
    kind = export_model(model, out, tokenizer=tokenizer, context=context, origin=trained.origin())
    return Exported(kind, tokenizer is not None)


def _refuse_searches(out: Path) -> None:
    """Refuses a folder of a search, or within one: nothing there is anybody's but the search's."""
    place = out.absolute()
    for folder in map(SearchFolder, (place, *place.parents)):
        if folder.main.is_file() or (folder.manifest.is_file() and folder.generations()):
            raise UserError("out", out, f"{folder.path} is a search; name a folder outside of it")


def find_trained(trained: str, search: Path | None, replicate: int) -> Trained:
    """Which training is meant.

    Args:
        trained: a promoted architecture's id or SEARCH/ID, or the folder of a `harmony train`.
        search: where to look for an id; None is every search under `results/`.
        replicate: which of a promotion's trainings.

    Raises:
        UserError: none or several are meant, or the search kept no weights of it.
    """
    from harmony_core.evaluation.single_run import checkpoints_of

    for path in (Path(trained), Path("results") / trained):
        if (checkpoints := checkpoints_of(path)) is not None:
            own = SearchFolder(path)
            (row,) = population(own).collect().iter_rows(named=True)
            key = {"candidate": row["candidate"], "architecture_id": row["architecture_id"]}
            return Trained(own, checkpoints, key, promoted=False)
    found, row = find_promoted(trained, search)
    # Only those of the learning rate that suits it best were kept.
    mine = best_runs(training(found, promoted=True)).filter(pl.col("candidate") == row["candidate"]).collect()
    rates = dict(mine.select("replicate", "rate").iter_rows())
    run = Run(replicate, rates.get(replicate, 0))
    weights = found.weights(row["architecture_id"], row["candidate"], run)
    if not weights.exists():
        fix = "use a replicate that ended well, of a search with promote.keep_weights"
        raise UserError("replicate", replicate, f"{found.name} kept no weights of it; {fix}")
    key = {"candidate": row["candidate"], "architecture_id": row["architecture_id"], **run._asdict()}
    return Trained(found, weights, key, promoted=True)
