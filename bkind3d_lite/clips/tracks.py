"""Tracks: keypoints over time, with their names and bones, and which way the animal faces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..files import write_atomically
from ..shapes import shaped
from .heading import rotated

# the words that travel with the numbers
EGOCENTRIC = (
    "x ahead along the heading, y to the animal's left, z up as in the world; same unit. heading h "
    "in radians about the world's z axis, from its x axis towards y, tail to head. "
    "world x = origin x + x cos h - y sin h, world y = origin y + x sin h + y cos h, world z = z"
)
COVARIANCE = (  # columns of a CSV, and where they stand in the matrix
    ("var_x", 0, 0),
    ("var_y", 1, 1),
    ("var_z", 2, 2),
    ("cov_xy", 0, 1),
    ("cov_xz", 0, 2),
    ("cov_yz", 1, 2),
)
ORIGIN = "mean x and y of the frame's known keypoints in the world; z = 0"


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
    """Keypoints over time, and the animal's heading where the recording tells it.

    Attributes:
        world: (T, K, 3) in the rig's unit, z up.
        confidence: (T, K) in [0, 1].
        skeleton: names and bones of the keypoints.
        fps: frames a second.
        unit: of the world.
        heading: (T,) radians about z, from the world's x axis towards y, tail to head; None:
            not known.
        heading_confidence: (T,) in [0, 1]: that the true heading is within 90 degrees.
        covariance: (T, K, 3, 3) units squared, of each keypoint's heatmap in the volume; None: not
            known.
        numbers: (T,) of the frames in their recording; None: 0 to T - 1.
        seconds: (T,) float64, when the frames were; None: by number and fps.
    """

    world: Tensor
    confidence: Tensor
    skeleton: Skeleton
    fps: float
    unit: str = "mm"
    heading: Tensor | None = None
    heading_confidence: Tensor | None = None
    covariance: Tensor | None = None
    numbers: Tensor | None = None
    seconds: Tensor | None = None

    def __post_init__(self) -> None:
        for name in ("heading", "heading_confidence", "numbers", "seconds"):
            values = getattr(self, name)
            if values is not None:
                shaped(values, f"{len(self.world)}", name)

    @property
    def clock(self) -> dict[str, Any]:
        """`numbers` and `seconds` (T,) of the frames, whether somebody told them or not."""
        return told_time(len(self.world), self.fps, self.numbers, self.seconds)

    @property
    def origin(self) -> Tensor:
        """The middle of `egocentric`, (T, 3): mean x and y of a frame's known keypoints, z = 0."""
        return self.world.nanmean(1) * self.world.new_tensor([1.0, 1.0, 0.0])

    def egocentric(self) -> Tensor:
        """The keypoints as the animal has them about itself; `allocentric` is the way back.

        Returns:
            (T, K, 3) in the track's unit: x ahead along the heading, y to the left, both from
            `origin`; z is the world's.

        Raises:
            ValueError: the track knows no heading.
        """
        if self.heading is None:
            raise ValueError("the track knows no heading, so it has no egocentric coordinates")
        return rotated(self.world - self.origin[:, None], -self.heading)

    def at(self, times: Sequence[int] | Tensor) -> Track:
        """The track at these times alone.

        Args:
            times: (n,) rows, in their order.

        Returns:
            A track of n rows; its frames a second are those of the usual step.
        """
        times = torch.as_tensor(times)
        step = max(1, int(times.diff().median())) if len(times) > 1 else 1
        kept = ("world", "confidence", "heading", "heading_confidence", "covariance")
        rows: dict[str, Any] = {
            name: None if (v := getattr(self, name)) is None else v[times] for name in kept
        }
        rows |= {name: value[times] for name, value in self.clock.items()}
        return replace(self, fps=self.fps / step, **rows)

    def save(self, path: str | Path) -> Path:
        """Write the track to a file, whole or not at all.

        Args:
            path: `.npz`, or `.csv`: one row a frame, with frame (its number in the recording),
                time_s, then x, y, z, confidence of each keypoint. Where the heading is known,
                heading_rad, heading_confidence, origin_x, origin_y follow the time, and `ahead` and
                `left` of each keypoint end the row: its egocentric x and y (z is the same). Where
                the covariance is known, its six numbers (var_x, ..., cov_yz) of each keypoint come
                last, in units squared.

        Returns:
            The path.
        """
        path = Path(path)
        return self._save_npz(path) if path.suffix == ".npz" else save_table(path, self._columns())

    def _save_npz(self, path: Path) -> Path:
        arrays: dict[str, Any] = dict(
            positions=self.world.numpy(),
            confidence=self.confidence.numpy(),
            names=np.array(self.skeleton.names),
            edges=np.array(self.skeleton.edges, np.int64).reshape(-1, 2),
            fps=self.fps,
            unit=self.unit,
            frame=self.clock["numbers"].numpy(),
            time=self.clock["seconds"].numpy(),
        )
        if self.heading is not None:
            arrays |= dict(heading=self.heading.numpy(), origin=self.origin.numpy())
            arrays |= dict(egocentric=self.egocentric().numpy(), egocentric_means=EGOCENTRIC)
        if self.heading_confidence is not None:
            arrays |= dict(heading_confidence=self.heading_confidence.numpy())
        if self.covariance is not None:
            arrays |= dict(covariance=self.covariance.numpy())
        return write_atomically(path, lambda temporary: np.savez_compressed(temporary, **arrays))

    def _columns(self) -> Iterator[tuple[str, str, Tensor]]:
        """Name, format and values (T,) of each column of the CSV."""
        clock = self.clock
        yield from (("frame", "%d", clock["numbers"]), ("time_s", "%.4f", clock["seconds"]))
        if self.heading is not None:
            yield "heading_rad", "%.6f", self.heading
        if self.heading_confidence is not None:
            yield "heading_confidence", "%.4f", self.heading_confidence
        if self.heading is not None:
            yield from ((f"origin_{a}", "%.6g", self.origin[:, i]) for i, a in enumerate("xy"))
        for k, name in enumerate(self.skeleton.names):
            yield from ((f"{name}_{a}", "%.6g", self.world[:, k, i]) for i, a in enumerate("xyz"))
            yield f"{name}_confidence", "%.4f", self.confidence[:, k]
        if self.heading is not None:
            own = self.egocentric()
            for k, name in enumerate(self.skeleton.names):
                yield f"{name}_ahead", "%.6g", own[:, k, 0]
                yield f"{name}_left", "%.6g", own[:, k, 1]
        if self.covariance is not None:
            for k, name in enumerate(self.skeleton.names):
                for word, i, j in COVARIANCE:
                    yield f"{name}_{word}", "%.6g", self.covariance[:, k, i, j]


