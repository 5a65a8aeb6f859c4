"""Peak memory and time of preparing JSON lines of growing sizes, each in a process of its own.

`python -m benchmarks.data_memory 100 400 1600` makes files of so many megabytes in the folder for temporary files,
which needs four times the largest.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, write_result

MB = 10**6
LARGEST_MB = 1000
# Peak memory of this process and the seconds that it took, printed by the process that prepares.
PREPARE = """
import json, resource, sys, time
from harmony_core.data import SPLITS, DataConfig, prepare
begin, said = time.monotonic(), []
config = DataConfig.parse({"source": "files", "paths": [sys.argv[1]], "tokenizer": sys.argv[3], "vocab_size": 1024})
manifest = prepare(config, sys.argv[2], said.append)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
documents = sum(split.num_documents for split in manifest.splits.values())
print(json.dumps({"peak_mb": peak * 1024 / 1e6, "seconds": time.monotonic() - begin, "documents": documents}))
"""


def write_lines(path: Path, size: int) -> None:
    """JSON lines of words, of about 1 kB each and no two alike."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnop", k=draw.randrange(2, 9))) for _ in range(5000)]
    paragraphs = [" ".join(draw.choices(words, k=draw.randrange(20, 300))) for _ in range(2000)]
    with path.open("w") as file:
        number = written = 0
        while written < size:
            text = f"{number} {draw.choice(paragraphs)}\n\n{draw.choice(paragraphs)}"
            written += file.write(json.dumps({"id": number, "text": text}) + "\n")
            number += 1


def measure(size_mb: int, tokenizer: str) -> dict[str, Any]:
    """Prepares a file of this size."""
    with tempfile.TemporaryDirectory(prefix="harmony-data-") as folder:
        path = Path(folder, "lines.jsonl")
        write_lines(path, size_mb * MB)
        command = [sys.executable, "-c", PREPARE, str(path), folder, tokenizer]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        found = json.loads(done.stdout.splitlines()[-1])
        return {"size_mb": path.stat().st_size / MB, "tokenizer": tokenizer, **found}


def main() -> None:
    """Measures the sizes that are named, in megabytes, with the byte tokenizer; the first with BPE too."""
    sizes = [int(argument) for argument in sys.argv[1:]] or [100, 400]
    runs: list[dict[str, Any]] = []
    for size, tokenizer in [*((size, "byte") for size in sizes), (sizes[0], "bpe")]:
        runs.append(measure(size, tokenizer))
        told = {name: round(value, 1) if isinstance(value, float) else value for name, value in runs[-1].items()}
        print(told, flush=True)
        # The largest may take long; what was measured before it is kept.
        write_result("data_memory", {"arguments": sizes, "runs": runs})
    largest = max(run["peak_mb"] for run in runs)
    print(f"largest peak: {largest:.0f} MB, promised: under {LARGEST_MB} MB")
    sys.exit(largest >= LARGEST_MB)


if __name__ == "__main__":
    main()
