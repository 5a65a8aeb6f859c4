"""What may be searched: domains, constraints, sampling, mutation, crossover. Imports no torch."""

from harmony_core.space.block_space import BlockSpace
from harmony_core.space.constraints import Constraints
from harmony_core.space.crossover import crossover
from harmony_core.space.enumeration import every_architecture, num_architectures
from harmony_core.space.ledger import Ledger
from harmony_core.space.limits import Depth, Range
from harmony_core.space.mutation import mutate
from harmony_core.space.mutations import MUTATIONS
from harmony_core.space.proposing import SpaceExhausted, propose
from harmony_core.space.sampling import sample
from harmony_core.space.space import Space
from harmony_core.space.variation import DeadEnd, Variation

__all__ = [
    "MUTATIONS",
    "BlockSpace",
    "Constraints",
    "DeadEnd",
    "Depth",
    "Ledger",
    "Range",
    "Space",
    "SpaceExhausted",
    "Variation",
    "crossover",
    "every_architecture",
    "mutate",
    "num_architectures",
    "propose",
    "sample",
]
