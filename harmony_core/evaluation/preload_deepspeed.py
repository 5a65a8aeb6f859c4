"""What a warm worker has imported where candidates are spread over ranks: `preload` and DeepSpeed."""

from __future__ import annotations

import gc

import harmony_core.evaluation.preload  # noqa: F401
from harmony_core.training.engine import import_deepspeed

import_deepspeed()
gc.collect()
gc.freeze()
