"""Frontier's scripts, as far as a machine without Frontier can run them: packing, staging on a node, variables."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.site.packing import FRONTIER, ROOT, pack

# What a job does with one node: a step is a process, a broadcast is a copy.
SRUN = '#!/bin/bash\nwhile [[ $1 == --* ]]; do shift; done\nexec "$@"\n'
SBCAST = '#!/bin/bash\ncp "${@: -2:1}" "${@: -1}"\n'


def command(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack(tmp_path_factory.mktemp("packed"))


def setup(
    archive: Path, node: Path, commands: Path, then: str, scripts: Path = FRONTIER, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Sources setup.sh as a batch script does, with every module there is, and runs `then`."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("NCCL_", "FI_", "HARMONY_"))},
        "PATH": f"{commands}:{os.environ['PATH']}",
        "HARMONY_ARCHIVE": str(archive),
        "HARMONY_NODE_FOLDER": str(node),
        "USER": "somebody",
        "SLURM_JOB_ID": f"{node.name}-{os.getpid()}",
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_CPUS_PER_TASK": "7",
        **variables,
    }
    script = f"module() {{ true; }}\nsource {scripts}/setup.sh || exit 1\n{then}\n"
    return subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, cwd="/", check=False)


@pytest.fixture
def commands(tmp_path: Path) -> Path:
    folder = tmp_path / "commands"
    folder.mkdir()
    command(folder, "srun", SRUN)
    command(folder, "sbcast", SBCAST)
    return folder


CODE = """
import os, sys, leaf, harmony_core
from harmony_core.resources import resource_names
from harmony_core.site import Site
print(sys.executable, leaf.VALUE, harmony_core.__file__, Site.named("frontier").name, resource_names("machines"))
"""


def test_a_rank_runs_from_the_node_and_not_from_the_project(packed: Path, commands: Path, tmp_path: Path) -> None:
    node = tmp_path / "node"
    # Ranks start in the project's folder, whose code must not come first.
    done = setup(packed, node, commands, f'cd {ROOT}; "$HARMONY_PYTHON" -c "$CODE"', CODE=CODE)
    assert done.returncode == 0, done.stderr
    executable, value, module, site, *machines = done.stdout.split()
    assert executable == f"{node}/environment/bin/python"
    assert (value, site) == ("7", "frontier")
    assert module.startswith(f"{node}/environment/lib/")
    assert "'frontier'," in machines
    assert sorted(path.name for path in node.iterdir()) == ["environment"]


def test_a_job_that_slurm_starts_again_stages_again(packed: Path, commands: Path, tmp_path: Path) -> None:
    node = tmp_path / "node"
    (node / "environment" / "bin").mkdir(parents=True)
    (node / "environment" / "half").write_text("of an earlier life")
    for _ in range(2):
        assert setup(packed, node, commands, '"$HARMONY_PYTHON" -c "import leaf"').returncode == 0
    assert not (node / "environment" / "half").exists()


def test_in_a_folder_of_harmony_init_the_archive_has_all(packed: Path, commands: Path, tmp_path: Path) -> None:
    """No code lies beside the profile there: HARMONY is one of the packages."""
    scripts = tmp_path / "mine" / "profiles" / "frontier"
    shutil.copytree(FRONTIER, scripts)
    node = tmp_path / "node"
    done = setup(packed, node, commands, '"$HARMONY_PYTHON" -c "import leaf; print(leaf.VALUE)"', scripts)
    assert (done.returncode, done.stdout) == (0, "7\n"), done.stderr
    assert sorted(path.name for path in node.iterdir()) == ["environment"]


@pytest.mark.parametrize("name", ["srun", "sbcast"])
def test_a_job_ends_where_staging_fails(packed: Path, commands: Path, tmp_path: Path, name: str) -> None:
    command(commands, name, "#!/bin/bash\nexit 9\n")
    done = setup(packed, tmp_path / "node", commands, "echo went on")
    assert (done.returncode, done.stdout) == (1, "")
    assert "setup: the environment did not get to the nodes (exit code 9)" in done.stderr


def test_a_job_ends_where_a_module_is_missing(packed: Path, commands: Path, tmp_path: Path) -> None:
    script = f"module() {{ [ $2 != rocm/7.1.1 ]; }}\nsource {FRONTIER}/setup.sh || exit 1\necho went on"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")


def test_without_an_archive_ranks_start_as_they_are(commands: Path, tmp_path: Path) -> None:
    done = setup(tmp_path / "none", tmp_path / "node", commands, 'echo "[$HARMONY_PYTHON]$PYTHONSAFEPATH"')
    assert (done.returncode, done.stdout) == (0, "[]\n")
    assert "run profiles/frontier/pack.sh" in done.stderr


def test_variables_are_those_of_frontier_unless_a_module_sets_them(commands: Path, tmp_path: Path) -> None:
    then = 'echo "$NCCL_NET $NCCL_CROSS_NIC $MIOPEN_USER_DB_PATH $TRITON_CACHE_DIR $OMP_NUM_THREADS $LD_LIBRARY_PATH"'
    given = {"NCCL_NET": "AWS Libfabric", "SLURM_JOB_ID": "42", "CRAY_LD_LIBRARY_PATH": "/cray", "LD_LIBRARY_PATH": ""}
    done = setup(tmp_path / "none", tmp_path / "node", commands, then, **given)
    # No empty part, which would be the folder that a rank starts in.
    assert done.stdout == "AWS Libfabric 1 /tmp/miopen-somebody-42 /tmp/triton-somebody-42 7 /cray\n"


def test_nothing_is_packed_that_is_no_environment(tmp_path: Path) -> None:
    base = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    environment = {**os.environ, "PYTHON": str(base)}
    done = subprocess.run(
        [FRONTIER / "pack.sh", tmp_path / "a.tar.gz"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "is neither a conda nor a virtual environment" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_conda_packs_a_conda_environment(tmp_path: Path) -> None:
    (tmp_path / "conda" / "conda-meta").mkdir(parents=True)
    command(
        tmp_path, "conda-pack", '#!/bin/bash\necho "$@" >&2\nwhile [ "$1" != --output ]; do shift; done\ntouch "$2"\n'
    )
    answers = f'#!/bin/bash\n[ "$1" = -c ] && echo {tmp_path}/conda || echo numpy==1\n'
    command(tmp_path, "python", answers)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([FRONTIER / "pack.sh", tmp_path / "a.gz"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"--prefix {tmp_path}/conda --format tar.gz --ignore-editable-packages" in done.stderr
    assert (tmp_path / "a.gz.txt").read_text() == "numpy==1\n"
    assert (tmp_path / "a.gz").is_file()
