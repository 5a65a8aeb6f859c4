"""Checkpoints that do not know which layout wrote them: named flat vectors, of which every rank saves its pieces.

A checkpoint is a folder `step=00000123/` with `checkpoint.json` and one safetensors file for each rank that had
something to save. What lies beside it under another name is under way, or was left behind.
"""

from harmony_core.training.checkpoint.facts import check_same
from harmony_core.training.checkpoint.folders import committed
from harmony_core.training.checkpoint.piece import Piece
from harmony_core.training.checkpoint.reader import Checkpoint, newest, open_checkpoint
from harmony_core.training.checkpoint.writer import CheckpointWriter

__all__ = ["Checkpoint", "CheckpointWriter", "Piece", "check_same", "committed", "newest", "open_checkpoint"]
