"""Extent: where the animal goes and how long it is, from its visual hull, without labels."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ..cameras import CameraRig
from ..shapes import cells
from ..volumes import Grid, hull, inside, overlap
from .foreground import Survey

NEARLY = 0.7  # a voxel belongs to the hull whose mean log vote is so near to the best one's
INNER = 0.98  # share of the hull's voxels that count: not its last corners
LONG = 0.75  # the longer of the poses: an animal stretches now and then
ROOM = 1.5  # side of the cube in which the hull is measured, in lengths


def region(
    survey: Survey, rig: CameraRig, margin: float = 1.25, samples: int = 64
) -> tuple[Tensor, float]:
    """A cube that holds the animal wherever it goes in the clip.

    Of some frames, the box of the voxels that nearly as many views see as foreground as the best
    one, in the cube where the views overlap. One frame in fifty may stick out at either end.

    Args:
        survey: of the clip, with thumbs.
        rig: its cameras.
        margin: how much wider than the box's widest axis.
        samples: frames that are looked at.

    Returns:
        Centre (3) and side, world units; of one uncalibrated camera, its whole picture.
    """
    middle, width = overlap(rig)
    if not rig.calibrated:
        return middle, width
    points = Grid(middle, width, 32).points.flatten(0, 2)
    ndc, lows, highs = rig.ndc_from_world(points), [], []
    for t in _spread(survey, samples):
        votes = hull(survey.thumbs[t, None, :, None].float() / 255, ndc[None], blur=3)[0]
        inner = points[votes > votes.max() - 0.5]
        lows.append(inner.amin(0))
        highs.append(inner.amax(0))
    low, high = torch.stack(lows).quantile(0.02, 0), torch.stack(highs).quantile(0.98, 0)
    return (low + high) / 2, float(margin * ((high - low).max() + width / 32))


def animal_length(survey: Survey, rig: CameraRig, samples: int = 30) -> float:
    """How long the animal is when it stretches, without labels.

    Twice the distance from the middle of its visual hull within which 98 of 100 of the hull's
    voxels lie, the longer of the poses (three in four are not longer). Its silhouettes say where
    to look; they alone would count a shadow, a mirror image in the floor and the noise of every
    view, on which the views do not agree in space. One uncalibrated camera has nothing else.

    Args:
        survey: of the clip; one without thumbs has measured it already.
        rig: its cameras.
        samples: frames that are looked at.

    Returns:
        World units.
    """
    if survey.length is not None:
        return survey.length
    times = _spread(survey, samples).split(8)
    outline = [_radius(survey.thumbs[some], survey.centre[some], rig) for some in times]
    length = 2 * float(torch.cat(outline).nanquantile(0.75, dim=1).nanquantile(LONG))
    if not rig.calibrated:
        return length
    for _ in range(3):  # a hull far smaller than the cube is measured again in a finer one
        wider = length
        each = [
            _hull_radius(survey.thumbs[some], Grid(survey.centre[some], ROOM * wider, 28), rig)
            for some in times
        ]
        length = 2 * float(torch.cat(each).quantile(LONG))
        if length > 0.8 * wider:
            break
    return length


def _hull_radius(thumbs: Tensor, grid: Grid, rig: CameraRig) -> Tensor:
    """Distance from the hull's middle within which `INNER` of it lies, (T,) world units."""
    points, n = grid.points.flatten(1, 3), grid.voxels
    ndc = rig.ndc_from_world(points)
    votes = hull(_without_specks(thumbs)[:, :, None], ndc, blur=3)
    votes = votes.masked_fill(inside(ndc).sum(1) < 2, math.log(0.02))
    best = votes.amax(1, keepdim=True)
    solid = _around((votes == best).view(-1, n, n, n), (votes > best - NEARLY).view(-1, n, n, n))
    solid = solid.flatten(1)
    middle = (solid[..., None] * points).sum(1) / solid.sum(1, keepdim=True)
    away, order = (points - middle[:, None]).norm(dim=-1).sort(-1)
    within = solid.gather(-1, order).cumsum(-1)
    last = (within >= INNER * within[:, -1:]).float().argmax(-1, keepdim=True)
    return away.gather(-1, last)[:, 0]


def _without_specks(thumbs: Tensor) -> Tensor:
    """Foreground (T, V, h, w) in [0, 1] without single pixels."""
    soft = thumbs.float() / 255
    return soft * (F.avg_pool2d(soft, 3, 1, 1) > 0.2)


def _around(seed: Tensor, solid: Tensor) -> Tensor:
    """What of `solid` (T, n, n, n) hangs together with the seed, gaps of one voxel too."""
    found, whole = seed.float()[:, None], solid.float()[:, None]
    for _ in range(3 * solid.shape[-1]):
        wider = F.max_pool3d(found, 5, 1, 2) * whole
        if torch.equal(wider, found):
            break
        found = wider
    return found[:, 0]


def _spread(survey: Survey, samples: int) -> Tensor:
    """At most so many times, evenly over the clip."""
    T = len(survey.thumbs)
    return torch.linspace(0, T - 1, min(samples, T)).long()


def _radius(thumbs: Tensor, centre: Tensor, rig: CameraRig) -> Tensor:
    """Distance from `centre` (T, 3) within which 19 of 20 foreground pixels lie, (T, V).

    World units; NaN: a view that does not see the animal.
    """
    sure = (thumbs > 127).flatten(2).float()
    depth = rig.cam_from_world(centre)[..., 2]
    half_width = (depth / rig.K[:, 0, 0, None] * rig.wh[0] / 2).T  # of an image there, (T, V)
    square = centre.new_tensor([1.0, rig.wh[1] / rig.wh[0]])
    pixels = cells(*thumbs.shape[2:]).flatten(0, 1)
    offset = (pixels - rig.ndc_from_world(centre).transpose(0, 1)[:, :, None]) * square
    away, order = (offset.norm(dim=-1) * half_width[..., None]).sort(-1)
    within = sure.gather(-1, order).cumsum(-1)
    last = (within >= 0.95 * within[..., -1:]).float().argmax(-1, keepdim=True)
    radius = away.gather(-1, last)[..., 0]
    return radius.masked_fill(within[..., -1] < 4, torch.nan)
