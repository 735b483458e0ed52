"""Pose features: tracks as rows of numbers that a classifier reads, and what they are freed of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..clips.image_tracks import Track2D
from ..clips.tracks import Track

Frame = Literal["room", "body", "centroid"]
FRAMES = ("room", "body", "centroid")
FEATURES = ("keypoints", "confidence", "covariance")  # what a row may hold


@dataclass(frozen=True)
class PoseFeatures:
    """Rows (T, F) of a track.

    Attributes:
        parts: some of `FEATURES`, in this order; keypoints are always there.
        frame: where the coordinates are counted from. room: the image, or the world (as B-KinD
            does); body: the keypoints' mean, turned so that the pair of keypoints which lies
            farthest apart points the same way; centroid: nothing but that mean, which is the
            baseline that every claim about poses must beat.
        height: in space and in frame body, keep the height above the ground.
        pair: the two keypoints that tell the turn; None: `fitted` finds them.
    """

    parts: tuple[str, ...] = ("keypoints",)
    frame: Frame = "room"
    height: bool = True
    pair: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if odd := [part for part in self.parts if part not in FEATURES]:
            raise ValueError(f"features {odd[0]!r}; expected some of {', '.join(FEATURES)}")
        if self.frame not in FRAMES:
            raise ValueError(f"frame = {self.frame!r}; expected {', '.join(FRAMES)}")

    def fitted(self, tracks: list[Track] | list[Track2D]) -> PoseFeatures:
        """The features with the pair of keypoints that is farthest apart on average.

        Args:
            tracks: of the training part.

        Returns:
            Features that turn every track by the same pair.
        """
        if self.frame != "body" or self.pair is not None:
            return self
        ground = torch.cat([_points(track)[..., :2] for track in tracks])
        apart = (ground[:, :, None] - ground[:, None]).norm(dim=-1).nanmean(0)
        i, j = divmod(int(apart.argmax()), apart.shape[1])
        return PoseFeatures(self.parts, self.frame, height=self.height, pair=(i, j))

    def rows(self, track: Track | Track2D) -> np.ndarray:
        """A track as rows.

        Args:
            track: in space or in an image.

        Returns:
            (T, F) float32; unknown points are 0.

        Raises:
            ValueError: the track holds no covariance, or the turn is not fitted.
        """
        points = _points(track)
        columns = [self._placed(points).flatten(1)]
        if self.frame == "centroid":
            return torch.cat(columns, 1).nan_to_num().numpy().astype(np.float32)
        if "confidence" in self.parts:
            columns.append(track.confidence)
        if "covariance" in self.parts:
            columns.append(_spread(track).flatten(1))
        return torch.cat(columns, 1).nan_to_num().numpy().astype(np.float32)

    def _placed(self, points: Tensor) -> Tensor:
        """Points (T, K, D) in the frame that was chosen; of the centroid (T, 1, D)."""
        middle = points.nanmean(1, keepdim=True)
        if self.frame == "room":
            return points
        if self.frame == "centroid":
            return middle
        if self.pair is None:
            raise ValueError(
                "features in the body's frame are fitted first: PoseFeatures(...).fitted(tracks)"
            )
        i, j = self.pair
        along = torch.nan_to_num(points[:, j, :2] - points[:, i, :2])
        angle = torch.atan2(along[:, 1], along[:, 0])
        c, s = angle.cos()[:, None], angle.sin()[:, None]
        x, y = (points[..., :2] - middle[..., :2]).unbind(-1)
        turned = torch.stack([c * x + s * y, c * y - s * x], -1)
        if points.shape[-1] == 2:
            return turned
        z = points[..., 2:] if self.height else points[..., 2:] - middle[..., 2:]
        return torch.cat([turned, z], -1)


def _points(track: Track | Track2D) -> Tensor:
    """(T, K, 3) in the world's unit, or (T, K, 2) as shares of the image's width and height."""
    if isinstance(track, Track2D):
        return track.px / track.px.new_tensor(track.wh)
    return track.world


def _spread(track: Track | Track2D) -> Tensor:
    """(T, K, 3) of an image, in squared shares of its sides; (T, K, 6) of a volume."""
    covariance = track.covariance
    if covariance is None:
        raise ValueError(
            "the track holds no covariance; track the recording again, or leave it out of the "
            "features"
        )
    if isinstance(track, Track2D):
        side = covariance.new_tensor(track.wh)
        covariance = covariance / (side[:, None] * side)
    D = covariance.shape[-1]
    i, j = torch.triu_indices(D, D)
    return covariance[..., i, j]
