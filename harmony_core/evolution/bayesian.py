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
    from botorch.models import SingleTaskGP
    from torch import Tensor

# Draws of the posterior that the acquisition is a mean over (Sobol points, so few are needed).
_DRAWS = 128
# A fit whose optimiser fails begins anew, from a draw of the prior, at most so often.
_FITS = 4


def require_botorch(field: str) -> None:
    """Refuses what needs BoTorch where it is not installed.

    Raises:
        UserError: under the name of the field that asks for it.
    """
    if importlib.util.find_spec("botorch") is None:
        fix = "needs botorch; pip install 'harmony-search[bo]', or use picks: random"
        raise UserError(field, "bayesian", fix)


class Surrogate:
    """A Gaussian process on what was seen, asked for the largest logarithm of noisy expected improvement.

    It is BoTorch's SingleTaskGP with its RBF kernel, one length scale a feature, noise included (Ament et al. 2023,
    arXiv:2310.20708; Composer, arXiv:2510.00379). All chance is from seeds, on one thread; torch's own generator and
    threads are as before afterwards.

    Args:
        seen_NF: float64, features of what was evaluated.
        merits_N: float64, what came of it; higher is better.
        open_MF: float64, features of all that may be chosen, at least one row; every feature is scaled by the range
            that it has over these and what was seen.
        seed: of the fit's further attempts.
    """

    def __init__(
        self,
        seen_NF: NDArray[np.float64],
        merits_N: NDArray[np.float64],
        open_MF: NDArray[np.float64],
        seed: int,
    ) -> None:
        import torch

        whole = np.concatenate([seen_NF, open_MF])
        self._low_F, span_F = whole.min(0), np.ptp(whole, axis=0)
        self._varying_F = span_F > 0
        self._span_F = np.where(self._varying_F, span_F, 1.0)
        self._seen_NF = self._scaled(seen_NF)
        with _alone(seed):
            self._model = _fitted(self._seen_NF, torch.from_numpy(merits_N))

    def best(self, open_MF: NDArray[np.float64], pending_PF: NDArray[np.float64], seed: int) -> int:
        """The number of the most promising row; of equals the first.

        Args:
            open_MF: float64, features of what may be chosen now; at least one row.
            pending_PF: float64, features of what was chosen already and is not evaluated yet; may have no rows.
            seed: of the posterior's draws.
        """
        from botorch.acquisition.logei import qLogNoisyExpectedImprovement
        from botorch.sampling.normal import SobolQMCNormalSampler
        from torch import Size

        with _alone(seed):
            acquisition = qLogNoisyExpectedImprovement(
                self._model,
                X_baseline=self._seen_NF,
                sampler=SobolQMCNormalSampler(Size([_DRAWS]), seed=seed),
                X_pending=self._scaled(pending_PF) if len(pending_PF) else None,
            )
            return int(acquisition(self._scaled(open_MF)[:, None, :]).detach().argmax())

    def _scaled(self, table: NDArray[np.float64]) -> Tensor:
        """Every feature from 0 to 1, without those that are the same everywhere."""
        import torch

        return torch.from_numpy(((table - self._low_F) / self._span_F)[:, self._varying_F])


def _fitted(seen_NF: Tensor, merits_N: Tensor) -> SingleTaskGP:
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import SingleTaskGP
    from botorch.models.transforms import Standardize
    from gpytorch.mlls import ExactMarginalLogLikelihood

    model = SingleTaskGP(seen_NF, merits_N[:, None], outcome_transform=Standardize(m=1))
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model), max_attempts=_FITS)
    return model


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
