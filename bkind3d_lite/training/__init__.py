"""Training: the loop, tracking with what it has learned, checkpoints, memory, and diagnostics."""

from .checkpoints import load, resume, save
from .loop import Run, Step, batches, begin, train
from .tracking import track

__all__ = ["Run", "Step", "batches", "begin", "load", "resume", "save", "track", "train"]
