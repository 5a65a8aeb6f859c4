"""`harmony resume`: goes on with a search whose main process is gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer

from harmony_core.errors import UserError
from harmony_core.machines.host import host_name
from harmony_core.store import SearchFolder, atomic_write


def record_main(folder: Path) -> None:
    """Writes who runs the search, and with which command, for `resume`; called when Snakemake starts."""
    process = psutil.Process()
    record = {
        "host": host_name(),
        "pid": process.pid,
        "started": process.create_time(),
        "arguments": sys.argv[1:],
        "folder": str(Path.cwd()),
    }
    atomic_write(main_file(folder), json.dumps(record, indent=2).encode() + b"\n")


def main_file(folder: Path) -> Path:
    """Where `record_main` writes."""
    return SearchFolder(folder).main


def resume(
    search: Annotated[Path, typer.Argument(help="Folder of the search, or its name under results/.")],
    force: Annotated[bool, typer.Option(help="Go on although the other host cannot be asked.")] = False,
) -> None:
    """Goes on with a search that was stopped or killed, as it was started.

    What is finished stays; candidates that were under way are trained again. Jobs that outlived
    the main process are not started twice: the new ones wait for them and take their results.
    """
    # By the record of its start, and not by its manifest: a search may be killed before it has one.
    folder = next((path for path in (search, Path("results") / search) if main_file(path).is_file()), search)
    record = _read(folder)
    if is_alive(record) and not force:
        holder = f"pid {record['pid']} on {record['host']}"
        fix = "wait for it or end it" if record["host"] == host_name() else "if it is dead, add --force"
        raise UserError("search", folder, f"already run by {holder}; {fix}")
    if not Path(record["folder"]).is_dir():
        raise UserError("search", folder, f"was started in {record['folder']}, which is gone; start it anew")
    snakemake = [sys.executable, "-m", "snakemake", *record["arguments"]]
    unlocked = subprocess.run([*snakemake, "--unlock"], cwd=record["folder"], check=False)
    if unlocked.returncode:
        # Snakemake has said why.
        raise typer.Exit(unlocked.returncode)
    os.chdir(record["folder"])
    os.execv(sys.executable, snakemake)


def is_alive(record: dict[str, Any]) -> bool:
    """Whether the recorded main process still runs; one on another host counts as alive."""
    if record["host"] != host_name():
        return True
    try:
        process = psutil.Process(record["pid"])
        same = abs(process.create_time() - record["started"]) < 1.0
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _read(folder: Path) -> dict[str, Any]:
    path = main_file(folder)
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError("search", folder, "no such search here; start it with snakemake --profile") from None
    except ValueError:
        raise UserError(str(path), "not JSON", "start again with snakemake --profile and --unlock") from None
    return record
