"""What Triton's tuning finds is found once on a node, also by kernels whose configurations have hooks."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from harmony_core.errors import UserError
from harmony_core.models import triton_tuning
from tests.kernels.conftest import found


def init_to_zero(names: list[str]) -> Any:
    """As mamba-ssm's."""
    return lambda nargs: [nargs[name].zero_() for name in names if nargs[name] is not None]


def add_one(sums, size):  # type: ignore[no-untyped-def]
    """Stands for a kernel; never compiled."""


class Process:
    """A kernel as a new process has it, whose tuning and runs are counted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, kept: bool) -> None:
        from triton.runtime.autotuner import Autotuner, Config
        from triton.runtime.jit import JITFunction

        configs = [Config({}, num_warps=warps, pre_hook=init_to_zero(["sums"])) for warps in (1, 2, 4)]
        monkeypatch.delenv("TRITON_INTERPRET")
        self.tuner = Autotuner(JITFunction(add_one), ["sums", "size"], configs, ["size"], None, None)
        module = ModuleType("pretended.scan")
        module.__dict__["kernel"] = self.tuner
        monkeypatch.setitem(sys.modules, "pretended.scan", module)
        if kept:
            triton_tuning.keep_picks("pretended")
        monkeypatch.setenv("TRITON_INTERPRET", "1")
        self.timed: list[int] = []

    def run(self, size: int) -> tuple[torch.Tensor, int]:
        """The sums after a call that adds one to what was there, and the warps that were picked."""
        sums = torch.full((2,), 5.0)
        self.tuner.run(sums, size)
        return sums, self.tuner.best_config.num_warps

    def time(self, config: Any) -> list[float]:
        self.timed.append(config.num_warps)
        return [abs(config.num_warps - 2.0)] * 3


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty cache, and a GPU that adds one."""
    from triton.runtime.autotuner import Autotuner
    from triton.runtime.driver import driver
    from triton.runtime.jit import JITFunction

    monkeypatch.setenv(triton_tuning.FOLDER, str(tmp_path))
    monkeypatch.setenv(triton_tuning.KEEP_PICKS, "1")
    monkeypatch.setattr(Autotuner, "prune_configs", lambda self, _: self.configs)
    monkeypatch.setattr("triton.compiler.compiler.make_backend", lambda _: SimpleNamespace(hash=lambda: "a GPU"))
    monkeypatch.setattr(driver, "_active", SimpleNamespace(get_current_target=lambda: None))
    monkeypatch.setattr(JITFunction, "run", lambda _, sums, size, **__: sums.add_(1))


@pytest.mark.parametrize("kept", [True, False])
def test_the_second_process_times_nothing(kept: bool, node: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from triton.runtime.autotuner import Autotuner

    timed = []
    for _ in range(2):
        process = Process(monkeypatch, kept)
        monkeypatch.setattr(Autotuner, "_bench", lambda *_, config, process=process, **__: process.time(config))
        for _ in range(2):
            sums, warps = process.run(64)
            assert sums.tolist() == [1, 1], "set to zero before every call"
            assert warps == 2, "the fastest"
        timed.append(process.timed)
    assert timed == [[1, 2, 4], [] if kept else [1, 2, 4]]


def test_every_hook_of_mamba_ssm_is_kept_data() -> None:
    for name in ("mamba2-scan", "gated-norm"):
        found(name)
    tuners = list(triton_tuning._tuners("mamba_ssm"))
    assert len(tuners) > 20
    assert not any(config.pre_hook for tuner in tuners for config in tuner.configs)


@pytest.mark.parametrize("said", [None, "elsewhere"])
def test_the_cache_is_the_nodes_and_ones_own(said: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(triton_tuning.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.delenv(triton_tuning.FOLDER, raising=False)
    monkeypatch.setenv(triton_tuning.KEEP_PICKS, "0")
    if said is not None:
        monkeypatch.setenv(triton_tuning.FOLDER, said)
    triton_tuning.name_cache()
    folder = tmp_path / f"harmony-triton-{os.getuid()}"
    assert os.environ[triton_tuning.FOLDER] == (str(folder) if said is None else said)
    assert os.environ[triton_tuning.KEEP_PICKS] == "0"
    if said is None:
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_others_can_write_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(triton_tuning.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.delenv(triton_tuning.FOLDER, raising=False)
    folder = tmp_path / f"harmony-triton-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(UserError, match="others may write there"):
        triton_tuning.name_cache()
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(UserError, match="others may write there"):
        triton_tuning.name_cache()
