"""A search that is under way: a generation that is over, one that is trained, and a process that holds the lease."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from harmony_core.store.live_curve import LiveCurveWriter, live_curve_file
from tests.progress.searches import MadeUpSearch

HOSTILE = "</script><img src=x onerror=alert(1)>\x1b[31m"
RESULTS = {number: (3.0 - 0.1 * number if number != 3 else None, 0.02 + 0.01 * number) for number in range(8)}
_HOLDER = """
import sys, threading
from pathlib import Path
from harmony_core.store import SearchFolder
from harmony_core.workflow import main_lease
main_lease(SearchFolder(Path(sys.argv[1]))).acquire()
print("held", flush=True)
threading.Event().wait()
"""


class LiveSearch(MadeUpSearch):
    """`MadeUpSearch` with a generation that is over, whose error texts attack whoever shows them."""

    def begin_live(self) -> None:
        """Writes generation 0 and begins generation 1, of which two are trained, one after a lost attempt."""
        self.prepare()
        self.record_start()
        self.finish(0, RESULTS)
        self.breed(1)
        self.open(1)
        for candidate in (0, 1, 2):
            self.begin(1, candidate)
        self.train(1, 0, 2.31)
        self.train(1, 3, None, error=HOSTILE)
        self.tell_curve(1, 1)

    def tell_curve(self, generation: int, candidate: int, points: int = 30) -> None:
        """Writes the curve of a training under way."""
        key = f"{candidate:05d}-{self._key(generation, candidate)['architecture_id']}-r0"
        clock = iter(range(0, 10**9, 100))
        folder = self.folder.work("training", f"generation={generation:03d}", "shard=000")
        live = LiveCurveWriter(live_curve_file(folder, key), 488, clock=lambda: float(next(clock)))
        for step in range(points):
            live.tell(step * 5, step * 5 * 4096, 5.5 - 2.5 * step / (step + 8), step * 2.0)

    def run(self) -> subprocess.Popen[str]:
        """A process that holds the search's lease, as Snakemake's main process does; to be killed by whoever asks."""
        command = [sys.executable, "-c", _HOLDER, str(self.folder.path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process


def live_search(root: Path, name: str = "toy") -> LiveSearch:
    """A search that has begun, in `root/results`."""
    made = LiveSearch(root, name=name, generations=4)
    made.begin_live()
    return made
