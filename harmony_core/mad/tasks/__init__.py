"""The tasks, one a file; importing this fills the registry."""

from harmony_core.mad.tasks.compression import Compression
from harmony_core.mad.tasks.fuzzy_recall import FuzzyRecall
from harmony_core.mad.tasks.in_context_recall import InContextRecall
from harmony_core.mad.tasks.memorisation import Memorisation
from harmony_core.mad.tasks.noisy_recall import NoisyRecall
from harmony_core.mad.tasks.selective_copying import SelectiveCopying

__all__ = ["Compression", "FuzzyRecall", "InContextRecall", "Memorisation", "NoisyRecall", "SelectiveCopying"]
