"""What goes with a metric: the features by which a model tells it of candidates that it has not seen."""

from __future__ import annotations

import functools
import json
import math
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from harmony_core.architecture import Architecture
from harmony_core.base import canonical_json
from harmony_core.errors import UserError
from harmony_core.metrics import sign
from harmony_core.space import Space, sample
from harmony_core.space.encoding import Encoding
from harmony_core.space.strata import draw_strata
from harmony_core.store import POPULATION, Manifest, SearchFolder
from harmony_core.store.queries import scan
from harmony_core.ui.catalogue import Snapshot

# Below this held-out rank correlation a model says nothing of the metric, and its importances nothing of anything.
LEAST_SPEARMAN = 0.5
LEAST_CANDIDATES = 40
MOST_CANDIDATES = 1000
MOST_SHOWN = 20
_FOLDS, _TREES, _REPEATS, _PRIOR = 5, 80, 3, 200
_BEST_SHARE = 0.1
_LOG = "log_"
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Data:
    names: tuple[str, ...]
    features_NF: Floats
    values_N: Floats
    prior_PF: Floats | None


class Importances:
    """Answers by search and metric, found in one thread beside the server and kept while the search has not grown."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="importance")
        self._found: dict[tuple[str, str], tuple[int, Future[dict[str, Any]]]] = {}
        self._lock = threading.Lock()

    def get(self, folder: SearchFolder, manifest: Manifest, snapshot: Snapshot, name: str) -> dict[str, Any]:
        """What goes with a metric, or that it is being found; found again once a tenth more candidates are there.

        Args:
            folder: the search's.
            manifest: what it is.
            snapshot: its candidates.
            name: the metric's.
        """
        key, number = (str(folder.path), name), len(snapshot.rows)
        with self._lock:
            before = self._found.get(key)
            if before is None or (number > 1.1 * before[0] and before[1].done()):
                task = self._pool.submit(importance, folder, manifest, snapshot.rows, name)
                self._found[key] = (number, task)
            task = self._found[key][1]
        return task.result() if task.done() else {"state": "computing", "metric": name}


def importance(folder: SearchFolder, manifest: Manifest, rows: pl.DataFrame, name: str) -> dict[str, Any]:
    """Permutation importances (Breiman 2001, section 10) on held-out folds of extremely randomised trees.

    An importance is by how much the Spearman correlation between told and true values of held-out candidates falls
    where a feature's values are shuffled among them; its spread is over folds and shuffles. Equal rows give the same.

    Args:
        folder: the search's.
        manifest: what it is.
        rows: its candidates.
        name: the metric's.

    Returns:
        `state`: `found`, `not determined` or `impossible`, with `reason`; and where found, `features`, most important
        first: `name`, `importance`, `spread`, `direction` (the Spearman correlation of feature and metric), `best` and
        `prior`: its mean in the best tenth, and in samples of the space.
    """
    told: dict[str, Any] = {"metric": name}
    try:
        data = _gather(folder, manifest, rows, name)
    except UserError as error:
        return {**told, "state": "impossible", "reason": str(error)}
    if len(data.values_N) < LEAST_CANDIDATES:
        reason = f"{len(data.values_N)} candidates have it; {LEAST_CANDIDATES} are needed"
        return {**told, "state": "impossible", "reason": reason}
    correlation, drops_RF = _cross_validated(data)
    told |= {"candidates": len(data.values_N), "spearman": correlation, "least": LEAST_SPEARMAN}
    if not correlation >= LEAST_SPEARMAN:
        return {**told, "state": "not determined"}
    best_F = _means(data.names, data.features_NF[_best(data.values_N, name)])
    prior_F = None if data.prior_PF is None else _means(data.names, data.prior_PF)
    mean_F, spread_F = drops_RF.mean(axis=0), drops_RF.std(axis=0)
    order = np.argsort(-mean_F, kind="stable")[:MOST_SHOWN]
    features = [
        {
            **{"name": data.names[f].removeprefix(_LOG), "importance": mean_F[f].item(), "spread": spread_F[f].item()},
            **{"direction": _spearman(data.features_NF[:, f], data.values_N), "best": best_F[f]},
            "prior": None if prior_F is None else prior_F[f],
        }
        for f in order
        if mean_F[f] > 0
    ]
    return {**told, "state": "found", "features": features}


def _gather(folder: SearchFolder, manifest: Manifest, rows: pl.DataFrame, name: str) -> _Data:
    known = rows.filter(pl.col("status") == "ok", pl.col(name).is_not_null())
    known = known.select("generation", "candidate", "architecture_id", name)
    # Evenly from the beginning, which is the prior, to the end.
    known = known.gather_every(max(1, -(-len(known) // MOST_CANDIDATES)))
    paths = [folder.population(generation) for generation in known["generation"].unique().sort()]
    is_wanted = pl.col("architecture_id").is_in(known["architecture_id"].to_list())
    columns = ["generation", "candidate", "architecture_id", "architecture"]
    texts = scan(paths, POPULATION, columns, keep=is_wanted).select("generation", "candidate", "architecture").collect()
    joined = known.join(texts, on=["generation", "candidate"], how="inner", maintain_order="left")
    space = Space.read(manifest.config["space"])
    encoding = Encoding(space)
    # A block's own place is left out: where kinds stand in the mean says it with fewer features.
    kept = [index for index, one in enumerate(encoding.names) if not one[0].isdigit()]
    features, values = [], []
    for text, value in joined.select("architecture", name).iter_rows():
        architecture = Architecture.from_json(text)
        if space.structure_violations(architecture):
            # Presets may be in the first generation without being members of the space.
            continue
        features.append(encoding.vector(architecture)[kept])
        values.append(value)
    names = tuple(encoding.names[index] for index in kept)
    prior = None
    # A search of an older format was sampled otherwise.
    if manifest.migrated_from is None:
        prior = _prior(canonical_json(manifest.config["space"]), manifest.data["vocab_size"])[:, kept]
    features_NF = np.array(features, dtype=np.float64).reshape(len(features), len(kept))
    differs_F = np.ptp(features_NF, axis=0) > 0 if len(features) else np.ones(len(kept), dtype=bool)
    return _Data(
        tuple(one for one, differs in zip(names, differs_F, strict=True) if differs),
        features_NF[:, differs_F],
        np.array(values, dtype=np.float64),
        None if prior is None else prior[:, differs_F],
    )


@functools.lru_cache(maxsize=4)
def _prior(space_text: str, vocab_size: int) -> Floats:
    """The features of samples of a space, which is given as JSON."""
    space = Space.read(json.loads(space_text))
    encoding = Encoding(space)
    rng = np.random.default_rng(0)
    strata = draw_strata(_PRIOR, rng)
    return np.array([encoding.vector(sample(space, vocab_size, rng, one).architecture) for one in strata])


def _cross_validated(data: _Data) -> tuple[float, Floats]:
    """The Spearman correlation of held-out candidates, and its falls, [folds times repeats, F]."""
    from sklearn.ensemble import ExtraTreesRegressor

    rng = np.random.default_rng(0)
    number, width = data.features_NF.shape
    fold_N = rng.permutation(number) % _FOLDS
    told_N, drops = np.empty(number), []
    for fold in range(_FOLDS):
        held_N = fold_N == fold
        model = ExtraTreesRegressor(_TREES, min_samples_leaf=2, max_features=0.5, random_state=fold, n_jobs=1)
        model.fit(data.features_NF[~held_N], data.values_N[~held_N])
        held_HF, true_H = data.features_NF[held_N], data.values_N[held_N]
        told_N[held_N] = model.predict(held_HF)
        whole = _spearman(told_N[held_N], true_H)
        # All shuffles of a repetition are told in one call, which costs as much as its overhead.
        for _ in range(_REPEATS):
            shuffled_FHF = np.broadcast_to(held_HF, (width, *held_HF.shape)).copy()
            for feature in range(width):
                shuffled_FHF[feature, :, feature] = rng.permutation(held_HF[:, feature])
            told_FH = model.predict(shuffled_FHF.reshape(-1, width)).reshape(width, -1)
            drops.append([whole - _spearman(told_H, true_H) for told_H in told_FH])
    return _spearman(told_N, data.values_N), np.array(drops)


def _means(names: tuple[str, ...], features_NF: Floats) -> list[float]:
    """The mean of each feature; of what adds up over blocks, whose feature is log(1 + x), the geometric one."""
    means = features_NF.mean(axis=0).tolist()
    return [math.expm1(mean) if one.startswith(_LOG) else mean for one, mean in zip(names, means, strict=True)]


def _best(values_N: Floats, name: str) -> NDArray[np.int64]:
    """The best tenth of the candidates."""
    order_N: NDArray[np.int64] = np.argsort(values_N * sign(name), kind="stable")
    return order_N[: max(1, round(len(values_N) * _BEST_SHARE))]


def _spearman(first_N: Floats, second_N: Floats) -> float:
    """0 where one of them does not differ."""
    if np.ptp(first_N) == 0 or np.ptp(second_N) == 0:
        return 0.0
    # This takes half a second to import, which a start need not wait for.
    from scipy.stats import spearmanr

    return float(spearmanr(first_N, second_N).statistic)
