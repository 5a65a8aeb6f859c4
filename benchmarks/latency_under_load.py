"""Whether the order of latencies holds on a loaded machine: 48 architectures, twice quiet and once under load.

`python -m benchmarks.latency_under_load` makes what is missing of three passes and judges them. In each pass every
architecture is measured as a search measures it (`harmony_core.evaluation.latency`, prefill of the demo's size), one
after another, with what is done in a journal, so that a pass that was interrupted goes on. In the third pass two
processes load the machine, each in seeded periods of 2 to 20 s: one multiplies matrices, the other streams memory.

The architectures are fixed, of equal budget (active non-embedding parameters of 977,000 to 996,000) and in
`latency_architectures.json`: five of one mixer each for nine kinds of mixer, and three hybrids among the presets. Each
five are of 24 drawn from the space `nano` with that mixer alone (`--draw` does it again), evenly over their order by
the roofline, so that none is chosen for what it measures. What is wanted of all is wanted of each kind and each class.

    --pass NAME   only that one: quiet-1, quiet-2 or loaded
    --again       forget what is there of it (without --pass: of all)
    --folder DIR  where journals lie; default results/latency_under_load
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psutil
import torch

from benchmarks.common import ROOT, write_result
from harmony_core.architecture import Architecture
from harmony_core.architecture.presets import load_preset, with_vocab
from harmony_core.base import read_yaml
from harmony_core.evaluation.config import LatencyConfig
from harmony_core.evaluation.journalled import run_journalled
from harmony_core.evaluation.latency_row import LATENCY_TARGET
from harmony_core.evaluation.task_journal import TaskJournal
from harmony_core.machines import Machine, predict_seconds
from harmony_core.space import Space, sample
from harmony_core.workers import Outcome, Task
from harmony_core.workers.pool import WarmPool

ARCHITECTURES = Path(__file__).with_name("latency_architectures.json")
PASSES = ("quiet-1", "quiet-2", "loaded")
DEMO = read_yaml(ROOT / "config" / "nano.yaml")["latency"]
VOCAB_SIZE, SEED = 256, 2026
BUDGET = {"min": 977_000, "max": 996_000}
HYBRIDS = ("jamba-nano", "samba-nano", "stripedhyena-2-nano")
CLASSES = {
    "attention": ("mha", "mqa", "gqa", "mla", "swa"),
    "state space": ("mamba2",),
    "convolution": ("hyena_se", "hyena_mr", "hyena_li"),
}
# Cores that others may use before a quiet pass begins, and how far its reference may vary (90th over 10th percentile).
MOST_BUSY_CORES, MOST_SPREAD = 0.2, 1.15
MOST_RAW, LEAST_RELATIVE, MARGIN, MOST_MARKED = 0.85, 0.95, 0.02, 0.10

Row = dict[str, Any]


def main() -> None:
    """Makes the passes that are wanted and missing, and judges once all are there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pass", dest="only", choices=PASSES)
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--folder", type=Path, default=ROOT / "results" / "latency_under_load")
    parser.add_argument("--draw", action="store_true")
    options = parser.parse_args()
    if options.draw:
        lines = ",\n".join(json.dumps(member, sort_keys=True) for member in draw())
        ARCHITECTURES.write_text(f"[\n{lines}\n]\n")
        return
    listed = json.loads(ARCHITECTURES.read_text())
    members = [(one["kind"], Architecture.from_json(json.dumps(one["architecture"]))) for one in listed]
    wanted = (options.only,) if options.only else PASSES
    for name in wanted:
        if options.again:
            shutil.rmtree(options.folder / name, ignore_errors=True)
        run_pass(name, members, options.folder / name)
    there = [name for name in PASSES if (options.folder / name / "rows.json").exists()]
    if len(there) < len(PASSES):
        print(f"passes so far: {', '.join(there)}")
        return
    figures = judged({name: json.loads((options.folder / name / "rows.json").read_text()) for name in PASSES})
    write_result("latency_under_load", figures)
    sys.exit(0 if report(figures) else 1)


