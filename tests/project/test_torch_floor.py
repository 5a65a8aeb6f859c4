"""What is called of torch is there, and takes these arguments, in the oldest version that is allowed.

That version does not run here: its names and signatures were read from its sources (`torch_floor.py`).
"""

from __future__ import annotations

import functools
import re
import tomllib

import torch

from benchmarks.gpu_check.settings import TORCH
from tests.project.torch_calls import ROOT, Use, attributes, uses
from tests.project.torch_floor import FILE

# Whatever is read of anything may be read of these, which are what most of it is.
LISTED = {
    "torch.Tensor": torch.Tensor,
    "torch.nn.Module": torch.nn.Module,
    "torch.optim.Optimizer": torch.optim.Optimizer,
}


@functools.cache
def floor() -> dict[str, tuple[str, ...]]:
    """Of each name the most positional arguments, and the names of all."""
    lines = FILE.read_text(encoding="utf-8").splitlines()[1:]
    return {name: tuple(signature) for name, *signature in (line.split() for line in lines)}


def problem(use: Use) -> str | None:
    """What the oldest version lacks for this use."""
    name = use.name
    if name not in floor():
        return f"{use.where}: {name} is not there"
    most, *names = floor()[name]
    if most == "?":
        return None
    if use.positional is not None and most != "*" and use.positional > int(most):
        return f"{use.where}: {name} takes {most} arguments, and gets {use.positional}"
    unknown = [] if "**" in names else [one for one in use.keywords if one not in names]
    return f"{use.where}: {name} takes no {', '.join(unknown)}" if unknown else None


def test_every_call_of_torch_is_known_to_the_oldest_version() -> None:
    found = uses()
    # A reader that finds nothing would find nothing wrong.
    assert len({use.name for use in found}) > 150
    assert any(use.keywords for use in found)
    assert [told for use in found if (told := problem(use))] == []


def test_every_attribute_that_a_tensor_has_today_it_has_there() -> None:
    # The stub of that version leaves this one out; here it is what tables and files have.
    read = {name: where for name, where in attributes().items() if not name.startswith("_") and name != "name"}
    missing = [
        f"{where}: {name}.{attribute}"
        for attribute, where in read.items()
        for name, known in LISTED.items()
        if hasattr(known, attribute) and f"{name}.{attribute}" not in floor()
    ]
    assert missing == []


def test_what_the_oldest_version_lacks_is_told() -> None:
    assert problem(Use("a:1", "torch.nn.functional.pad", 2, ("mode", "value"))) is None
    assert (
        problem(Use("a:1", "torch.nn.functional.pad", 5))
        == "a:1: torch.nn.functional.pad takes 4 arguments, and gets 5"
    )
    assert problem(Use("a:1", "torch.nn.functional.pad", 2, ("side",))) == "a:1: torch.nn.functional.pad takes no side"
    assert problem(Use("a:1", "torch.nn.functional.quad", 1)) == "a:1: torch.nn.functional.quad is not there"


def test_one_version_is_asked_for_everywhere() -> None:
    version = FILE.read_text(encoding="utf-8").split("\n", 1)[0].removeprefix("version ")
    oldest = ".".join(version.split(".")[:2])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"torch>={oldest}" in project["dependencies"]
    environment = (ROOT / "environment.yml").read_text(encoding="utf-8")
    assert f"torch>={oldest}" in environment
    assert oldest == ".".join(map(str, TORCH))
    for page in ("docs/sites.md", "docs/performance.md"):
        named = re.findall(r"torch(?:>=| )(\d+\.\d+)(?:\'| or newer)", (ROOT / page).read_text(encoding="utf-8"))
        assert set(named) == {oldest}, page
