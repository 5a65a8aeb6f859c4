"""A whole search of any size whose results are made up: the real layout, real architectures, every table.

Architectures are real: their blocks are those of samples of the space, put together anew, so that ids, costs and
patterns are what HARMONY computes of them. Losses and latencies follow their sizes, with noise. Rows are made column by
column: a million candidates take a minute or two.
"""

from __future__ import annotations

import argparse
import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.made_up import blank, prepare
from harmony_core.architecture import Architecture
from harmony_core.architecture.block import Block
from harmony_core.architecture.presets import load_preset, with_vocab
from harmony_core.base import canonical_json
from harmony_core.metrics import metric
from harmony_core.search.config import Config
from harmony_core.search.frame import Frame
from harmony_core.space import Space, sample
from harmony_core.store import (
    CURVES,
    LATENCY,
    LEDGER,
    POPULATION,
    SELECTION,
    TRAINING,
    SearchFolder,
    population,
    population_row,
    write_table,
)
from harmony_core.store.schemas import POPULATION_METRICS, SELECTION_METRICS
from harmony_core.store.table import write_arrow

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Columns = dict[str, Any]

VOCAB_SIZE, SEQUENCE_LENGTH = 512, 256
_FAILED_SHARE = 1 / 16
# What a mode takes, in prefills.
_MODES = {"train": 3.0, "prefill": 1.0, "decode": 0.1}
# Text that is no text to a browser, a terminal, rich, a spreadsheet or a file system.
HOSTILE = (
    "<script>alert(1)</script>",
    "\x1b[31mred\x1b]0;title\x07\x1b[2J",
    "[bold red]markup[/] [link=file:///etc/passwd]",
    "../../../../tmp/escaped",
    '=cmd|"/c calc"!A1,"\nsecond line',
    "right\u202eot left",
)


