"""Camera footage: what every kind of it has, a video, parts of one, still images."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np


class Footage(Protocol):
    """What one camera recorded, whatever it lies in: a `Video`, or another class with these."""

    path: Path
    wh: tuple[int, int]  # (W, H) in pixels
    fps: float  # as the file says; 0: it does not say

    @property
    def seconds(self) -> np.ndarray | None:
        """(n,) presentation times, where the file has them."""

    def __len__(self) -> int: ...

    def read(self, start: int, stop: int, wh: tuple[int, int] | None = None) -> np.ndarray:
        """Frames start..stop-1, resized by area averaging.

        Args:
            start: the first frame.
            stop: one behind the last frame.
            wh: (W, H) in pixels; None: as recorded.

        Returns:
            (stop - start, H, W, 3) uint8 RGB.
        """
        ...
