"""`harmony calibrate`: measures this machine for the cost model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console

from harmony_core.atomic import atomic_write
from harmony_core.errors import UserError

console = Console(highlight=False)


def calibrate(
    output: Annotated[Path, typer.Option("--output", "-o", help="The machine's YAML file.")] = Path("machine.yaml"),
) -> None:
    """Measures this machine's GPU where it has one, else one of its cores, in one to two minutes.

    The file is for `--machine FILE` and `latency.source: predicted:FILE`.
    """
    if output.suffix not in (".yaml", ".yml"):
        raise UserError("output", output, "a machine's file ends in .yaml")
    if not output.parent.is_dir():
        raise UserError("output", output, "its folder is not there; make it first")
    from harmony_core.calibration.calibrate import calibrate as measure
    from harmony_core.training.device import device_for_training

    machine = measure(output.stem, lambda what: console.print(f"measuring {what}"), device_for_training())
    fields = machine.model_dump(mode="json", exclude_defaults=True)
    text = yaml.safe_dump(fields, sort_keys=False, default_flow_style=None, width=120)
    atomic_write(output, text.encode())
    for costs in machine.operators:
        console.print(f"{costs.mode} {costs.precision}: {costs.source.rpartition('; ')[2]}")
    console.print(f"written to {output}")
