"""Body-bound: do keypoints turn with the animal, or keep to the sides of the room? No labels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..clips.heading import rotated, twelfth, wrapped
from ..clips.heading_finder import SLOWEST
from ..clips.hull_motion import smooth_velocity
from ..shapes import shaped

LAG = 0.5  # seconds between the two figures whose turning is compared
TURNED = 0.35  # radians, from which a change of heading counts


@dataclass(frozen=True)
class BodyBound:
    """How far a track's figure is explained by the room, and how far by the animal's heading.

    Both shares are near 1 by construction where the volume follows a heading: they say that the
    keypoints turn, not that they are right. Labels decide, beside a `RigidTemplate`.
    """

    room: float  # share of the horizontal offsets explained by a place fixed in the room
    body: float  # the same by a place fixed in the body
    turning: float  # slope of the figure's own turning on the heading's: 1 with it, 0 not at all
    room_of: Tensor  # (K,) of each keypoint alone
    body_of: Tensor  # (K,)
    frames: int  # that were judged: fast ones
    directions: int  # of 12 in which they go

    @property
    def compass(self) -> bool:
        """Whether the figure keeps to the room rather than to the animal."""
        return self.room > self.body


def body_bound(
    world: Tensor,
    fps: float,
    fast: float,
    *,
    heading: Tensor | None = None,
    starts: tuple[int, ...] = (0,),
) -> BodyBound:
    """Shares of a track explained by room and body, and its turning.

    On frames in which the centre moves faster than `fast`, every heading weighted evenly (12
    directions): horizontal offsets o_k of each keypoint from their mean as complex numbers.
    R2 room = |E o_k|^2 / E |o_k|^2, R2 body the same of o_k exp(-i h). Turning: the slope of the
    figure's Procrustes angle over half a second on the change of heading, where that is more
    than 0.35 rad.

    Args:
        world: (T, K, 3) keypoints.
        fps: frames a second.
        fast: speed of the centre above which it tells the heading, world units per second.
        heading: (T,) radians; None: the direction of the centre's velocity.
        starts: times at which an unbroken stretch begins.

    Returns:
        The shares, together and of each keypoint; NaN where too little moves.
    """
    shaped(world, "T K 3", "world")
    centre = world.mean(1)
    velocity = smooth_velocity(centre[:, :2], fps, starts)
    h = torch.atan2(velocity[:, 1], velocity[:, 0]) if heading is None else heading
    quick = velocity.norm(dim=-1) > fast
    flat = (world - centre[:, None])[..., :2].double()
    offset = torch.complex(flat[..., 0], flat[..., 1])
    if quick.sum() < 2:
        return _untold(world.shape[1])
    power, room, body = explained(offset[quick], h[quick])
    each = power.clamp(min=1e-12)
    return BodyBound(
        float(room.sum() / each.sum()), float(body.sum() / each.sum()),
        turning=_turning(offset, h, quick, fps, starts),
        room_of=(room / each).float(), body_of=(body / each).float(),
        frames=int(quick.sum()), directions=len(twelfth(h[quick]).unique()),
    )  # fmt: skip


def explained(offset: Tensor, heading: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What a place in the room, and one in the body, explain of keypoints' offsets.

    Every heading weighs the same, of 12 directions.

    Args:
        offset: (n, K) complex, over the ground from the keypoints' mean.
        heading: (n,) radians.

    Returns:
        Mean square of the offsets, of what the room explains, of what the body explains, each (K,).
    """
    bins = twelfth(heading)
    weight = 1 / torch.bincount(bins, minlength=12)[bins].double()
    weight = (weight / weight.sum())[:, None]
    home = offset * torch.exp(-1j * heading.double())[:, None]
    room, body = ((weight * away).sum(0).abs().square() for away in (offset, home))
    return (weight * offset.abs().square()).sum(0), room, body


def usual_pace(world: Tensor, fps: float, starts: tuple[int, ...] = (0,)) -> float:
    """Half of the usual speed of a track's fast moments, sum v^3 / sum v^2: what counts as walking.

    For tracks of a recording of which nobody asked the heading, which knows its own.

    Args:
        world: (T, K, 3) keypoints.
        fps: frames a second.
        starts: times at which an unbroken stretch begins.

    Returns:
        World units per second, at least 0.15 widths of the figure.
    """
    speed = smooth_velocity(world.mean(1)[:, :2], fps, starts).norm(dim=-1).nan_to_num()
    some = world[:: max(1, len(world) // 300)]
    width = torch.cdist(some, some).flatten(1).amax(1).nanmedian()
    usual = speed.pow(3).sum() / speed.square().sum().clamp(min=1e-12)
    return max(SLOWEST * float(width), float(usual) / 2)


def _untold(keypoints: int) -> BodyBound:
    """Where too little moves."""
    nan, each = math.nan, torch.full((keypoints,), math.nan)
    return BodyBound(nan, nan, nan, room_of=each, body_of=each, frames=0, directions=0)


def _turning(
    offset: Tensor, heading: Tensor, quick: Tensor, fps: float, starts: tuple[int, ...]
) -> float:
    """Slope of the figure's turning on the heading's over `LAG` seconds."""
    lag = max(1, round(LAG * fps))
    stretch = torch.bucketize(torch.arange(len(heading)), torch.tensor(starts), right=True)
    both = quick[lag:] & quick[:-lag] & (stretch[lag:] == stretch[:-lag])
    turn = wrapped(heading[lag:] - heading[:-lag]).double()
    figure = torch.angle((offset[lag:] * offset[:-lag].conj()).sum(1))
    judged = both & (turn.abs() > TURNED)
    turn, figure = turn[judged], figure[judged]
    return float((turn * figure).sum() / turn.square().sum()) if len(turn) else math.nan


# ---- what a heading alone is worth ---------------------------------------------------------------
@dataclass(frozen=True)
class RigidTemplate:
    """A baseline without a network: centre, heading and a mean offset per joint.

    Without a heading (`fit(..., None)`) it is the centre and a mean offset in the room.
    """

    offset: Tensor  # (J, 3) world units, in the body's frame (x ahead)

    @classmethod
    def fit(cls, centre: Tensor, joints: Tensor, heading: Tensor | None) -> RigidTemplate:
        """Mean offsets of labelled joints.

        Args:
            centre: (T, 3) of the animal.
            joints: (T, J, 3), NaN where unknown.
            heading: (T,) radians, or None.

        Returns:
            The template.
        """
        away = joints - centre[:, None]
        away = away if heading is None else rotated(away, -heading)
        return cls(away.nanmean(0))

    def predict(self, centre: Tensor, heading: Tensor | None) -> Tensor:
        """The template at its place.

        Args:
            centre: (T, 3) of the animal.
            heading: (T,) radians, or None.

        Returns:
            (T, J, 3) joints.
        """
        away = self.offset.expand(len(centre), -1, -1)
        return centre[:, None] + (away if heading is None else rotated(away, heading))
