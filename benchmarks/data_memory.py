"""Peak memory and time of preparing files of growing sizes, each in a process of its own.

`python -m benchmarks.data_memory 100 400 1600` makes JSON lines of so many megabytes in the folder for temporary files,
which needs four times the largest. `--forms list text utf-16` makes other files of the same text: one list of JSON on
one line, one text, and one text in UTF-16.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
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


# A file's name, encoding, what it begins and ends with, and what becomes of a record, by form.
FORMS: dict[str, tuple[str, str, str, str, Callable[[int, str], str]]] = {
    "lines": ("a.jsonl", "utf-8", "", "", lambda number, text: json.dumps({"id": number, "text": text}) + "\n"),
    "list": ("a.json", "utf-8", "[", "]", lambda number, text: ", " * (number > 0) + json.dumps({"text": text})),
    "text": ("a.txt", "utf-8", "", "", lambda number, text: f"{text}\n\n"),
    "utf-16": ("a.txt", "utf-16", "", "", lambda number, text: f"{text}\n\n"),
}


def write_file(folder: Path, size: int, form: str) -> Path:
    """A file of words, in records of about 2 kB of which no two are alike; `form` is one of `FORMS`."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnop", k=draw.randrange(2, 9))) for _ in range(5000)]
    paragraphs = [" ".join(draw.choices(words, k=draw.randrange(20, 300))) for _ in range(2000)]
    name, encoding, begin, end, record = FORMS[form]
    path = folder / name
    with path.open("w", encoding=encoding) as file:
        number, written = 0, file.write(begin)
        while written * (2 if encoding == "utf-16" else 1) < size:
            text = f"{number} {draw.choice(paragraphs)}\n\n{draw.choice(paragraphs)}"
            written += file.write(record(number, text))
            number += 1
        file.write(end)
    return path


def measure(size_mb: int, tokenizer: str, form: str) -> dict[str, Any]:
    """Prepares a file of this size."""
    with tempfile.TemporaryDirectory(prefix="harmony-data-") as folder:
        path = write_file(Path(folder), size_mb * MB, form)
        command = [sys.executable, "-c", PREPARE, str(path), folder, tokenizer]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        found = json.loads(done.stdout.splitlines()[-1])
        return {"size_mb": path.stat().st_size / MB, "form": form, "tokenizer": tokenizer, **found}


def main() -> None:
    """Measures the sizes that are named, in megabytes, with the byte tokenizer; of lines the first with BPE too."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sizes", type=int, nargs="*", default=[100, 400], help="megabytes")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=["lines"])
    given = parser.parse_args()
    runs: list[dict[str, Any]] = []
    asked = [(size, "byte", form) for form in given.forms for size in given.sizes]
    asked += [(given.sizes[0], "bpe", "lines")] if "lines" in given.forms else []
    for size, tokenizer, form in asked:
        runs.append(measure(size, tokenizer, form))
        told = {name: round(value, 1) if isinstance(value, float) else value for name, value in runs[-1].items()}
        print(told, flush=True)
        # The largest may take long; what was measured before it is kept.
        name = "data_memory" if given.forms == ["lines"] else "data_memory_forms"
        write_result(name, {"arguments": given.sizes, "forms": given.forms, "runs": runs})
    largest = max(run["peak_mb"] for run in runs)
    print(f"largest peak: {largest:.0f} MB, promised: under {LARGEST_MB} MB")
    sys.exit(largest >= LARGEST_MB)


if __name__ == "__main__":
    main()