@dataclass(frozen=True)
class Size:
    """How large a made-up search is.

    Args:
        candidates: in all; the last generation may have fewer than the others.
        generations: that they are spread over.
        shards: of a generation.
        curve_points: steps that are kept of each training.
    """

    candidates: int
    generations: int = 60
    shards: int = 17
    curve_points: int = 8

    @property
    def population(self) -> int:
        """Candidates of a generation."""
        return -(-self.candidates // self.generations)

    @property
    def per_shard(self) -> int:
        """Candidates of a shard."""
        return -(-self.population // self.shards)

    @property
    def plans(self) -> int:
        """Samples that others follow from: the same kinds in the same order, with other blocks of each kind."""
        return min(2048, 64 + self.candidates // 64)

    def members(self, generation: int) -> int:
        """Candidates of one generation."""
        return min(self.population, self.candidates - generation * self.population)


class Plans:
    """Kinds of blocks in an order, and the blocks that there are of each kind: what architectures are put together of.

    Args:
        number: of plans.
        rng: draws them.
    """

    def __init__(self, number: int, rng: np.random.Generator) -> None:
        space = Space.read("nano")
        self.samples = [sample(space, VOCAB_SIZE, rng).architecture.canonical() for _ in range(number)]
        blocks: dict[tuple[int, str], dict[str, Block]] = {}
        for one in self.samples:
            for block in one.blocks:
                blocks.setdefault((one.d_model, block.kind), {})[canonical_json(block.to_dict())] = block
        self.texts: list[str] = []
        self._of: dict[tuple[int, str], tuple[int, int]] = {}
        costs: list[list[float]] = []
        for (d_model, kind), found in blocks.items():
            self._of[d_model, kind] = (len(self.texts), len(found))
            self.texts += found
            costs += [_own_costs(d_model, block) for block in found.values()]
        self.costs_BM = np.array(costs)
        self.patterns = [one.pattern() for one in self.samples]
        self.d_models = np.array([one.d_model for one in self.samples])
        self.num_blocks = np.array([len(one.blocks) for one in self.samples])
        self.empty_costs_PM = np.array([_costs(one) for one in self.samples]) - np.array(
            [sum(np.array(_own_costs(one.d_model, block)) for block in one.blocks) for one in self.samples]
        )

    def draw(self, plan: int, number: int, rng: np.random.Generator) -> Ints:
        """Blocks by their place in `texts`, [number, blocks of the plan].

        Args:
            plan: whose kinds.
            number: of architectures.
            rng: draws them.
        """
        one = self.samples[plan]
        ranges = [self._of[one.d_model, block.kind] for block in one.blocks]
        return np.stack([first + rng.integers(count, size=number) for first, count in ranges], axis=1)


def _costs(architecture: Architecture) -> list[float]:
    return [metric(name).of(architecture, SEQUENCE_LENGTH) for name in POPULATION_METRICS]


def _own_costs(d_model: int, block: Block) -> list[float]:
    """What one block adds to each metric of the population."""
    twice = [_costs(Architecture(d_model=d_model, vocab_size=1, blocks=(block,) * times)) for times in (2, 1)]
    return [two - one for two, one in zip(*twice, strict=True)]


def write_search(folder: SearchFolder, size: Size, seed: int = 0, hostile: bool = False) -> None:
    """Writes a finished search with all its tables; the same arguments give the same bytes.

    Args:
        folder: where; its name is the search's.
        size: how large.
        seed: of everything.
        hostile: whether texts that come from outside (errors, operators, hosts, devices, names) attack whoever shows
            them.
    """
    settings = {"name": folder.path.name, "seed": seed, "generations": size.generations, "population": size.population}
    config = Config.parse({"search": settings, "execution": {"candidates_per_job": size.per_shard}}).resolved()
    reference = {**dict.fromkeys(SELECTION_METRICS, 1e7), "val_bits_per_byte": 4.0, "latency_seconds": 1.0}
    frame = Frame(ideal=dict.fromkeys(SELECTION_METRICS, 0.0), reference=reference)
    modes = {mode: 0.02 * factor for mode, factor in _MODES.items()}
    prepare(folder, config, VOCAB_SIZE, frame, reference_latency=modes)
    rng = np.random.default_rng(seed)
    plans, survivors = Plans(size.plans, rng), None
    for generation in range(size.generations):
        members = _population(folder.path.name, plans, generation, size.members(generation), survivors, rng)
        if hostile:
            members["operator"] = np.resize(np.array(HOSTILE, dtype=object), len(members["operator"]))
        outcome = _outcome(members, rng)
        write_arrow(folder.population(generation), _table(POPULATION, members))
        _write_shards(folder, size, generation, members, outcome, rng, hostile)
        survivors = _select(folder, generation, size.population, members, outcome, survivors)
        counts = {"stage": "mutation" if generation else "sample", "reason": "duplicate", "count": 7}
        row = {"search": folder.path.name, "generation": generation}
        write_table(folder.ledger(generation), [{**row, **counts}], LEDGER)
    assert survivors is not None
    _promote(folder, survivors, hostile)


def _population(
    search: str, plans: Plans, generation: int, number: int, survivors: Columns | None, rng: np.random.Generator
) -> Columns:
    """Columns of a generation that is bred from `survivors`."""
    plan_N = rng.integers(len(plans.samples), size=number)
    texts, ids = np.empty(number, object), np.empty(number, object)
    costs_NM = np.empty((number, len(POPULATION_METRICS)))
    for plan in np.unique(plan_N):
        where_n = np.flatnonzero(plan_N == plan)
        blocks_nB = plans.draw(plan, len(where_n), rng)
        costs_NM[where_n] = plans.empty_costs_PM[plan] + plans.costs_BM[blocks_nB].sum(axis=1)
        end = f'],"d_model":{plans.d_models[plan]},"schema_version":1,"vocab_size":{VOCAB_SIZE}}}'
        for where, blocks in zip(where_n, blocks_nB.tolist(), strict=True):
            text = '{"blocks":[' + ",".join([plans.texts[block] for block in blocks]) + end
            texts[where], ids[where] = text, hashlib.sha256(text.encode()).hexdigest()[:16]
    if survivors is None:
        origins: Any = np.full(number, "sample", object)
        parents: list[list[str]] = [[] for _ in range(number)]
        operators = np.full(number, "sample", object)
    else:
        pairs_N2 = survivors["architecture_id"][rng.integers(len(survivors["architecture_id"]), size=(number, 2))]
        crossed_N = rng.random(number) < 0.25
        origins = np.where(crossed_N, "crossover", "mutation").astype(object)
        operators = np.where(crossed_N, "one_point", rng.choice(["swap", "replace", "width"], number)).astype(object)
        parents = [list(pair) if both else [pair[0]] for pair, both in zip(pairs_N2, crossed_N, strict=True)]
    costs = {name: costs_NM[:, column] for column, name in enumerate(POPULATION_METRICS)}
    return {
        **{"search": search, "generation": generation, "candidate": np.arange(number), "architecture_id": ids},
        **{"architecture": texts, "pattern": np.array(plans.patterns, object)[plan_N], "origin": origins},
        **{"operator": operators, "parents": parents, "d_model": plans.d_models[plan_N]},
        **{"num_blocks": plans.num_blocks[plan_N], "role": None, "name": None, **costs},
    }


def _outcome(members: Columns, rng: np.random.Generator) -> Columns:
    """Statuses, losses and latencies: a trade-off by size, some noise, some failures."""
    number, params_N = len(members["candidate"]), members["num_params"]
    ok_N = rng.random(number) >= _FAILED_SHARE
    status_N = np.where(ok_N, "ok", rng.choice(["diverged", "out_of_memory", "crashed"], number)).astype(object)
    bits_N = 1.5 + 3.0 / np.log10(params_N) + 0.05 * rng.standard_normal(number) - 0.002 * members["generation"]
    seconds_N = 1e-8 * params_N * rng.lognormal(0.0, 0.3, number) + 0.004
    return {"ok": ok_N, "status": status_N, "bits": np.where(ok_N, bits_N, np.nan), "seconds": seconds_N}


def _write_shards(
    folder: SearchFolder,
    size: Size,
    generation: int,
    members: Columns,
    outcome: Columns,
    rng: np.random.Generator,
    hostile: bool,
) -> None:
    number = len(members["candidate"])
    for shard in range(size.shards):
        part = slice(min(number, shard * size.per_shard), min(number, (shard + 1) * size.per_shard))
        count = part.stop - part.start
        attack = np.resize(np.array(HOSTILE if hostile else ("loss is nan",), dtype=object), count)
        place = "a host" if not hostile else attack
        key = {name: members[name] for name in ("search", "generation")} | {"shard": shard}
        key |= {name: members[name][part] for name in ("candidate", "architecture_id")}
        ok_n, bits_n, seconds_n = (outcome[name][part] for name in ("ok", "bits", "seconds"))
        took_n = 40.0 + 2e-5 * members["num_params"][part]
        training = {
            **{
                **key,
                "precision": "fp32",
                "status": outcome["status"][part],
                "error": np.where(ok_n, np.array(None), attack),
            },
            **{"attempt": 1, "val_bits_per_byte": bits_n, "val_loss": bits_n * 1.6, "train_loss": bits_n * 1.58},
            **{"val_standard_error": np.where(ok_n, 0.01, np.nan), "steps": 488, "tokens": 2_000_000},
            **{"learning_rate": 3e-3, "flops": 2e6 * members["flops_per_token"][part], "seconds": took_n},
            **{"start_seconds": 0.5, "eval_seconds": 3.0, "tokens_per_second": 2e6 / took_n, "host": place},
            **{"device_seconds": took_n + 4.0, "device": place, "peak_memory_bytes": 600_000_000},
        }
        write_arrow(folder.shard(generation, "training", shard), _table(TRAINING, training))
        timed = {
            name: np.repeat(value[ok_n], len(_MODES)) for name, value in key.items() if isinstance(value, np.ndarray)
        }
        seconds_t = np.repeat(seconds_n[ok_n], len(_MODES)) * np.tile(list(_MODES.values()), ok_n.sum())
        raw_t = seconds_t * rng.lognormal(0.0, 0.1, len(seconds_t))
        latency = {
            **{**key, **timed, "status": "ok", "error": None, "source": "measured", "batch_size": 8, "context": 256},
            **{"mode": np.tile(list(_MODES), ok_n.sum()), "precision": "fp32", "latency_seconds": seconds_t},
            **{"seconds_median": raw_t, "seconds_p10": raw_t * 0.95, "seconds_p90": raw_t * 1.2, "repeats": 17},
            **{"relative": seconds_t / 0.02, "reference_seconds_median": 0.02 * raw_t / seconds_t, "measurements": 1},
            **{"reference_movement": 0.03, "marked": rng.random(len(raw_t)) < 0.02, "seconds": raw_t * 40},
            **{"device_seconds": raw_t * 40},
        }
        write_arrow(folder.shard(generation, "latency", shard), _table(LATENCY, latency))
        points = np.linspace(0, 487, size.curve_points).astype(np.int64)
        steps = {name: np.repeat(value, len(points)) for name, value in key.items() if isinstance(value, np.ndarray)}
        step_p = np.tile(points, count)
        loss_p = np.repeat(np.nan_to_num(bits_n, nan=9.0), len(points)) + 4.0 / (1.0 + step_p)
        curves = {
            **{**key, **steps, "step": step_p, "tokens": (step_p + 1) * 4096, "train_loss": loss_p},
            **{"learning_rate": 3e-3, "gradient_norm": 1.0, "seconds": step_p * 0.1},
        }
        write_arrow(folder.shard(generation, "curves", shard), _table(CURVES, curves))


def _select(
    folder: SearchFolder, generation: int, survive: int, members: Columns, outcome: Columns, before: Columns | None
) -> Columns:
    """Writes a selection of a generation and the survivors before it, and gives who survives it."""
    failed_N = ~outcome["ok"]
    values = {"val_bits_per_byte": outcome["bits"], "latency_seconds": np.where(failed_N, np.nan, outcome["seconds"])}
    new = {
        **{name: members[name] for name in ("candidate", "architecture_id")},
        **{name: members[name] for name in SELECTION_METRICS if name in members},
        **{"birth_generation": np.full(len(failed_N), generation), "status": outcome["status"], **values},
    }
    if before is not None:
        new = {name: np.concatenate([before[name], value]) for name, value in new.items()}
    order_S = np.argsort(np.nan_to_num(new["val_bits_per_byte"], nan=math.inf), kind="stable")
    rank_S = np.empty(len(order_S), np.int64)
    rank_S[order_S] = np.arange(len(order_S))
    survives_S = (rank_S < survive) & ~np.isnan(new["val_bits_per_byte"])
    told = {"violation": np.where(new["status"] == "ok", 0.0, np.nan), "rank": rank_S, "survives": survives_S}
    name = {"search": folder.path.name, "generation": generation}
    write_arrow(folder.selection(generation), _table(SELECTION, {**new, **name, **told}))
    return {name: value[survives_S] for name, value in new.items()}


def _promote(folder: SearchFolder, survivors: Columns, hostile: bool) -> None:
    """Promotes the best four, and a preset beside them."""
    best = survivors["architecture_id"][np.argsort(survivors["val_bits_per_byte"])[:4]].tolist()
    found = population(folder).collect()
    rows = [found.row(found["architecture_id"].to_list().index(one), named=True) for one in best]
    again = {"generation": None, "role": "front"}
    members = [
        {**row, **again, "candidate": number, "parents": [row["architecture_id"]]} for number, row in enumerate(rows)
    ]
    where: Columns = {"search": folder.path.name, "generation": None, "candidate": len(members), "origin": "preset"}
    named: Columns = {"role": "baseline", "name": HOSTILE[0] if hostile else "llama-nano", "operator": "preset"}
    preset = with_vocab(load_preset("llama-nano"), VOCAB_SIZE)
    members.append(population_row(preset, sequence_length=SEQUENCE_LENGTH, **where, **named))
    write_table(folder.population(None), members, POPULATION)
    write_table(folder.ledger(None), [], LEDGER)
    key = ("search", "generation", "candidate", "architecture_id")
    trained = {"status": "ok", "val_bits_per_byte": 2.0, "val_loss": 3.2, "test_bits_per_byte": 2.05, "test_loss": 3.3}
    trained |= {"seconds": 50.0, "tokens": 2_000_000, "precision": "fp32"}
    rows = [{**blank(TRAINING), **{name: one[name] for name in key}, **trained} for one in members]
    write_table(folder.shard(None, "training", 0), [{**one, "replicate": r} for one in rows for r in (0, 1)], TRAINING)
    timed = {"mode": "prefill", "status": "ok", "source": "measured", "latency_seconds": 0.02}
    write_table(
        folder.shard(None, "latency", 0),
        [{**blank(LATENCY), **{name: one[name] for name in key}, **timed} for one in members],
        LATENCY,
    )
    write_table(folder.shard(None, "curves", 0), [], CURVES)


def _table(schema: pa.Schema, columns: Columns) -> pa.Table:
    """Columns, of arrays or of one value for all rows, as a table; what is not given is `blank`.

    Args:
        schema: the table's.
        columns: by name; one of them at least is an array. NaN is null.
    """
    number = next(len(value) for value in columns.values() if isinstance(value, list | np.ndarray))
    every = {**blank(pa.schema([field for field in schema if field.name not in columns])), **columns}
    arrays = []
    for field in schema:
        value = every[field.name]
        if not isinstance(value, list | np.ndarray):
            array = pa.repeat(pa.scalar(value, field.type), number)
        elif isinstance(value, np.ndarray) and value.dtype != object:
            if pa.types.is_integer(field.type):
                value = value.round()
            array = pa.array(value, from_pandas=True).cast(field.type)
        else:
            array = pa.array(value, field.type, from_pandas=True)
        arrays.append(array)
    return pa.Table.from_arrays(arrays, schema=schema)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the search is written")
    parser.add_argument("--candidates", type=int, default=1_000_000)
    parser.add_argument("--generations", type=int, default=60)
    parser.add_argument("--shards", type=int, default=17, help="of each generation")
    parser.add_argument("--hostile", action="store_true", help="with text that attacks whoever shows it")
    given = parser.parse_args()
    write_search(
        SearchFolder(given.folder), Size(given.candidates, given.generations, given.shards), hostile=given.hostile
    )


if __name__ == "__main__":
    main()
