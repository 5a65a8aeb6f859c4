"""The settings, their page, and how Snakemake finds them."""

from __future__ import annotations

import math
import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
from snakemake_interface_common.exceptions import ApiError
from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

import snakemake_executor_plugin_submitit
from snakemake_executor_plugin_submitit.factory import check_numbers
from snakemake_executor_plugin_submitit.settings import ExecutorSettings

PAGE = Path(__file__).parents[2] / "docs" / "executor.md"


def test_the_page_has_every_setting_with_its_default() -> None:
    section = PAGE.read_text().partition("## Settings")[2].partition("## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \|([^|]*)\|", section, flags=re.MULTILINE))
    written = {name: default.strip(" `") for name, default in rows.items()}
    assert written == {one.name: as_written(one.default) for one in fields(ExecutorSettings)}


def as_written(default: object) -> str:
    return f"{default:g}" if isinstance(default, float) else str(default).lower()


def test_snakemake_finds_the_plugin() -> None:
    plugin = ExecutorPluginRegistry().get_plugin("submitit")
    assert plugin.settings_cls is ExecutorSettings


def test_other_names_are_not_made_up() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'executer'"):
        _ = snakemake_executor_plugin_submitit.executer


@pytest.mark.parametrize(
    ("name", "value"),
    [("array_parallelism", 0), ("signal_seconds", -1), ("query_seconds", math.nan), ("pilot_idle_seconds", math.inf)],
)
def test_numbers_that_make_no_sense_are_refused(name: str, value: float) -> None:
    option = name.replace("_", "-")
    with pytest.raises(ApiError, match=f"^--submitit-{option} {value}: give a number, at least [01]$"):
        check_numbers(replace(ExecutorSettings(), **{name: value}))
    check_numbers(ExecutorSettings())
