"""The lines that tell how far a search is."""

from __future__ import annotations

from harmony_core.metrics import LATENCY, metric
from harmony_core.progress import Failure, GenerationProgress, UnderWay
from harmony_core.store import Manifest
from harmony_core.store.evaluators import TRAINING_TABLE
from harmony_core.terminal.format import count, seconds, value_text
from harmony_core.terminal.lines import prepared


def stage(progress: GenerationProgress) -> str:
    """A generation or promotion, open or finished, in a line."""
    name = "promotion" if progress.generation is None else f"generation {progress.generation}"
    if progress.closed:
        return f"{name}: closed, {progress.left_out}"
    if progress.finished:
        tally = [f"{progress.done - progress.failed} evaluated", f"{progress.failed} failed"]
    else:
        tally = _tally(progress)
    found = [] if progress.generation is None else _found(progress)
    left_out = [progress.left_out] if progress.left_out else []
    return f"{name}: {', '.join([*tally, *found, *left_out])}"


def under_way(progress: GenerationProgress) -> list[str]:
    """A line a training that runs now, and one for those that are not shown."""
    told = [_training(one) for one in progress.under_way]
    rest = (progress.running or 0) - len(told)
    return [*told, *([f"  ... and {rest} more"] if told and rest > 0 else [])]


def _training(one: UnderWay) -> str:
    replicate = f" replicate {one.run.replicate}" if one.run.replicate else ""
    rate = f" learning rate {one.run.rate}" if one.run.rate else ""
    parts = [f"  candidate {one.candidate} ({one.architecture_id[:8]}){replicate}{rate}"]
    if one.curve is None or not one.curve.points:
        return f"{parts[0]}: starting"
    parts += [f"step {one.steps_done}/{one.curve.num_steps}", f"loss {one.curve.points[-1][2]:.3f}"]
    if one.curve.tokens_per_second is not None:
        parts.append(f"{count(one.curve.tokens_per_second)} tokens/s")
    return f"{parts[0]}: {', '.join(parts[1:])}"


def failure(failed: Failure) -> str:
    """A candidate that failed, with its whole error."""
    result = failed.result
    where = "promotion" if failed.generation is None else f"generation {failed.generation}"
    who = f"candidate {result.candidate} ({result.architecture_id[:8]})"
    error = " ".join((result.error or "").split())
    return f"{where}, {who}: {failed.stage} {result.status}: {error}"


def begun(name: str, manifest: Manifest) -> str:
    """What is searched; markup."""
    found, wanted = manifest.data["source"], manifest.config["data"]["source"]
    return prepared(name, manifest) + ("" if found == wanted else f" ({found} in place of {wanted})")


def duration(value: float) -> str:
    """A time as people say it: `40 s`, `12 min`, `3.5 h`, `2.1 days`; never more exact than an estimate is."""
    if value < 60:
        # This rounds to ten seconds, and never to none.
        return f"{max(10, 10 * round(value / 10))} s"
    if value < 90 * 60:
        return f"{round(value / 60)} min"
    if value < 36 * 3600:
        return f"{value / 3600:.1f} h"
    return f"{value / 86400:.1f} days"


def _tally(progress: GenerationProgress) -> list[str]:
    parts = [f"{progress.done}/{progress.total} done"]
    if progress.running is not None and progress.done < progress.total:
        parts += [f"{progress.running} running", f"{progress.queued} queued"]
    if progress.done == progress.total and progress.measured is not None:
        parts.append(f"{progress.measured} measured")
    return [*parts, f"{progress.failed} failed"]


def _found(progress: GenerationProgress) -> list[str]:
    standing = progress.standing
    if not standing.best:
        if progress.least_loss is not None:
            return [_best(TRAINING_TABLE.metrics[0], progress.least_loss, "")]
        return ["nothing evaluated yet" if not progress.finished else "nothing trained"]
    mode = standing.config.latency.objective
    best = [_best(name, value, mode) for name, value in standing.best.items()]
    front = [f"front of {standing.front_size}"] if progress.finished else []
    # While the first generation runs there may be no frame yet for the hypervolume.
    volume = [] if standing.hypervolume is None else [f"hypervolume {standing.hypervolume:.4f}"]
    return [*best, *front, *volume]


def _best(name: str, value: float, mode: str) -> str:
    """The best value of an objective; each may be another candidate's."""
    declared = metric(name)
    if name == LATENCY:
        return f"fastest {mode} {seconds(value)}"
    word = "best" if declared.format == "decimal" else "least" if declared.sign > 0 else "most"
    return f"{word} {value_text(declared, value)} {declared.heading}"
