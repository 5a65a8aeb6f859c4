"""MAD: six synthetic tasks that probe what an architecture can do (Poli et al. 2024, arXiv:2403.17844, section 3).

Generators, the paper's settings and protocol, the models that are trained, and how; docs/mad.md tells what differs from
the authors' own code. What is imported here needs no torch.
"""

from harmony_core.mad.examples import IGNORED, Examples, Split, make_examples
from harmony_core.mad.task import MadTask, Mode, task_class, task_names
from harmony_core.mad.tasks import (
    Compression,
    FuzzyRecall,
    InContextRecall,
    Memorisation,
    NoisyRecall,
    SelectiveCopying,
)

__all__ = [
    "IGNORED",
    "Compression",
    "Examples",
    "FuzzyRecall",
    "InContextRecall",
    "MadTask",
    "Memorisation",
    "Mode",
    "NoisyRecall",
    "SelectiveCopying",
    "Split",
    "make_examples",
    "task_class",
    "task_names",
]
