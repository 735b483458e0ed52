"""Hull agreement: is the whole of every silhouette where the other views say that the animal is?

The centres of silhouettes say little of a camera that is turned about its axis, or whose lens is
forgotten, while the animal is in the middle of the picture. The shape says more: a pixel of a
silhouette is explained if somewhere along its ray all other views see the animal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..cameras import CameraRig, triangulate
from .calibration_faults import Fault, Sightings, Suspect, swapped

SHAPE_MOMENTS = 6  # frames looked at
SHAPE_PIXELS = 60  # of a silhouette
DEPTHS = 24  # along a ray
SHAPE_REACH = 1.2  # of the silhouette's own extent, before and behind its middle
MOST_PAIRS = 6  # of cameras, that are tried for being swapped
# A suspect leaves less than this share of what is not explained, and so much less at least.
CLEARER, GAINED = 0.6, 0.03


def hull_misfits(rig: CameraRig, thumbs: Tensor, sightings: Sightings) -> Tensor:
    """The share of each view's silhouette that the other views do not explain.

    Args:
        rig: V cameras, at any size of the images.
        thumbs: (T, V, h, w) foreground, 0 to 255.
        sightings: of these silhouettes, in the rig's pixels.

    Returns:
        (V,) means over some frames, 0 to 1; NaN where a view has none.
    """
    valid = sightings.valid
    whole = (valid.sum(1) >= 2).nonzero()[:, 0]
    if not len(whole):
        return torch.full((rig.views,), torch.nan)
    times = whole[torch.linspace(0, len(whole) - 1, min(SHAPE_MOMENTS, len(whole))).long()]
    small, valid = rig.resized((thumbs.shape[3], thumbs.shape[2])), valid[times]
    mask = thumbs[times] > 127
    near = F.max_pool2d(mask.float(), 3, 1, 1) > 0
    centres = sightings.px[times] * (torch.tensor(small.wh) / torch.tensor(rig.wh))
    middle = triangulate(small, centres[:, :, None], valid.float()[..., None])[:, 0]
    px = _sampled(mask)  # (V, T, P, 2)
    origins, rays = small.ray_from_px(px.flatten(1, 2))
    rays = rays.view(*px.shape[:3], 3)
    shares = []
    for v in range(rig.views):
        far = (middle - origins[v]).norm(dim=-1)
        focal = small.K[v, :2, :2].det().abs().sqrt()
        extent = (px[v].amax(1) - px[v].amin(1)).norm(dim=-1) / focal * far
        depth = far[:, None] + torch.linspace(-SHAPE_REACH, SHAPE_REACH, DEPTHS) * extent[:, None]
        points = origins[v] + rays[v][:, :, None] * depth[:, None, :, None]  # (T, P, D, 3)
        use = valid.clone()
        use[:, v] = False
        explained = _met(small, near, points, use).any(-1).float().mean(1)
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
    given = hull_misfits(rig, thumbs, sightings)
    mean, found = float(given.nanmean()), []
    if not mean > GAINED:
        return given, []
    for fault in _shape_faults(rig):
        left = float(hull_misfits(fault.rig, thumbs, sightings).nanmean())
        if left < CLEARER * mean and mean - left > GAINED:
            found.append(Suspect(fault.name, fault.remedy, left))
    return given, sorted(found, key=lambda suspect: suspect.misfit)