def draw() -> list[dict[str, Any]]:
    """The architectures, by seed: see above."""
    raw = read_yaml(ROOT / "resources" / "spaces" / "nano.yaml")
    raw["constraints"]["num_active_non_embedding_params"] = BUDGET
    machine, members = Machine.from_yaml("cpu"), []
    for index, kind in enumerate(kind for kinds in CLASSES.values() for kind in kinds):
        blocks = {name: block for name, block in raw["blocks"].items() if name in (kind, "mlp", "moe")}
        space, rng = Space.read({**raw, "blocks": blocks}), np.random.default_rng([SEED, index])
        found: dict[str, Architecture] = {}
        while len(found) < 24:
            one = sample(space, VOCAB_SIZE, rng).architecture
            experts = [block for block in one.blocks if block.kind == "moe"]
            # Routers without a choice, or without a gradient, are in no space for long.
            if all(1 < block.top_k < block.n_routed for block in experts):
                found[one.id] = one
        sizes = (machine, "prefill", DEMO["batch_size"], DEMO["context"], "fp32")
        ordered = sorted(found.values(), key=lambda one: predict_seconds(one, *sizes))
        members += [(kind, ordered[(2 * tenth + 1) * len(ordered) // 10]) for tenth in range(5)]
    members += [("hybrid", with_vocab(load_preset(name), VOCAB_SIZE)) for name in HYBRIDS]
    return [{"kind": kind, "architecture": json.loads(one.to_json())} for kind, one in members]


def run_pass(name: str, members: list[tuple[str, Architecture]], folder: Path) -> None:
    """Measures what the pass's journal does not hold, and writes rows.json when all is there."""
    if (folder / "rows.json").exists():
        return
    busy_cores = psutil.cpu_percent(3.0) / 100 * (psutil.cpu_count() or 1)
    print(f"{name}: others use {busy_cores:.2f} cores" + ("" if busy_cores <= MOST_BUSY_CORES else ": not quiet"))
    config = LatencyConfig.parse({**DEMO, "modes": ["prefill"], "objective": "prefill"})
    reference = with_vocab(load_preset(config.reference), VOCAB_SIZE)
    common = {"reference": reference.to_json(), "latency": config.model_dump(mode="json"), "precision": "fp32"}
    tasks = [
        Task(
            f"{index:02d}",
            LATENCY_TARGET,
            {**common, "architecture": one.to_json(), "row": {"id": one.id, "kind": kind}},
        )
        for index, (kind, one) in enumerate(members)
    ]
    pool = WarmPool(folder / "logs", workers=1, preload=LATENCY_TARGET.split(":")[0])
    with (
        loaded() if name == "loaded" else quiet(),
        TaskJournal(folder / "journal.jsonl", tasks, _is_answer) as journal,
    ):
        begin = time.monotonic()
        answers = run_journalled(
            pool,
            journal,
            answer=_answer,
            report=lambda answer, done, total: print(f"{name} {done}/{total} {_told(answer['row'])}", flush=True),
        )
    rows = [answer["row"] for answer in answers]
    told = {"busy_cores_before": round(busy_cores, 3), "seconds": round(time.monotonic() - begin, 1), "rows": rows}
    (folder / "rows.json").write_text(json.dumps(told))


def _is_answer(answer: Row, task: Task) -> bool:
    return bool(answer["row"].items() >= task.payload["row"].items())


def _answer(outcome: Outcome) -> dict[str, Any]:
    if outcome.result is None or outcome.result["rows"][0]["status"] != "ok":
        raise RuntimeError(f"{outcome.task.key} failed: {outcome.error or outcome.result}")
    return {"row": outcome.result["rows"][0]}


def _told(row: Row) -> str:
    times = f"{1e3 * row['seconds_median']:.1f} ms beside {1e3 * row['reference_seconds_median']:.1f} ms"
    again = f", {row['measurements']} measurements" if row["measurements"] > 1 else ""
    return f"{row['kind']} {row['id'][:8]}: {times}, ratio {row['relative']:.3f}{again}{', marked' * row['marked']}"


@contextmanager
def quiet() -> Iterator[None]:
    """Nobody but the measurement."""
    yield


@contextmanager
def loaded() -> Iterator[None]:
    """Two processes that work and rest in turns, each for 2 to 20 s by its own seed."""
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=_work_and_rest, args=(number,), daemon=True) for number in range(2)]
    for one in others:
        one.start()
    try:
        yield
    finally:
        for one in others:
            one.kill()
            one.join()


def _work_and_rest(number: int) -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng([SEED, number])
    matrix, stream = torch.rand(512, 512), torch.rand(8_000_000)
    while True:
        end = time.monotonic() + rng.uniform(2, 20)
        while time.monotonic() < end:
            _ = matrix @ matrix if number == 0 else stream.mul_(1.0001)
        time.sleep(rng.uniform(2, 20))


def judged(passes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """All figures: rank correlations of raw and relative times, over all rows and within kinds and classes."""
    rows = {name: one["rows"] for name, one in passes.items()}
    kinds = np.array([row["kind"] for row in rows["quiet-1"]])
    groups = {"all": np.ones(len(kinds), bool)}
    groups |= {name: np.isin(kinds, members) for name, members in CLASSES.items() if len(members) > 1}
    groups |= {kind: kinds == kind for members in CLASSES.values() for kind in members}
    values = {
        (name, column): np.array([row[column] for row in rows[name]])
        for name in PASSES
        for column in ("seconds_median", "relative")
    }

    def rho(column: str, first: str, second: str, chosen: np.ndarray[Any, Any]) -> float:
        pair = pl.DataFrame({"a": values[first, column][chosen], "b": values[second, column][chosen]})
        return float(pair.select(pl.corr("a", "b", method="spearman")).item())

    # Both quiet passes are as good as each other: the loaded one is held against both.
    table = {
        name: {
            "architectures": int(chosen.sum()),
            "relative_quiet": rho("relative", "quiet-1", "quiet-2", chosen),
            "relative_loaded": min(rho("relative", one, "loaded", chosen) for one in PASSES[:2]),
            "raw_quiet": rho("seconds_median", "quiet-1", "quiet-2", chosen),
            "raw_loaded": max(rho("seconds_median", one, "loaded", chosen) for one in PASSES[:2]),
        }
        for name, chosen in groups.items()
    }
    for row in table.values():
        row["wanted"] = min(LEAST_RELATIVE, row["relative_quiet"] - MARGIN)
        row["kept"] = row["relative_loaded"] >= row["wanted"]
    told = {name: _circumstances(one) for name, one in passes.items()}
    return {"passes": told, "valid": table["all"]["raw_loaded"] < MOST_RAW, "groups": table, "rows": rows}


def _circumstances(one: dict[str, Any]) -> dict[str, Any]:
    reference = np.array([row["reference_seconds_median"] for row in one["rows"]])
    low, high = np.quantile(reference, [0.1, 0.9])
    return {
        "seconds": one["seconds"],
        "busy_cores_before": one["busy_cores_before"],
        "reference_spread": round(float(high / low), 3),
        "quiet": bool(one["busy_cores_before"] <= MOST_BUSY_CORES and high / low <= MOST_SPREAD),
        "marked": sum(row["marked"] for row in one["rows"]) / len(one["rows"]),
        "measurements": sum(row["measurements"] for row in one["rows"]) / len(one["rows"]),
    }


def report(figures: dict[str, Any]) -> bool:
    """Prints the figures beside what was promised; whether all of it is kept."""
    for name, one in figures["passes"].items():
        print(
            f"{name}: {one['seconds']:.0f} s, reference p90/p10 {one['reference_spread']}, {one['marked']:.0%} marked"
        )
    print(f"{'':12}  n  relative: quiet  loaded  wanted   raw: quiet  loaded")
    for name, row in figures["groups"].items():
        relative = f"{row['relative_quiet']:.3f}   {row['relative_loaded']:.3f}   {row['wanted']:.3f}"
        raw = f"{row['raw_quiet']:.3f}   {row['raw_loaded']:.3f}"
        print(
            f"{name:12} {row['architectures']:2}            {relative}        {raw}  {'' if row['kept'] else 'BROKEN'}"
        )
    quiet_passes = [name for name in PASSES[:2] if not figures["passes"][name]["quiet"]]
    if quiet_passes:
        print(f"not quiet: {', '.join(quiet_passes)}; measure it again with --pass NAME --again")
    if not figures["valid"]:
        print(f"not valid: raw times under load kept their order (Spearman not below {MOST_RAW})")
    marked = figures["passes"]["loaded"]["marked"]
    kept = all(row["kept"] for row in figures["groups"].values()) and marked <= MOST_MARKED
    print(f"promise: at least {LEAST_RELATIVE}, or quiet with quiet less {MARGIN}; at most {MOST_MARKED:.0%} marked")
    return kept and figures["valid"] and not quiet_passes


if __name__ == "__main__":
    main()
