"""Hull agreement: is the whole of every silhouette where the other views say that the animal is?

The centres of silhouettes say little of a camera that is turned about its axis, or whose lens is
forgotten, while the animal is in the middle of the picture. The shape says more: a pixel of a
silhouette is explained if somewhere along its ray all other views see the animal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor

from ..cameras import CameraRig, triangulate
from ..sliding import largest
from .calibration_faults import Fault, Sightings, Suspect, swapped

SHAPE_MOMENTS = 6  # frames looked at
SHAPE_PIXELS = 60  # of a silhouette
DEPTHS = 24  # along a ray
SHAPE_REACH = 1.2  # of the silhouette's own extent, before and behind its middle
MOST_PAIRS = 6  # of cameras, that are tried for being swapped
OTHERS_ASKED = 6  # views that each view asks
# A suspect leaves less than this share of what is not explained, and so much less at least.
CLEARER, GAINED = 0.6, 0.03


class _Looks(NamedTuple):
    """What some moments show, at the size of the thumbnails; the same whatever the calibration."""

    near: Tensor  # (T, V, h, w) bool: silhouettes, grown by a pixel
    px: Tensor  # (V, T, P, 2) pixels of the silhouettes
    centres: Tensor  # (T, V, 2)
    valid: Tensor  # (T, V) bool
    wh: tuple[int, int]


def _looks(rig: CameraRig, thumbs: Tensor, sightings: Sightings) -> _Looks | None:
    """Some moments at which two views see a whole silhouette; None if there are none."""
    whole = (sightings.valid.sum(1) >= 2).nonzero()[:, 0]
    if not len(whole):
        return None
    times = whole[torch.linspace(0, len(whole) - 1, min(SHAPE_MOMENTS, len(whole))).long()]
    wh, mask = (thumbs.shape[3], thumbs.shape[2]), thumbs[times] > 127
    near = largest(mask.float(), 3) > 0
    centres = sightings.px[times] * (torch.tensor(wh) / torch.tensor(rig.wh))
    px, valid = _sampled(mask), sightings.valid[times]
    return _Looks(near=near, px=px, centres=centres, valid=valid, wh=wh)


def hull_misfits(rig: CameraRig, thumbs: Tensor, sightings: Sightings) -> Tensor:
    """The share of each view's silhouette that the other views do not explain.

    Of many cameras each asks `OTHERS_ASKED` others, spread evenly, so that this grows with their
    number and not with its square.

    Args:
        rig: V cameras, at any size of the images.
        thumbs: (T, V, h, w) foreground, 0 to 255.
        sightings: of these silhouettes, in the rig's pixels.

    Returns:
        (V,) means over some frames, 0 to 1; NaN where a view has none.
    """
    looks = _looks(rig, thumbs, sightings)
    if looks is None:
        return torch.full((rig.views,), torch.nan)
    return _unexplained(rig, looks, range(rig.views))


def _others(views: int, view: int) -> list[int]:
    """Whom a view asks; they ask it, too."""
    if views <= OTHERS_ASKED + 1:
        return [v for v in range(views) if v != view]
    return [
        (view + round(k * views / (OTHERS_ASKED + 1))) % views for k in range(1, OTHERS_ASKED + 1)
    ]


def _unexplained(rig: CameraRig, looks: _Looks, views: Sequence[int]) -> Tensor:
    """The share of some views' silhouettes that those whom they ask do not explain."""
    small, valid = rig.resized(looks.wh), looks.valid
    middle = triangulate(small, looks.centres[:, :, None], valid.float()[..., None])[:, 0]
    shares, sampled = [], looks.px[list(views)]
    origins, directions = small.take(views).ray_from_px(sampled.flatten(1, 2))
    for v, px, origin, rays in zip(views, sampled, origins, directions.view(*sampled.shape[:3], 3)):
        asked = _others(rig.views, v)
        far = (middle - origin).norm(dim=-1)
        focal = small.K[v, :2, :2].det().abs().sqrt()
        extent = (px.amax(1) - px.amin(1)).norm(dim=-1) / focal * far
        depth = far[:, None] + torch.linspace(-SHAPE_REACH, SHAPE_REACH, DEPTHS) * extent[:, None]
        points = origin + rays[:, :, None] * depth[:, None, :, None]  # (T, P, D, 3)
        met = _met(small.take(asked), looks.near[:, asked], points, valid[:, asked])
        explained = met.any(-1).float().mean(1)
        shares.append(torch.where(valid[:, v], 1 - explained, torch.nan).nanmean())
    return torch.stack(shares)


def _sampled(mask: Tensor) -> Tensor:
    """Some pixels of each silhouette (T, V, h, w), (V, T, P, 2); its corner where there is none."""
    out = torch.zeros(mask.shape[1], mask.shape[0], SHAPE_PIXELS, 2)
    for t in range(mask.shape[0]):
        for v in range(mask.shape[1]):
            rows, columns = mask[t, v].nonzero().T
            if len(rows):
                some = torch.linspace(0, len(rows) - 1, SHAPE_PIXELS).long()
                out[v, t] = torch.stack([columns[some], rows[some]], -1) + 0.5
    return out


