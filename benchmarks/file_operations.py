"""What one candidate costs the shared file system: system calls on the search's folders, counted by strace.

Two shards that differ in their number of candidates alone are trained on this machine, and the difference is what a
candidate takes; what is left is a shard's own. Reading Python's packages is not counted: on a cluster they lie on the
nodes.

    python -m benchmarks.file_operations
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.common import ROOT, write_result
from harmony_core.architecture.presets import load_preset, with_vocab
from harmony_core.evaluation.evaluate_shard import evaluate_shard
from harmony_core.evaluation.evaluators import Training
from harmony_core.evaluation.launcher import Launcher
from harmony_core.evaluation.prepare import settle_search
from harmony_core.evaluation.shard import Shard
from harmony_core.search.config import Config
from harmony_core.search.opened import OpenedSearch
from harmony_core.store import SearchFolder, population_row

SIZES = (2, 10)
CONFIG = {
    "search": {"name": "small", "population": max(SIZES)},
    "data": {"source": "synthetic", "max_bytes": 60_000},
    "recipe": {
        "tokens": 1024,
        "batch_size": 4,
        "sequence_length": 128,
        "precision": "fp32",
        "validation_tokens": 512,
    },
    "latency": {"source": "predicted:cpu", "batch_size": 2, "context": 64},
}
# A call, and whether it makes something, which a metadata server has to write down.
_CALL = re.compile(r"^\d+\s+(\w+)\(.*$")
_MAKING = ("mkdir", "mkdirat", "rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "rmdir")
_ASKING = ("stat", "lstat", "newfstatat", "statx", "access", "faccessat", "faccessat2", "readlink", "utimensat")


def train(folder: Path, count: int) -> None:
    """Trains one shard of so many candidates."""
    search = SearchFolder(folder / "results" / "small")
    settle_search(Config.parse(CONFIG), search, lambda line: None)
    setting = OpenedSearch.open(search.path)
    architecture = with_vocab(load_preset("llama-nano"), setting.manifest.data["vocab_size"])
    rows = [
        population_row(architecture, search="small", generation=0, candidate=number, sequence_length=128,
                       origin="sample", operator="given")
        for number in range(count)
    ]  # fmt: skip
    (folder / "begin").touch()
    evaluate_shard(Training(), Shard(setting, rows, 0, 0), report=lambda *_: None, launcher=Launcher(cores=1))
    (folder / "end").touch()


def counted(count: int) -> Counter[str]:
    """Calls by what they do to the search's folders, between the shard's begin and its end."""
    with tempfile.TemporaryDirectory() as name:
        folder, log = Path(name) / "here", Path(name) / "log"
        folder.mkdir()
        command = ["strace", "-f", "-qq", "-s", "512", "-e", "trace=%file,fsync", "-y", "-o", str(log)]
        inner = [sys.executable, "-m", "benchmarks.file_operations", str(folder), str(count)]
        subprocess.run([*command, *inner], check=True, cwd=ROOT)
        found: Counter[str] = Counter()
        inside = False
        for line in log.read_text(errors="replace").splitlines():
            if f'"{folder}/begin"' in line or f'"{folder}/end"' in line:
                inside = f'"{folder}/begin"' in line
            match = _CALL.match(line)
            if inside and match is not None and str(folder) in line:
                found[_kind(match[1], line)] += 1
        return found


def _kind(call: str, line: str) -> str:
    if call in _MAKING:
        return "made, renamed or deleted"
    if call == "fsync":
        return "fsync"
    if "O_CREAT" in line:
        return "files opened to be made"
    if call in _ASKING:
        return "asked about"
    return "opened to be read"


def main() -> None:
    """Prints what a candidate and a shard take, and writes benchmarks/results/file_operations.json."""
    if len(sys.argv) == 3:
        return train(Path(sys.argv[1]), int(sys.argv[2]))
    few, many = (counted(size) for size in SIZES)
    step = SIZES[1] - SIZES[0]
    candidate = {kind: (many[kind] - few[kind]) / step for kind in sorted(many)}
    shard = {kind: few[kind] - SIZES[0] * candidate[kind] for kind in sorted(many)}
    write_result("file_operations", {"sizes": SIZES, "a_candidate": candidate, "a_shard": shard})
    for name, one in (("a candidate", candidate), ("a shard", shard)):
        print(f"{name}: " + ", ".join(f"{kind} {value:.1f}" for kind, value in one.items()))
    return None


if __name__ == "__main__":
    main()
