"""Measures what a candidate costs to run, in turns with the reference: a train step, a prefill, one decoded token."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch

from harmony_core.architecture import Architecture
from harmony_core.evaluation.config import LatencyConfig
from harmony_core.evaluation.interleaved import MOST_MEASUREMENTS, STEADY, Measurement, relative_time
from harmony_core.evaluation.latency_row import NOT_MEASURED
from harmony_core.host import host_name
from harmony_core.models import HybridLM, build, keep_freed_memory
from harmony_core.training.device import device_for_training
from harmony_core.training.precision import autocast
from harmony_core.training.process import device_name, is_out_of_memory

# Warm-up is over when the last calls agree this well, or when its time is up.
_STABLE_CALLS, _STABLE_SPREAD = 4, 0.05
# A measurement lasts at least this long. The system takes cores away for some milliseconds at a time, which is many
# calls of a small model's decoding and less than one of its prefill.
_LEAST_SECONDS = 0.4

Call = Callable[[], None]


def run(payload: dict[str, Any]) -> dict[str, Any]:
    """Measures the payload's architecture in every mode; the answer holds one row a mode.

    Args:
        payload: `architecture` and `reference` (JSON text), `latency` (its configuration), `precision`,
            `row` (columns known before).
    """
    keep_freed_memory()
    config = LatencyConfig.parse(payload["latency"])
    device = device_for_training()
    return {"rows": [_measure_mode(payload, config, mode, device) for mode in config.modes]}


def _measure_mode(payload: dict[str, Any], config: LatencyConfig, mode: str, device: torch.device) -> dict[str, Any]:
    started, begin = datetime.now(UTC).isoformat(), time.monotonic()
    known = {
        **payload["row"],
        "mode": mode,
        "device": device_name(device),
        "host": host_name(),
        "started_at": started,
    }
    try:
        # Each mode makes them anew: training steps change the weights, and with them the experts' loads.
        candidate, reference = (
            Bench(Architecture.from_json(payload[name]), config, payload["precision"], device)
            for name in ("architecture", "reference")
        )
        figures = measure(candidate.call(mode), reference.call(mode), config.repeats, config.warmup_seconds, device)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        told = {"status": "out_of_memory", "error": str(error), "kernel_paths": ""}
        return {**known, **NOT_MEASURED, **told, "seconds": time.monotonic() - begin}
    paths = ", ".join(candidate.model.kernel_paths())
    return {
        **known,
        **figures,
        "status": "ok",
        "error": None,
        "kernel_paths": paths,
        "seconds": time.monotonic() - begin,
    }


class Bench:
    """An architecture with random weights and tokens, ready to be called in each mode.

    Args:
        architecture: what is measured.
        config: batch size and context.
        precision: `fp32`, or `bf16` for autocast.
        device: where.
    """

    def __init__(self, architecture: Architecture, config: LatencyConfig, precision: str, device: torch.device) -> None:
        self.model: HybridLM = build(architecture, init_seed=0).to(device)
        self._config, self._device, self._precision = config, device, precision
        generator = torch.Generator().manual_seed(0)
        shape = (config.batch_size, config.context + 1)
        self._tokens_BT = torch.randint(architecture.vocab_size, shape, generator=generator).to(device)

    def call(self, mode: str) -> Call:
        """One call of a mode.

        `train` is a whole optimiser step (forward, backward, clipping, AdamW) without DeepSpeed's engine,
        `prefill` a forward pass, `decode` one token a sequence with `context` - 1 in the cache.
        """
        return {"train": self._train, "prefill": self._prefill, "decode": self._decode}[mode]()

    def _train(self) -> Call:
        groups = self.model.parameter_groups(1e-4, 0.1, "none", self.model.architecture.d_model)
        optimizer = torch.optim.AdamW(groups, lr=1e-4, fused=True)

        def step() -> None:
            with autocast(self._device, self._precision):
                terms = self.model.loss(self._tokens_BT[:, :-1], self._tokens_BT[:, 1:])
            terms.total.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            self.model.after_step()

        return step

    def _prefill(self) -> Call:
        self.model.eval()

        def forward() -> None:
            with torch.inference_mode(), autocast(self._device, self._precision):
                self.model(self._tokens_BT[:, :-1])

        return forward

    def _decode(self) -> Call:
        self.model.eval()
        last = self._config.context - 1
        state = self.model.init_state(self._config.batch_size, self._config.context)

        def step(position: int) -> None:
            # Every call decodes the same position, so that the cache keeps the length that was asked for.
            state.position = position
            with torch.inference_mode(), autocast(self._device, self._precision):
                self.model.step(self._tokens_BT[:, position], state)

        for position in range(last):
            step(position)
        return lambda: step(last)


def measure(
    call: Call, reference: Call, repeats: int, warmup_seconds: float, device: torch.device
) -> dict[str, float | int | bool | None]:
    """Times a call in turns with the reference: both warm until stable, then so many calls of each at least.

    While the reference moves by more than a tenth it is all done again, a bounded number of times.

    Args:
        call: one pass of the candidate.
        reference: the same pass of the reference.
        repeats: calls of the candidate that each measurement times at least.
        warmup_seconds: most time that each may take to become stable.
        device: that both run on; it is waited for before a clock is read.

    Returns:
        Columns of `schemas.LATENCY`: seconds a call (median, 10th and 90th percentile), and of the reference
        (median); the candidate's time over the reference's; how many calls counted, how many warmed up, how many
        measurements that took; by how much the reference moved in the last one, and whether that was too much.
    """
    warmups = warm_up(call, warmup_seconds, device)
    warm_up(reference, warmup_seconds, device)
    done: list[Measurement] = []
    while not done or (done[-1].movement > STEADY and len(done) < MOST_MEASUREMENTS):
        done.append(in_turns(call, reference, repeats, device))
    times = [taken for one in done for taken in one.times]
    reference_times = [taken for one in done for taken in one.reference_times]
    p10, median, p90 = np.percentile(times, [10, 50, 90])
    return {
        "seconds_median": float(median),
        "seconds_p10": float(p10),
        "seconds_p90": float(p90),
        "relative": relative_time(done),
        # The shard fills this in, since it knows the search's reference.
        "latency_seconds": None,
        "repeats": len(times),
        "warmups": warmups,
        "measurements": len(done),
        "reference_seconds_median": float(np.median(reference_times)),
        "reference_movement": done[-1].movement,
        "marked": done[-1].movement > STEADY,
    }


def in_turns(call: Call, reference: Call, repeats: int, device: torch.device) -> Measurement:
    """One measurement: a call of the reference before each of the candidate, and one after the last.

    Args:
        call: one pass of the candidate.
        reference: the same pass of the reference.
        repeats: calls of the candidate, at least; short ones are called more often.
        device: that both run on.
    """
    times: list[float] = []
    reference_times = [seconds(reference, device)]
    while len(times) < repeats or sum(times) + sum(reference_times) < _LEAST_SECONDS:
        times.append(seconds(call, device))
        reference_times.append(seconds(reference, device))
    return Measurement(times, reference_times)


def warm_up(call: Call, limit_seconds: float, device: torch.device) -> int:
    """Calls until the last few times agree or time is up.

    Args:
        call: one pass.
        limit_seconds: most time; the few calls that are compared are made even beyond it.
        device: that it runs on.

    Returns:
        How many calls that took.
    """
    deadline = time.monotonic() + limit_seconds
    times: list[float] = []
    while time.monotonic() < deadline or len(times) < _STABLE_CALLS:
        times.append(seconds(call, device))
        last = times[-_STABLE_CALLS:]
        if len(last) == _STABLE_CALLS and max(last) <= (1 + _STABLE_SPREAD) * min(last):
            break
    return len(times)


def seconds(call: Call, device: torch.device) -> float:
    """Wall time of one call, the device's queue drained before and after."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    begin = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begin
