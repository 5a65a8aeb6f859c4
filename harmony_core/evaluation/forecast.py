"""What a search will take, by the cost model, before anything of it is run: tokens, device hours, time, disk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harmony_core.architecture import Architecture
from harmony_core.architecture.presets import load_preset
from harmony_core.evaluation.duration_model import DurationModel
from harmony_core.machines import Machine
from harmony_core.machines.roofline import predict_seconds
from harmony_core.search.config import Config
from harmony_core.training.recipe import Recipe

# Weights and AdamW's two means, fp32, as a promoted training keeps them.
_BYTES_PER_PARAM = 12
# Tables, journals and logs as searches of 4 to 36 trainings left them.
_BYTES_PER_SHARD, _BYTES_PER_TRAINING, _BYTES_PER_STEP, _BYTES_PER_REPORT = 75e3, 3e3, 170, 2e6


@dataclass(frozen=True)
class Forecast:
    """What is to be expected.

    Args:
        machine: whose cost model it is by, one device of it.
        workers: trainings at once.
        candidates: of all generations.
        trainings: of these, one a learning rate.
        promoted: trainings after the search.
        tokens: training tokens of all of them.
        training_seconds: device seconds of the generations' trainings and of their validation.
        promotion_seconds: device seconds of promotion's.
        latency_seconds: device seconds of what is measured.
        seconds: from start to end, if nothing waits.
        disk_bytes: what stays in `results/`.
    """

    machine: str
    workers: int
    candidates: int
    trainings: int
    promoted: int
    tokens: int
    training_seconds: float
    promotion_seconds: float
    latency_seconds: float
    seconds: float
    disk_bytes: float

    @property
    def device_seconds(self) -> float:
        """Of everything."""
        return self.training_seconds + self.promotion_seconds + self.latency_seconds


def forecast(config: Config, samples: Sequence[Architecture], machine: Machine, workers: int) -> Forecast:
    """The forecast of a search whose candidates are like some samples of its space.

    What is bred later costs about what its parents do, so the mean of the samples stands for all. Devices that train
    one candidate share its work evenly. Further evaluators and starting processes are not counted.

    Args:
        config: the search's.
        samples: architectures of its space, at least one.
        machine: that trains.
        workers: trainings at once.
    """
    search, promote, rates = config.search, config.promote, len(config.recipe.learning_rates)
    many = config.execution.gpus_per_candidate
    training = _mean(samples, config.recipe, machine)
    again = config.promotion_recipe()
    baselines = [load_preset(name) for name in promote.baselines]
    params = float(np.mean([one.num_params() for one in samples]))
    # What is trained at every size, in trainings of the samples'.
    grown = 1 + sum(one.params for one in promote.grow) / params
    # Both splits are read of what is promoted.
    members = [_mean(samples, again, machine, splits=2)] * promote.top_k
    members = [one * grown for one in [*members, *(_mean([preset], again, machine, 2) for preset in baselines)]]
    latency = search.generations * search.population * _latency_seconds(config, samples, machine)
    latency += promote.members * config.latency.promotion_turns * _latency_seconds(config, samples, machine)
    trainings = search.generations * search.population * rates
    runs = promote.replicates * rates
    steps = trainings * config.recipe.all_steps + promote.members * runs * again.all_steps
    kept = len(members) * promote.replicates * params * grown
    # A generation ends with its last candidate, promotion with its longest member.
    rounds = search.generations * math.ceil(search.population * rates / workers) * training
    last = max(max(members, default=0.0), sum(members) * runs / workers)
    return Forecast(
        machine=machine.name,
        workers=workers,
        candidates=search.generations * search.population,
        trainings=trainings,
        promoted=promote.members * runs,
        tokens=trainings * config.recipe.all_tokens + promote.members * runs * again.all_tokens,
        training_seconds=trainings * training,
        promotion_seconds=sum(members) * runs,
        latency_seconds=latency,
        seconds=(rounds + last) / many + latency,
        disk_bytes=_BYTES_PER_REPORT
        + _BYTES_PER_SHARD * (1 + search.generations * config.num_shards())
        + _BYTES_PER_TRAINING * (trainings + promote.members * runs)
        + _BYTES_PER_STEP * steps
        + (_BYTES_PER_PARAM * kept if promote.keep_weights else 0),
    )


def _mean(samples: Sequence[Architecture], recipe: Recipe, machine: Machine, splits: int = 1) -> float:
    """Seconds of one training at one rate, in the mean, with what is read after each of its rungs."""
    model, precision = DurationModel(machine, recipe), recipe.resolved_precision
    size, length = recipe.batch_size, recipe.sequence_length
    batches = splits * len(recipe.budgets) * recipe.validation_tokens / (size * length)
    reading = [predict_seconds(one, machine, "prefill", size, length, precision) * batches for one in samples]
    return float(np.mean([model.seconds(one) + read for one, read in zip(samples, reading, strict=True)]))


def _latency_seconds(config: Config, samples: Sequence[Architecture], machine: Machine) -> float:
    """Seconds that measuring one candidate takes, in turns with the reference; nothing where it is predicted."""
    latency = config.latency
    if latency.source != "measured":
        return 0.0
    called = [load_preset(latency.reference), *samples]
    precision = config.recipe.resolved_precision
    total = 0.0
    for mode in latency.modes:
        seconds = [
            predict_seconds(one, machine, mode, latency.batch_size, latency.context, precision) for one in called
        ]
        total += 2 * latency.warmup_seconds + latency.repeats * (seconds[0] + float(np.mean(seconds[1:])))
    return total
