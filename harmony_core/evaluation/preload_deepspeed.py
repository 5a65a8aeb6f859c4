"""What a warm worker has imported where candidates are spread over ranks: `preload` and DeepSpeed."""

from __future__ import annotations

from harmony_core.evaluation.preload import freeze
from harmony_core.training.engine import import_deepspeed

import_deepspeed()
freeze()
