"""Pose features: tracks as rows of numbers that a classifier reads, and what they are freed of."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..clips.image_tracks import Track2D
from ..clips.tracks import Track

Frame = Literal["room", "body", "centroid"]
FRAMES = ("room", "body", "centroid")
FEATURES = ("keypoints", "confidence", "covariance")  # what a row may hold
ROUNDS = 10  # of turning all frames onto their mean shape


@dataclass(frozen=True)
class BodyFigure:
    """The keypoints' shape on average over the ground: all of them together tell the turn.

    Attributes:
        arms: (K,) complex, from the shape's middle, weighted: how much each keypoint has to say. A
            tail that swings has little.
    """

    arms: Tensor

    @classmethod
    def of(cls, offset: Tensor) -> BodyFigure:
        """Frames turned onto their mean (generalized Procrustes), again and again.

        Args:
            offset: (T, K) complex, over the ground from the keypoints' mean; NaN: not known.

        Returns:
            Their figure; it begins with the two keypoints that are farthest apart along x.
        """
        apart = (offset[:, :, None] - offset[:, None]).abs().nanmean(0).nan_to_num()
        i, j = divmod(int(apart.argmax()), apart.shape[1])
        turn = torch.angle((offset[:, j] - offset[:, i]).nan_to_num())
        share = torch.full_like(apart[0], 1 / len(apart))
        for _ in range(ROUNDS):
            home = offset * torch.exp(-1j * turn)[:, None]
            shape = torch.view_as_complex(torch.view_as_real(home).nanmean(0)).nan_to_num()
            away = home - shape
            away = away - (share * away).nan_to_num().sum(1, keepdim=True)
            loose = away.abs().square().nanmean(0)
            weight = (1 / (loose + 0.1 * loose.nanmean() + 1e-12)).nan_to_num()
            share = weight / weight.sum()
            figure = cls(share * (shape - (share * shape).sum()))
            turn = figure.turn(offset)
        return figure

    def turn(self, offset: Tensor) -> Tensor:
        """How far every frame is turned from the figure.

        Args:
            offset: (T, K) complex, as of `of`.

        Returns:
            (T,) radians.
        """
        return torch.angle((offset * self.arms.conj()).nan_to_num().sum(1))


@dataclass(frozen=True)
class PoseFeatures:
    """Rows (T, F) of a track.

    Attributes:
        parts: some of `FEATURES`, in this order; keypoints are always there.
        frame: where the coordinates are counted from. room: the image, or the world (as B-KinD
            does); body: the keypoints' mean, turned onto a figure; centroid: nothing but that mean,
            which is the baseline that every claim about poses must beat.
        height: in space and in frame body, keep the height above the ground.
        figure: the shape that tells the turn; None: `fitted` finds it.
    """

    parts: tuple[str, ...] = ("keypoints",)
    frame: Frame = "room"
    height: bool = True
    figure: BodyFigure | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if odd := [part for part in self.parts if part not in FEATURES]:
            raise ValueError(f"features {odd[0]!r}; expected some of {', '.join(FEATURES)}")
        if self.frame not in FRAMES:
            raise ValueError(f"frame = {self.frame!r}; expected {', '.join(FRAMES)}")

    def fitted(self, tracks: list[Track] | list[Track2D]) -> PoseFeatures:
        """The features with the figure that the keypoints make on average.

        Args:
            tracks: of the training part.

        Returns:
            Features that turn every track onto the same figure.
        """
        if self.frame != "body" or self.figure is not None:
            return self
        offset = torch.cat([_offsets(self._points(track)) for track in tracks])
        return replace(self, figure=BodyFigure.of(offset))

    def rows(self, track: Track | Track2D) -> np.ndarray:
        """A track as rows.

        Args:
            track: in space or in an image.

        Returns:
            (T, F) float32; unknown points are 0.

        Raises:
            ValueError: the track holds no covariance, or the turn is not fitted.
        """
        columns = [self._placed(self._points(track)).flatten(1)]
        if self.frame == "centroid":
            return torch.cat(columns, 1).nan_to_num().numpy().astype(np.float32)
        if "confidence" in self.parts:
            columns.append(track.confidence)
        if "covariance" in self.parts:
            columns.append(_spread(track).flatten(1))
        return torch.cat(columns, 1).nan_to_num().numpy().astype(np.float32)

    def _points(self, track: Track | Track2D) -> Tensor:
        """(T, K, 3) in the world's unit, or (T, K, 2) as shares of the image's width and height.

        What is turned keeps its shape: of the longer side alone.
        """
        if isinstance(track, Track):
            return track.world
        side = max(track.wh) if self.frame == "body" else track.px.new_tensor(track.wh)
        return track.px / side

    def _placed(self, points: Tensor) -> Tensor:
        """Points (T, K, D) in the frame that was chosen; of the centroid (T, 1, D)."""
        middle = points.nanmean(1, keepdim=True)
        if self.frame == "room":
            return points
        if self.frame == "centroid":
            return middle
        if self.figure is None:
            raise ValueError(
                "features in the body's frame are fitted first: PoseFeatures(...).fitted(tracks)"
            )
        offset = _offsets(points)
        home = offset * torch.exp(-1j * self.figure.turn(offset))[:, None]
        turned = torch.view_as_real(home).to(points.dtype)
        if points.shape[-1] == 2:
            return turned
        z = points[..., 2:] if self.height else points[..., 2:] - middle[..., 2:]
        return torch.cat([turned, z], -1)


def _offsets(points: Tensor) -> Tensor:
    """(T, K) complex, over the ground or in the image, from the keypoints' mean."""
    flat = points[..., :2] - points[..., :2].nanmean(1, keepdim=True)
    return torch.view_as_complex(flat.double().contiguous())


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
