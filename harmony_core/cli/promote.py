"""`harmony promote`: candidates that somebody names, trained again on fresh seeds beside the baselines."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from harmony_core.cli.candidate import SearchOption, find_candidate
from harmony_core.cli.resume import go_on
from harmony_core.cli.started import adopted, anew, promoting, recorded
from harmony_core.errors import UserError
from harmony_core.evaluation.config import PromoteConfig
from harmony_core.search.config import Config
from harmony_core.search.settings import read_settings
from harmony_core.store import SearchFolder
from harmony_core.workflow import already_run, main_lease


def promote(
    ids: Annotated[list[str], typer.Argument(help="Candidates' ids, or their first digits; or SEARCH/ID.")],
    search: SearchOption = None,
    replicates: Annotated[int | None, typer.Option(min=1, help="Fresh seeds of every member.")] = None,
    tokens: Annotated[int | None, typer.Option(min=1, help="Training tokens, before anybody is promoted.")] = None,
    profile: Annotated[str | None, typer.Option(help="Snakemake profile; the search's own by default.")] = None,
    adopt: Annotated[bool, typer.Option("--adopt", help="Promote in a search that was copied or moved here.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be trained, and end.")] = False,
) -> None:
    """Trains candidates of a finished search again, on fresh seeds, and reads them on the test split.

    They join the search's promotion: found ones and baselines have the same recipe, seeds and number of replicates, and
    what was trained before stays. The search's own Snakemake does it, so `harmony resume` goes on with it.
    """
    found = [find_candidate(text, search) for text in ids]
    folders = {folder.path: folder for folder, _ in found}
    if len(folders) > 1:
        names = ", ".join(folder.name for folder in folders.values())
        raise UserError("ID", ", ".join(ids), f"are of several searches ({names}); promote those of each alone")
    (folder,) = folders.values()
    start = recorded(folder) if folder.main.is_file() else anew(folder)
    is_here = start.is_of(folder)
    if not is_here and not adopt:
        raise UserError("search", folder.path, start.elsewhere(folder))
    # What a copy says of who works on it is the original's; adopting looks for itself.
    held = main_lease(folder).holder() if is_here else None
    if held is not None:
        raise already_run(str(folder.path), held)
    _, config = read_settings(folder)
    if not folder.selection(config.search.generations - 1).is_file():
        raise UserError("search", folder.path, "its generations are not over; `harmony resume` goes on with them")
    asked = _asked(folder, config, [row["architecture_id"] for _, row in found], replicates, tokens)
    _tell(config.model_copy(update={"promote": asked}))
    if dry_run:
        return
    if not is_here:
        start = adopted(folder, start)
    if profile is None and not folder.main.is_file():
        raise UserError("profile", "none", "work/ is gone, and with it how the search was started; name one")
    if profile is not None:
        start = start.with_profile(profile)
    go_on(promoting(folder, start, asked), folder)


def _asked(
    folder: SearchFolder, config: Config, ids: list[str], replicates: int | None, tokens: int | None
) -> PromoteConfig:
    """The search's promotion with what is asked for; UserError where that would not add to what is there."""
    before = config.promote
    if replicates is not None and replicates < before.replicates:
        raise UserError("replicates", replicates, f"the search has {before.replicates}; use as many or more")
    trained = config.promotion_recipe().tokens
    if tokens not in (None, trained) and folder.population(None).is_file():
        why = f"it promoted at {trained} tokens, beside which others would not compare; promote in a copy without those"
        raise UserError("tokens", tokens, f"{why}: {_in_a_copy(folder, ids, replicates, tokens)}")
    asked = before.with_candidates(ids).model_copy(
        update={"replicates": replicates or before.replicates, "tokens": tokens or before.tokens}
    )
    return PromoteConfig.parse(asked.model_dump(), "promote")


def _in_a_copy(folder: SearchFolder, ids: list[str], replicates: int | None, tokens: int | None) -> str:
    """What somebody types for a promotion of its own, in a folder beside this one."""
    place = Path(os.path.abspath(folder.path))
    root = place.parents[1].with_name(f"{place.parents[1].name}-{tokens}-tokens")
    search = shlex.quote(f"results/{place.name}")
    seeds = f" --replicates {replicates}" if replicates else ""
    steps = [
        f"mkdir -p {shlex.quote(str(root / 'results'))}",
        f"cp -a {shlex.quote(str(place))} {shlex.quote(str(root / 'results'))}",
        f"cd {shlex.quote(str(root))}",
        f"rm -rf {search}/promoted {search}/report {search}/work/*/promoted",
        f"harmony promote {shlex.join(ids)} --search {search} --adopt --tokens {tokens}{seeds}",
    ]
    return " && ".join(steps)


def _tell(config: Config) -> None:
    """What promotion trains in all."""
    promote, rates = config.promote, len(config.recipe.learning_rates)
    trainings = promote.members * promote.replicates * rates
    members = f"{promote.top_k} of the front, {len(promote.candidates)} asked for, {len(promote.baselines)} baselines"
    each = f"{promote.replicates} seeds x {rates} learning rates x {config.promotion_recipe().tokens} tokens"
    typer.echo(f"promotion: {members}, each {each}: {trainings} trainings at most, less what is trained")
