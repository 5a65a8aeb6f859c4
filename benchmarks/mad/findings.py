"""What is told of each part's rows."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from benchmarks.mad.architectures import HYBRIDS, PUBLISHED_MEMORISATION, drawn
from benchmarks.mad.judgement import Table, agreement, interval, partial_spearman, spearman, spreads, table
from harmony_core.architecture import Architecture
from harmony_core.evaluation.mad_runs import full_scores
from harmony_core.mad import make_examples, task_class, task_names

Row = dict[str, Any]
Found = dict[str, Any]

_ATTENTION = ("mha", "mqa", "gqa", "mla", "swa")
_CONTEXT = 256


def generation_seconds() -> dict[str, float]:
    """What one core takes for the paper's training set of each baseline, or for as many examples; the best of three."""
    found = {}
    for name in task_names():
        task, times = task_class(name).parse({}), []
        for _ in range(3):
            began = time.process_time()
            make_examples(task, "train", range(12_800))
            times.append(time.process_time() - began)
        found[name] = round(min(times), 4)
    return found


def alone(rows: Sequence[Row]) -> Found:
    """Scores by architecture and task; what they say is said with other parts' (`together`)."""
    return {"scores": _rounded(table(rows))}


def spread(rows: Sequence[Row]) -> Found:
    """How far each task's scores spread over architectures, and what all tasks took of each."""
    found = table(rows)
    own = spreads(found) if len(found) > 2 else {}
    return {
        "scores": _rounded(found),
        "standard_deviation_points": {name: round(value, 2) for name, value in own.items()},
        "core_seconds": {label: round(seconds, 1) for label, seconds in _core_seconds(rows).items()},
    }


def _core_seconds(rows: Sequence[Row]) -> dict[str, float]:
    found: dict[str, float] = {}
    for row in rows:
        if row["cpu_seconds"] is not None:
            found[row["label"]] = found.get(row["label"], 0.0) + row["cpu_seconds"]
    return found


def retest(rows: Sequence[Row]) -> Found:
    """How alike the orders of two seeds are."""
    first, second = (table([row for row in rows if row["asked_seed"] == seed]) for seed in (0, 1))
    common = first.keys() & second.keys()
    return {"kendall_tau_b_of_two_seeds": agreement(first, second) if len(common) > 2 else {}}


def orderings(rows: Sequence[Row]) -> Found:
    """Means over seeds and their range, by task and steps; what each hybrid has over the mean of its parts."""
    scores: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        if row["score"] is not None:
            task = f"{row['task']}, {row['asked_steps']} steps"
            scores.setdefault(task, {}).setdefault(row["label"], []).append(row["score"])
    return {
        "scores": {
            task: {label: {"mean": _mean(one), "seeds": [round(x, 4) for x in one]} for label, one in of.items()}
            for task, of in scores.items()
        },
        "hybrids_over_the_mean_of_their_parts": {
            task: {
                hybrid: round(_mean(of[hybrid]) - np.mean([_mean(of[part]) for part in made_of]), 4)
                for hybrid, made_of in HYBRIDS.items()
                if {hybrid, *made_of} <= of.keys()
            }
            for task, of in scores.items()
        },
    }


def memorisation(rows: Sequence[Row]) -> Found:
    """The paper's score beside the published one, in percent."""
    found: Found = {}
    for name, published in PUBLISHED_MEMORISATION.items():
        own = pl.DataFrame([row for row in rows if row["label"] == name])
        if len(own):
            scores = {by: full_scores(own, by)["memorisation"] for by in ("test_accuracy", "validation_accuracy")}
            found[name] = {"runs": len(own), "published": published, **scores}
    return found


def together(rows: Mapping[str, Sequence[Row]]) -> Found:
    """What takes two parts: short beside ten times as long, and scores beside loss at scale."""
    found: Found = {}
    short = table([row for row in rows["retest"] if row["asked_seed"] == 0])
    longer = table(rows["longer"])
    if len(short.keys() & longer.keys()) > 2:
        found["kendall_tau_b_with_ten_times_the_steps"] = agreement(short, longer)
    architectures = drawn("loss")
    return found | predictions(table(rows["loss"]), _losses(architectures), architectures)


def _losses(architectures: Mapping[str, Architecture]) -> dict[str, dict[str, float]]:
    from benchmarks.mad.losses import bits

    return bits(architectures)


def predictions(
    scores: Table, bits: Mapping[str, Mapping[str, float]], architectures: Mapping[str, Architecture]
) -> Found:
    """Rank correlations with the loss after the most tokens, plain and with attention's share and FLOPs taken out.

    Args:
        scores: of quick MAD.
        bits: by budget and label; `target` is what is predicted.
        architectures: by label.
    """
    labels = sorted(set(scores) & set(bits["target"]))
    if len(labels) < 5:
        return {}
    columns = {name: [-scores[label][name] for label in labels] for name in scores[labels[0]]}
    for budget, of in bits.items():
        if budget != "target" and set(labels) <= set(of):
            columns[f"loss at {budget}"] = [of[label] for label in labels]
    target = [bits["target"][label] for label in labels]
    others = [(_attention_share(architectures[label]), _flops(architectures[label])) for label in labels]
    return {
        "rank_correlation_with_loss": {
            name: {
                "spearman": interval(spearman, np.column_stack([column, target])),
                "partial": interval(partial_spearman, np.column_stack([column, target, others])),
            }
            for name, column in columns.items()
        }
    }


def _attention_share(architecture: Architecture) -> float:
    mixers = [block.kind for block in architecture.blocks if block.role == "mixer"]
    return sum(kind in _ATTENTION for kind in mixers) / len(mixers)


def _flops(architecture: Architecture) -> float:
    return architecture.flops_per_token(_CONTEXT, "train")


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 4)


def _rounded(found: Table) -> Table:
    return {label: {name: round(value, 4) for name, value in scores.items()} for label, scores in found.items()}
