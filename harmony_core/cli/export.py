"""`harmony export`: a trained model as a folder that `transformers` opens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harmony_core.cli.query import find_promoted
from harmony_core.errors import UserError


def export(
    trained: Annotated[str, typer.Argument(help="Id of a promoted architecture, or folder of a `harmony train`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")],
    search: Annotated[Path | None, typer.Option(help="Where to look; every search under results/ by default.")] = None,
    replicate: Annotated[int, typer.Option(min=0, help="Which of the trainings on other seeds.")] = 0,
) -> None:
    """Writes trained weights as a folder for `transformers`, in the family's own class where one computes the same."""
    folder = _weights(trained, search, replicate)
    # Imports torch and transformers, for seconds.
    from harmony_core.interop.hf import export as export_model
    from harmony_core.training.trained import load_trained

    kind = export_model(load_trained(folder), out)
    remote = ", trust_remote_code=True" if kind == "harmony" else ""
    typer.echo(f"{out}: {kind}; AutoModelForCausalLM.from_pretrained({str(out)!r}{remote})")


def _weights(trained: str, search: Path | None, replicate: int) -> Path:
    """Where the checkpoints lie."""
    from harmony_core.evaluation.single_run import checkpoints_of

    for path in (Path(trained), Path("results") / trained):
        if (run := checkpoints_of(path)) is not None:
            return run
    found, row = find_promoted(trained, search)
    weights = found.weights(row["architecture_id"], row["candidate"], replicate)
    if not weights.exists():
        fix = "use a replicate that ended well, of a search with promote.keep_weights"
        raise UserError("replicate", replicate, f"{found.name} kept no weights of it; {fix}")
    return weights
