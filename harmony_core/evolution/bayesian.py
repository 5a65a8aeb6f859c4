"""Which of some points promises most by a Gaussian process on noisy results: qLogNEI over BoTorch, the extra `bo`.

N points seen, M that are open, P proposed whose results are not there yet, F features. BoTorch brings torch along, so
it is imported where it is asked for.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harmony_core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

# Draws of the posterior that the acquisition is a mean over (Sobol points, so few are needed).
_DRAWS = 128
# A fit whose optimiser fails begins anew from the prior; of all that end, the best counts.
_FITS = 4


def require_botorch(field: str) -> None:
    """Refuses what needs BoTorch where it is not installed.

    Raises:
        UserError: under the name of the field that asks for it.
    """
    if importlib.util.find_spec("botorch") is None:
        fix = "needs botorch; pip install 'harmony-search[bo]', or use picks: random"
        raise UserError(field, "bayesian", fix)


def most_promising(
    seen_NF: NDArray[np.float64],
    merits_N: NDArray[np.float64],
    open_MF: NDArray[np.float64],
    pending_PF: NDArray[np.float64],
    seed: int,
) -> int:
    """The open point of the largest logarithm of noisy expected improvement.

    The model is BoTorch's SingleTaskGP with its RBF kernel, one length scale a feature, noise included (Ament et al.
    2023, arXiv:2310.20708; Composer, arXiv:2510.00379). All chance is from `seed`, on one thread; torch's
    own generator and threads are as before afterwards.

    Args:
        seen_NF: float64, features of what was evaluated.
        merits_N: float64, what came of it; higher is better.
        open_MF: float64, features of what may be chosen; at least one row.
        pending_PF: float64, features of what was chosen already and is not evaluated yet; may have no rows.
        seed: of the fits' restarts and of the posterior's draws.

    Returns:
        The number of the row; of equals the first.
    """
    import torch

    scaled = _scaled(seen_NF, open_MF, pending_PF)
    with _alone(seed):
        seen, choices, pending = (torch.from_numpy(one) for one in scaled)
        values_M = _acquisition(seen, torch.from_numpy(merits_N), choices, pending, seed)
    return int(values_M.argmax())


def _acquisition(seen_NF: Tensor, merits_N: Tensor, open_MF: Tensor, pending_PF: Tensor, seed: int) -> Tensor:
    """The acquisition's value of every open point, float64 [M]."""
    from botorch.acquisition.logei import qLogNoisyExpectedImprovement
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import SingleTaskGP
    from botorch.models.transforms import Standardize
    from botorch.sampling.normal import SobolQMCNormalSampler
    from gpytorch.mlls import ExactMarginalLogLikelihood
    from torch import Size

    model = SingleTaskGP(seen_NF, merits_N[:, None], outcome_transform=Standardize(m=1))
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model), max_attempts=_FITS)
    acquisition = qLogNoisyExpectedImprovement(
        model,
        X_baseline=seen_NF,
        sampler=SobolQMCNormalSampler(Size([_DRAWS]), seed=seed),
        X_pending=pending_PF if len(pending_PF) else None,
    )
    values_M: Tensor = acquisition(open_MF[:, None, :])
    return values_M.detach()


def _scaled(*tables: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Every feature from 0 to 1 over all tables, without those that are the same everywhere."""
    whole = np.concatenate(tables)
    low_F, span_F = whole.min(0), np.ptp(whole, axis=0)
    varying_F = span_F > 0
    return [(table[:, varying_F] - low_F[varying_F]) / span_F[varying_F] for table in tables]


@contextlib.contextmanager
def _alone(seed: int) -> Iterator[None]:
    """torch with a generator of its own and one thread, which order no sums by how many cores there are."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
