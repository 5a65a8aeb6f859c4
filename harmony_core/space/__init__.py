"""What may be searched: domains, constraints, sampling, mutation, crossover. Imports no torch."""

from harmony_core.space.block_space import BlockSpace
from harmony_core.space.constraints import Constraints
from harmony_core.space.crossover import cross_once, crossover
from harmony_core.space.encoding import Encoding
from harmony_core.space.enumeration import every_architecture, num_architectures
from harmony_core.space.ledger import Ledger
from harmony_core.space.limits import Depth, Grid, Range
from harmony_core.space.mutation import mutate, mutations_of
from harmony_core.space.mutations import MUTATIONS
from harmony_core.space.prior import (
    Composition,
    composition,
    composition_rows,
    prior_samples,
    prior_text,
    space_prior,
)
from harmony_core.space.proposing import SpaceExhausted, propose
from harmony_core.space.repair import Edit, repair
from harmony_core.space.sampling import NoSample, sample
from harmony_core.space.space import Space
from harmony_core.space.strata import Stratum, draw_strata
from harmony_core.space.variation import DeadEnd, Variation, accept

__all__ = [
    "MUTATIONS",
    "BlockSpace",
    "Composition",
    "Constraints",
    "DeadEnd",
    "Depth",
    "Edit",
    "Encoding",
    "Grid",
    "Ledger",
    "NoSample",
    "Range",
    "Space",
    "SpaceExhausted",
    "Stratum",
    "Variation",
    "accept",
    "composition",
    "composition_rows",
    "cross_once",
    "crossover",
    "draw_strata",
    "every_architecture",
    "mutate",
    "mutations_of",
    "num_architectures",
    "prior_samples",
    "prior_text",
    "propose",
    "repair",
    "sample",
    "space_prior",
]