def _met(rig: CameraRig, near: Tensor, points: Tensor, use: Tensor) -> Tensor:
    """Which points (T, P, D, 3) all the views in `use` (T, V) see in `near` (T, V, h, w).

    A view that does not see a point at all has no say; one at least must see it.
    """
    T, P, D, _ = points.shape
    seen = rig.px_from_world(points.reshape(-1, 3)).view(rig.views, T, P, D, 2)
    inside = ((seen >= 0) & (seen < seen.new_tensor(rig.wh))).all(-1)
    x, y = (seen[..., i].clamp(0, rig.wh[i] - 1).long() for i in (0, 1))
    views = torch.arange(rig.views)[:, None, None, None]
    hit = near[torch.arange(T)[:, None, None], views, y, x] & inside
    asked = use.T[:, :, None, None]
    return (hit | ~inside | ~asked).all(0) & (hit & asked).any(0)


# ---- what would explain it -----------------------------------------------------------------------
def _turned_pictures(rig: CameraRig, views: Sequence[int], A: Tensor) -> CameraRig:
    """The rig if the pictures of some views were seen through A (3, 3), in corner-origin pixels."""
    K = rig.K.clone()
    K[list(views)] = A @ K[list(views)]
    return replace(rig, K=K)


def _turns(rig: CameraRig) -> dict[str, Tensor]:
    """What may have been done to pictures, and where that takes a pixel."""
    W, H = rig.wh
    turns = {
        "upside down": [[-1.0, 0, W], [0, -1, H], [0, 0, 1]],
        "mirrored": [[-1.0, 0, W], [0, 1, 0], [0, 0, 1]],
    }
    if W == H:  # of other shapes the size tells
        turns["turned by 90 degrees clockwise"] = [[0.0, -1, H], [1, 0, 0], [0, 0, 1]]
        turns["turned by 90 degrees counterclockwise"] = [[0.0, 1, 0], [-1, 0, W], [0, 0, 1]]
    return {name: torch.tensor(rows) for name, rows in turns.items()}


def _shape_faults(rig: CameraRig) -> Iterator[Fault]:
    turn = "turn it back (or take the turn out of its file), or calibrate it as it is"
    everyone = range(rig.views)
    for what, A in _turns(rig).items():
        yield Fault(f"all videos are {what}", turn, _turned_pictures(rig, everyone, A))
        for v, name in enumerate(rig.names):
            yield Fault(f"the video of {name} is {what}", turn, _turned_pictures(rig, [v], A))
    for v, name in enumerate(rig.names):
        if rig.distortion[v].any():
            lens = rig.distortion.clone()
            lens[v] = 0
            told = f"the video of {name} is undistorted already"
            yield Fault(told, "set its distortions to 0", replace(rig, distortion=lens))
    pairs = list(combinations(everyone, 2))
    for i, j in pairs if len(pairs) <= MOST_PAIRS else ():
        told = f"cameras {rig.names[i]} and {rig.names[j]} are swapped"
        yield Fault(
            told, "swap their names in the calibration, or their videos", swapped(rig, i, j)
        )


def _concerned(rig: CameraRig, other: CameraRig) -> list[int]:
    """Views that are seen otherwise by another rig, and those that ask them."""
    pairs = ((getattr(rig, key), getattr(other, key)) for key in ("K", "R", "t", "distortion"))
    moved = torch.stack([(a != b).flatten(1).any(1) for a, b in pairs]).any(0)
    views = {int(v) for v in moved.nonzero()[:, 0]}
    return sorted(views.union(*(_others(rig.views, v) for v in views)))


def shape_suspects(
    rig: CameraRig, thumbs: Tensor, sightings: Sightings
) -> tuple[Tensor, list[Suspect]]:
    """What is not explained of the silhouettes, and mistakes without which clearly more were.

    Args:
        rig: V cameras.
        thumbs: (T, V, h, w) foreground, 0 to 255.
        sightings: of these silhouettes, in the rig's pixels.

    Returns:
        `hull_misfits`, and the suspects, likeliest first; none if the calibration fits as it is.
    """
    looks = _looks(rig, thumbs, sightings)
    if looks is None:
        return torch.full((rig.views,), torch.nan), []
    given = _unexplained(rig, looks, range(rig.views))
    mean, found = float(given.nanmean()), []
    if not mean > GAINED:
        return given, []
    for fault in _shape_faults(rig):
        concerned, without = _concerned(rig, fault.rig), given.clone()
        without[concerned] = _unexplained(fault.rig, looks, concerned)
        left = float(without.nanmean())
        if left < CLEARER * mean and mean - left > GAINED:
            found.append(Suspect(fault.name, fault.remedy, left))
    return given, sorted(found, key=lambda suspect: suspect.misfit)
