"""Hull motion: shape and way of the animal's visual hull, frame by frame, without labels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..cameras import CameraRig
from ..volumes import Grid, hull, inside
from . import survey as surveys
from .clip import MultiViewClip, Survey
from .extent import animal_length

MOMENT = 0.1  # seconds of which the evidence is one piece
REACH = 0.75  # animal lengths about the hull's middle within which its shape counts
SMOOTH = 0.25  # seconds, Gaussian, over which velocity is measured


@dataclass(frozen=True)
class HullMotion:
    """Shape and way of the visual hull in every frame: what a heading is made of."""

    middle: Tensor  # (T, 3) world units
    covariance: Tensor  # (T, 3, 3) of the hull about its middle, in squared world units
    velocity: Tensor  # (T, 2) of the middle over the ground, animal lengths per second
    change: Tensor  # (T,) of the foreground since `MOMENT` ago, a share of its mean area
    length: float  # of the animal, world units

    @property
    def axis(self) -> Tensor:
        """Elongation e and doubled direction a of the long axis, (T, 2): e (cos 2 a, sin 2 a)."""
        xx, yy, xy = (self.covariance[:, i, j] for i, j in ((0, 0), (1, 1), (0, 1)))
        return torch.stack([xx - yy, 2 * xy], -1) / (xx + yy).clamp(min=1e-9)[:, None]

    @property
    def speed(self) -> Tensor:
        """(T,) animal lengths per second."""
        return self.velocity.norm(dim=-1)

    @property
    def way(self) -> Tensor:
        """Direction of the velocity, (T,) radians."""
        return torch.atan2(self.velocity[:, 1], self.velocity[:, 0])


def hull_motion(clip: MultiViewClip, survey: Survey, length: float | None = None) -> HullMotion:
    """Second moments and velocity of the visual hull, some frames at a time.

    Args:
        clip: the recording; its frames are decoded where the survey kept no thumbnails.
        survey: of the clip.
        length: of the animal in world units; None: measured (with thumbnails).

    Returns:
        Shape and way in every frame.
    """
    length = length or animal_length(survey, clip.rig)
    shapes, changes, gap, t = [], [], max(1, round(MOMENT * clip.fps)), 0
    before = None
    for thumbs in _foregrounds(clip, survey):
        whole = thumbs if before is None else torch.cat([before, thumbs])
        changes.append(_change(whole, gap)[-len(thumbs) :])
        before = whole[-gap:]
        for some in thumbs.split(32):
            shapes.append(_moments(some, survey.centre[t : t + len(some)], clip.rig, length))
            t += len(some)
    middle, covariance = (torch.cat(x) for x in zip(*shapes))
    velocity = smooth_velocity(middle[:, :2], clip.fps, clip.starts) / length
    change = torch.cat(changes)
    return HullMotion(middle, covariance, velocity, change=change, length=length)


def _change(thumbs: Tensor, gap: int) -> Tensor:
    """Change of thumbnails (n, V, h, w) since `gap` frames ago, a share of their area, (n,)."""
    area = torch.stack([x.float().mean() for x in thumbs])
    difference = [(a.float() - b.float()).abs().mean() for a, b in zip(thumbs[gap:], thumbs)]
    change = torch.stack(difference) if difference else area[:0]
    first = change[:1] if len(change) else area.new_ones(1)
    change = torch.cat([first.expand(len(thumbs) - len(change)), change])
    return change / area.mean().clamp(min=1e-6)


def _foregrounds(clip: MultiViewClip, survey: Survey) -> Iterator[Tensor]:
    """Thumbnails (n, V, h, w), kept by the survey or made again."""
    if len(survey.thumbs) == len(clip):
        return iter(survey.thumbs.split(512))
    return surveys._thumbs(clip, survey)


def _moments(
    thumbs: Tensor, centre: Tensor, rig: CameraRig, length: float
) -> tuple[Tensor, Tensor]:
    """Middle (n, 3) and covariance (n, 3, 3) of the soft hull within `REACH` of its middle."""
    points = Grid(centre, 2 * length, 20).points.flatten(1, 3)
    ndc = rig.ndc_from_world(points)
    votes = hull(thumbs[:, :, None].float() / 255, ndc, blur=3)
    votes = votes.masked_fill(inside(ndc).sum(1) < 2, math.log(0.02))
    soft, middle = (4 * votes).softmax(-1), centre
    for _ in range(3):
        near = soft * ((points - middle[:, None]).norm(dim=-1) < REACH * length)
        near = near / near.sum(1, keepdim=True).clamp(min=1e-12)
        middle = (near[..., None] * points).sum(1)
    away = points - middle[:, None]
    return middle, torch.einsum("tp,tpi,tpj->tij", near, away, away)


def smooth_velocity(
    place: Tensor, fps: float, starts: tuple[int, ...] = (0,), sigma: float = SMOOTH
) -> Tensor:
    """Slope of the straight line that fits each moment's neighbours best, weighted by a Gaussian.

    Args:
        place: (T, D) over time.
        fps: frames a second.
        starts: times at which an unbroken stretch begins; no line crosses one.
        sigma: of the Gaussian, seconds.

    Returns:
        (T, D) per second; 0 where a stretch is a single frame.
    """
    radius = max(1, math.ceil(3 * sigma * fps))
    when = torch.arange(-radius, radius + 1) / fps
    weight = torch.exp(-0.5 * (when / sigma) ** 2)
    kernels = torch.stack([weight, weight * when, weight * when**2])[:, None]
    out = []
    for part in place.tensor_split(list(starts[1:])):
        part = part - part.mean(0)
        rows = torch.cat([torch.ones_like(part[:, :1]), part], 1).T[:, None]  # (1 + D, 1, n)
        sums = F.conv1d(rows, kernels, padding=radius)  # (1 + D, 3, n)
        (s0, s1, s2), x0, x1 = sums[0], sums[1:, 0], sums[1:, 1]
        spread = s0 * s2 - s1 * s1
        slope = (s0 * x1 - s1 * x0) / spread.clamp(min=1e-12)
        out.append(torch.where(spread > 1e-9, slope, torch.zeros_like(slope)).T)
    return torch.cat(out)
