"""Tracks: keypoints over time, with their names and bones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..files import write_atomically


@dataclass(frozen=True)
class Skeleton:
    """Names of K points and the (E, 2) pairs of them that are joined by a bone.

    `colours` are #rrggbb of the points, if somebody chose them.
    """

    names: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    colours: tuple[str, ...] = ()


@dataclass(frozen=True)
class Track:
    """Keypoints over time: world (T, K, 3) in the rig's unit, confidence (T, K) in [0, 1]."""

    world: Tensor
    confidence: Tensor
    skeleton: Skeleton
    fps: float
    unit: str = "mm"

    def save(self, path: str | Path) -> Path:
        """Write the track to a file, whole or not at all.

        Args:
            path: `.npz`, or `.csv`: one row a frame, with frame, time_s, then x, y, z, confidence
                of each keypoint.

        Returns:
            The path.
        """
        path = Path(path)
        return self._save_npz(path) if path.suffix == ".npz" else self._save_csv(path)

    def _save_npz(self, path: Path) -> Path:
        arrays: dict[str, Any] = dict(
            positions=self.world.numpy(),
            confidence=self.confidence.numpy(),
            names=np.array(self.skeleton.names),
            edges=np.array(self.skeleton.edges, np.int64).reshape(-1, 2),
            fps=self.fps,
            unit=self.unit,
        )
        return write_atomically(path, lambda temporary: np.savez_compressed(temporary, **arrays))

    def _save_csv(self, path: Path) -> Path:
        frame = torch.arange(len(self.world), dtype=torch.float64)
        columns = torch.cat([self.world, self.confidence[..., None]], -1).flatten(1).double()
        table = torch.cat([frame[:, None], frame[:, None] / self.fps, columns], 1).numpy()
        names, axes = self.skeleton.names, ("x", "y", "z", "confidence")
        header = ",".join(["frame", "time_s"] + [f"{name}_{a}" for name in names for a in axes])
        formats = ["%d", "%.4f"] + ["%.6g", "%.6g", "%.6g", "%.4f"] * len(names)
        return write_atomically(
            path, lambda file: np.savetxt(file, table, formats, ",", header=header, comments="")
        )
