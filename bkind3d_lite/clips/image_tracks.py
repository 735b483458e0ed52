"""Image tracks: keypoints over time in one camera's picture; no calibration is needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..files import write_atomically
from ..image_plane import UNIT, image_plane, plane_points
from ..shapes import shaped
from .tracks import Skeleton, Track, read_time, save_table, told_time


@dataclass(frozen=True)
class Track2D:
    """Keypoints over time in the images of one camera.

    Attributes:
        px: (T, K, 2) x, y in pixels; (0, 0) is the image's upper left corner, the first pixel's
            centre is (0.5, 0.5).
        confidence: (T, K) in [0, 1], of the package: geometric mean of peak and spread.
        skeleton: names and bones of the keypoints.
        fps: frames a second.
        wh: (W, H) in pixels of the images.
        camera: its name.
        covariance: (T, K, 2, 2) in pixels squared, of each keypoint's heatmap.
        peak: (T, K) largest share of one cell of the heatmap, which is B-KinD's confidence; it
            depends on the map's size.
        numbers: (T,) of the frames in their recording; None: 0 to T - 1.
        seconds: (T,) float64, when the frames were; None: by number and fps.
    """

    px: Tensor
    confidence: Tensor
    skeleton: Skeleton
    fps: float
    wh: tuple[int, int]
    camera: str = "camera"
    covariance: Tensor | None = None
    peak: Tensor | None = None
    numbers: Tensor | None = None
    seconds: Tensor | None = None

    def __post_init__(self) -> None:
        T, K, _ = shaped(self.px, "T K 2", "px").shape
        shaped(self.confidence, f"{T} {K}", "confidence")
        if self.covariance is not None:
            shaped(self.covariance, f"{T} {K} 2 2", "covariance")

    def __len__(self) -> int:
        return len(self.px)

    @property
    def clock(self) -> dict[str, Any]:
        """`numbers` and `seconds` (T,) of the frames, whether somebody told them or not."""
        return told_time(len(self), self.fps, self.numbers, self.seconds)

    def at(self, times: Sequence[int] | Tensor) -> Track2D:
        """The track at these times alone.

        Args:
            times: (n,) rows, in their order.

        Returns:
            A track of n rows; its frames a second are those of the usual step.
        """
        times = torch.as_tensor(times)
        step = max(1, int(times.diff().median())) if len(times) > 1 else 1
        kept = ("px", "confidence", "covariance", "peak")
        rows: dict[str, Any] = {
            name: None if (v := getattr(self, name)) is None else v[times] for name in kept
        }
        rows |= {name: value[times] for name, value in self.clock.items()}
        return replace(self, fps=self.fps / step, **rows)

    def on_plane(self) -> Track:
        """The same as points of the camera's `image_plane`, for all that takes a `Track`."""
        world = plane_points(image_plane(self.camera, self.wh), self.px.flatten(0, 1)[None])
        points = world.unflatten(0, self.px.shape[:2])
        about = dict(fps=self.fps, unit=UNIT, **self.clock)
        return Track(points, self.confidence, self.skeleton, **about)

    def save(self, path: str | Path) -> Path:
        """Write the track to a file, whole or not at all.

        Args:
            path: `.npz`, or `.csv`: one row a frame, with frame, time_s, then x, y, confidence of
                each keypoint, and where they are known var_x, var_y, cov_xy, in pixels squared.

        Returns:
            The path.
        """
        path = Path(path)
        if path.suffix != ".npz":
            return save_table(path, self._columns())
        arrays: dict[str, Any] = dict(
            px=self.px.numpy(),
            confidence=self.confidence.numpy(),
            names=np.array(self.skeleton.names),
            edges=np.array(self.skeleton.edges, np.int64).reshape(-1, 2),
            fps=self.fps,
            wh=np.array(self.wh),
            camera=self.camera,
            frame=self.clock["numbers"].numpy(),
            time=self.clock["seconds"].numpy(),
        )
        known = {"covariance": self.covariance, "peak": self.peak}
        arrays |= {name: value.numpy() for name, value in known.items() if value is not None}
        return write_atomically(path, lambda temporary: np.savez_compressed(temporary, **arrays))

    def _columns(self) -> Iterator[tuple[str, str, Tensor]]:
        """Name, format and values (T,) of each column of the CSV."""
        clock = self.clock
        yield from (("frame", "%d", clock["numbers"]), ("time_s", "%.4f", clock["seconds"]))
        for k, name in enumerate(self.skeleton.names):
            yield from ((f"{name}_{a}", "%.6g", self.px[:, k, i]) for i, a in enumerate("xy"))
            yield f"{name}_confidence", "%.4f", self.confidence[:, k]
            if self.covariance is not None:
                for word, i, j in (("var_x", 0, 0), ("var_y", 1, 1), ("cov_xy", 0, 1)):
                    yield f"{name}_{word}", "%.6g", self.covariance[:, k, i, j]


def track2d_of(data: np.lib.npyio.NpzFile) -> Track2D:
    """The track that `Track2D.save` wrote as `.npz`.

    Args:
        data: the opened file.

    Returns:
        A float32 track.
    """
    more = {n: torch.from_numpy(data[n]).float() for n in ("covariance", "peak") if n in data}
    more |= read_time(data)
    edges = tuple((int(a), int(b)) for a, b in data["edges"])
    width, height = (int(x) for x in data["wh"])
    return Track2D(
        px=torch.from_numpy(data["px"]).float(),
        confidence=torch.from_numpy(data["confidence"]).float(),
        skeleton=Skeleton(tuple(str(n) for n in data["names"]), edges),
        fps=float(data["fps"]),
        wh=(width, height),
        camera=str(data["camera"]),
        **more,
    )
