"""How weights start, and how fast each group of them learns. Pure configuration, no torch.

It belongs to a training and never to an architecture: an architecture's id is a function of weights, whatever they
begin as.
"""

from __future__ import annotations

from pydantic import Field

from harmony_core.base import Frozen


class Parametrisation(Frozen):
    """First values and rates that every operator can learn with; chosen by `benchmarks/pilot`.

    Matrices begin with a standard deviation of 1 / sqrt(fan-in), and learn at the recipe's rate.

    Args:
        embedding_std: standard deviation of the embedding's first values; a head of its own begins alike.
        residual_gain: matrices that write into the residual stream begin residual_gain / sqrt(blocks) times as large
            as the others. 1 is the rule of GPT-2 (Radford et al. 2019, section 2.3) and of mamba-ssm; 0 begins with
            blocks that add nothing.
        residual_rate: learning rate of those matrices over the others'. residual_gain 1 with a rate of
            1 / sqrt(blocks / base blocks) is the depth form of muP (Yang et al. 2023, arXiv:2310.02244, table 1).
        embedding_rate: learning rate of the embedding over the matrices'.
        vector_rate: the same of what is no matrix: norms, biases, short convolutions, decays and step sizes.
    """

    embedding_std: float = Field(default=0.02, gt=0, le=10)
    residual_gain: float = Field(default=0.5**0.5, ge=0, le=10)
    residual_rate: float = Field(default=1.0, gt=0, le=1000)
    embedding_rate: float = Field(default=1.0, gt=0, le=1000)
    vector_rate: float = Field(default=1.0, gt=0, le=1000)


DEFAULT = Parametrisation()
