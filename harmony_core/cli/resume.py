"""`harmony resume`: goes on with a search whose main process is gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from harmony_core.errors import UserError
from harmony_core.store import SearchFolder
from harmony_core.workflow import already_run, main_lease


def resume(search: Annotated[Path, typer.Argument(help="Folder of the search, or its name under results/.")]) -> None:
    """Goes on with a search that was stopped or killed, as it was started.

    What is finished stays; candidates that were under way are trained again. Jobs that outlived
    the main process are not started twice: the new ones wait for them and take their results.
    """
    # By the record of its start, and not by its manifest: a search may be killed before it has one.
    found = next((path for path in (search, Path("results") / search) if SearchFolder(path).main.is_file()), search)
    folder = SearchFolder(found)
    record = _read(folder.main)
    held = main_lease(folder).holder()
    if held is not None:
        raise already_run(str(found), held)
    if not Path(record["folder"]).is_dir():
        raise UserError("search", found, f"was started in {record['folder']}, which is gone; start it anew")
    snakemake = [sys.executable, "-m", "snakemake", *record["arguments"]]
    unlocked = subprocess.run([*snakemake, "--unlock"], cwd=record["folder"], check=False)
    if unlocked.returncode:
        # Snakemake has said why.
        raise typer.Exit(unlocked.returncode)
    os.chdir(record["folder"])
    os.execv(sys.executable, snakemake)


def _read(path: Path) -> dict[str, Any]:
    """How a search was started (`harmony_core.workflow.Plan.start`)."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            "search", path.parent.parent, "no such search here; start it with snakemake --profile"
        ) from None
    except ValueError:
        record = None
    if isinstance(record, dict) and isinstance(record.get("folder"), str) and isinstance(record.get("arguments"), list):
        return record
    raise UserError(str(path), "damaged", "start again with snakemake --profile and --unlock")
