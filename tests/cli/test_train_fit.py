"""What this machine cannot hold is refused, and what is offered instead is not."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from harmony_core.architecture.presets import load_preset
from harmony_core.cli import train_fit
from harmony_core.cli.layout_option import layout_fields
from harmony_core.cli.train_fit import check_host
from harmony_core.errors import UserError
from harmony_core.machines import Layout
from harmony_core.training.recipe import Recipe

MODEL, RECIPE = load_preset("llama-3.2-1b"), Recipe(batch_size=8, sequence_length=2048, precision="bf16")


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A machine without GPUs."""
    made = SimpleNamespace(gpus=[], memory=28e9, torch="2.13.0")
    monkeypatch.setattr(train_fit, "visible_gpus", lambda: made.gpus)
    monkeypatch.setattr(train_fit, "version", lambda _: made.torch)
    monkeypatch.setattr(train_fit.psutil, "virtual_memory", lambda: SimpleNamespace(total=made.memory))
    return made


@pytest.mark.parametrize("layout", [Layout(), Layout(dp=4, zero_stage=1), Layout(pp=4)], ids=str)
def test_what_is_offered_instead_fits(host: SimpleNamespace, layout: Layout) -> None:
    check_host(MODEL, Layout(micro_batch_size=1, activation_checkpointing=True), RECIPE)
    with pytest.raises(UserError, match=r"needs [\d.]+ GB, and this machine has 28; use --layout ") as refused:
        check_host(MODEL, layout, RECIPE)
    offered = Layout.parse(layout_fields(refused.value.fix.rpartition("--layout ")[2]))
    assert offered.num_processes <= layout.num_processes
    check_host(MODEL, offered, RECIPE)


def test_what_fits_in_no_way_and_too_many_processes(host: SimpleNamespace) -> None:
    host.memory = 16e9
    with pytest.raises(UserError, match="use a smaller model or shorter sequences"):
        check_host(MODEL, Layout(), RECIPE)
    with pytest.raises(UserError, match="its 40 processes do not fit the 16 GB of this machine"):
        check_host(load_preset("llama-nano"), Layout(dp=40), Recipe(batch_size=40))


def test_a_gpu_for_each_process(host: SimpleNamespace) -> None:
    host.gpus, host.memory = ["0", "1"], 1e9
    check_host(MODEL, Layout(dp=2), RECIPE)
    with pytest.raises(UserError, match="its 4 processes need a GPU each, and this machine has 2"):
        check_host(MODEL, Layout(dp=4), RECIPE)
    host.torch, host.memory = "2.13.0+cpu", 1e12
    check_host(MODEL, Layout(dp=4), RECIPE)