def save_table(path: Path, columns: Iterable[tuple[str, str, Tensor]]) -> Path:
    """Write a CSV with a row a frame, whole or not at all.

    Args:
        path: the file.
        columns: name, format and values (T,) of each.

    Returns:
        The path.
    """
    names, formats, values = zip(*columns)
    table, header = torch.stack([v.double() for v in values], 1).numpy(), ",".join(names)
    return write_atomically(
        path, lambda file: np.savetxt(file, table, formats, ",", header=header, comments="")
    )


def told_time(
    length: int, fps: float, numbers: Tensor | None, seconds: Tensor | None
) -> dict[str, Any]:
    """Numbers and times of frames, whether they are told or not.

    Args:
        length: how many frames.
        fps: frames a second.
        numbers: (length,) in their recording; None: from 0 on.
        seconds: (length,) when they were; None: number / fps.

    Returns:
        `numbers`, int64, and `seconds`, float64.
    """
    numbers = torch.arange(length) if numbers is None else numbers.long()
    return dict(numbers=numbers, seconds=numbers.double() / fps if seconds is None else seconds)


def read_time(data: np.lib.npyio.NpzFile) -> dict[str, Any]:
    """`numbers` and `seconds` of a file that `save` wrote; {}: of an earlier version.

    Args:
        data: the opened file.

    Returns:
        Tensors by the names that tracks have for them.
    """
    names = {"numbers": "frame", "seconds": "time"}
    return {name: torch.from_numpy(data[key]) for name, key in names.items() if key in data}


def allocentric(points: Tensor, origin: Tensor, heading: Tensor) -> Tensor:
    """Egocentric coordinates back in the world: what undoes `Track.egocentric`.

    Args:
        points: (T, K, 3): x ahead, y to the left, z up.
        origin: (T, 3) in the world, of the track that they come from.
        heading: (T,) radians of that track.

    Returns:
        (T, K, 3) world points.
    """
    return rotated(points, heading) + origin[:, None]
