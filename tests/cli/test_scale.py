"""`harmony scale`: job scripts as a site wants them, trainings here, and efficiency from their rows."""

from __future__ import annotations

import subprocess
from pathlib import Path

import polars as pl
import pytest

from harmony_core.errors import UserError
from harmony_core.evaluation.weak_scaling import recipe_of_size, step_seconds
from harmony_core.store import read_table, schemas, write_table
from harmony_core.training.recipe import Recipe
from tests.cli.test_commands import harmony

PROFILES = Path(__file__).parents[2] / "profiles"
RECIPE = "tokens=2560,batch_size=4,sequence_length=32,validation_tokens=256,precision=fp32"


def scale(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    for name in ("slurm", "frontier"):
        if not (cwd / name).exists():
            (cwd / name).symlink_to(PROFILES / name)
    data = ("--data", "source=synthetic,max_bytes=60000")
    return harmony("scale", "llama-nano", *data, "--recipe", RECIPE, "--out", "results/weak", *arguments, cwd=cwd)


def measured(cwd: Path) -> pl.DataFrame:
    return read_table(cwd / "results/weak/scaling.parquet", schemas.SCALING)


def test_sizes_are_trained_here_and_their_efficiency_is_that_of_their_curves(tmp_path: Path) -> None:
    assert scale(tmp_path, "--gpus", "1", "--local").returncode == 0
    done = scale(tmp_path, "--gpus", "1,2", "--local")
    assert done.returncode == 0, done.stderr
    # The first size was not trained again.
    assert done.stdout.count("bits/byte") == 1
    rows = measured(tmp_path).to_dicts()
    assert [(row["processes"], row["batch_size"], row["steps"]) for row in rows] == [(1, 4, 18), (2, 8, 18)]
    for row in rows:
        curve = pl.read_parquet(tmp_path / "results" / row["run"] / "generation=000/curves/shard=000.parquet")
        median = curve["seconds"].diff().drop_nulls()[1:].median()
        assert row["step_seconds_median"] == pytest.approx(median)
        assert row["tokens_per_second"] == pytest.approx(row["batch_size"] * 32 / row["step_seconds_median"])
    slower = rows[1]["tokens_per_second"] / (2 * rows[0]["tokens_per_second"])
    assert [row["efficiency"] for row in rows] == pytest.approx([1.0, slower])
    assert f"{slower:.1%}" in done.stdout
    failed = tmp_path / "results/weak-gpus2/generation=000/training/shard=000.parquet"
    row = {**read_table(failed, schemas.TRAINING).to_dicts()[0], "status": "diverged"}
    write_table(failed, [row], schemas.TRAINING)
    assert "2: left out, since its training failed" in scale(tmp_path, "--gpus", "1,2").stdout
    assert measured(tmp_path)["processes"].to_list() == [1]


def test_a_site_gets_the_script_that_its_profile_asks_for(tmp_path: Path) -> None:
    done = scale(tmp_path, "--gpus", "4,16", "--profile", "frontier", "--layout", "pp=2,zero=1", "--minutes", "30")
    assert done.returncode == 0, done.stderr
    assert measured(tmp_path).is_empty()
    script = (tmp_path / "results/weak/work/gpus16.sh").read_text()
    for line in ("--nodes=2", "--ntasks=16", "--ntasks-per-node=8", "--time=30", "--core-spec=8", "--signal=USR1@300"):
        assert f"#SBATCH {line}\n" in script
    assert "source profiles/frontier/setup.sh || exit 1\n" in script
    srun = script.splitlines()[-1]
    assert srun.startswith("exec srun --kill-on-bad-exit=1 --nodes=2 --ntasks=16 ")
    assert "--gpus-per-task=1 --gpu-bind=closest" in srun
    assert srun.endswith("--layout pp=2,dp=8,zero=1 --out results/weak-gpus16")
    assert "batch_size=16,tokens=10240" in srun
    # Fewer ranks than a node has places for are one node's.
    assert "#SBATCH --nodes=1\n" in (tmp_path / "results/weak/work/gpus4.sh").read_text()
    assert subprocess.run(["bash", "-n", str(tmp_path / "results/weak/work/gpus16.sh")], check=False).returncode == 0


def test_layouts_are_given_grown_or_planned(tmp_path: Path) -> None:
    asked = ("--gpus", "2,8", "--machine", "frontier", "--profile", "frontier", "--layout-per-gpus", "8:pp=4,dp=2")
    assert scale(tmp_path, *asked).returncode == 0
    assert "--layout pp=4,dp=2 " in (tmp_path / "results/weak/work/gpus8.sh").read_text()
    assert "--machine frontier" in (tmp_path / "results/weak/work/gpus2.sh").read_text()


def test_as_many_sequences_a_device_and_as_many_steps() -> None:
    smallest = Recipe(tokens=10 * 6 * 64, batch_size=6, sequence_length=64, validation_tokens=64)
    grown = recipe_of_size(smallest, 8, 2)
    assert (grown.batch_size, grown.num_steps) == (24, 10)
    with pytest.raises(UserError, match="no whole number on 3"):
        recipe_of_size(smallest, 3, 4)


def test_the_first_steps_are_left_out() -> None:
    ended = [5.0, 9.0, *[10.0 + step for step in range(38)]]
    curve = pl.DataFrame({"step": range(40), "seconds": ended})
    assert step_seconds(curve).tolist() == [1.0] * 36


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--gpus", "a"), "gpus: a: give whole numbers"),
        (("--gpus", "²"), "gpus: ²: give whole numbers"),
        (("--gpus", "2", "--layout-per-gpus", "4:pp=4"), "layout-per-gpus: 4:pp=4: 4 devices are not among --gpus 2"),
        (("--gpus", "2", "--layout-per-gpus", "pp=2"), "layout-per-gpus: pp=2: give whole numbers"),
        (("--gpus", "2", "--data", "source=nowhere"), "data.source: nowhere"),
        (("--gpus", "12", "--profile", "frontier"), "gpus: 12: a node has 8 of them"),
        (("--gpus", "1,4096", "--local"), "gpus: 4096: this machine has"),
        (("--gpus", "2", "--layout", "dp=2"), "leave dp out"),
        (("--gpus", "3", "--layout", "pp=2"), "does not fill them"),
        (("--gpus", "2", "--profile", "nowhere"), "profile: nowhere"),
        (("--gpus", "2", "--local", "--submit"), "give one of them"),
        (("--gpus", "2", "--machine", "abacus"), "abacus"),
        (("--gpus", "2", "--out", "/dev/null/x"), "out: /dev/null/x: Not a directory; name a folder"),
    ],
)
def test_mistakes_are_one_line(arguments: tuple[str, ...], told: str, tmp_path: Path) -> None:
    done = scale(tmp_path, *arguments)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert told in done.stderr
