"""Uncovered: the room from moments in which the animal stands elsewhere, once it has been found."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..cameras import CameraRig
from ..sliding import largest
from ..volumes import Grid, hull
from .clip import MultiViewClip, Survey
from .extent import animal_length
from .videos import Frames

WATCHED_AGAIN = 120  # moments, evenly over the clip; of large frames fewer, 60 at least:
AT_ONCE = 1 << 29  # bytes of one view's frames
MOSTLY = 0.3  # share of the time from which a covered pixel may show the animal as background
UNCOVERED = 4  # moments in which a pixel must be uncovered, or it stays as it was
SOUGHT, FINE = 1.55, 32  # side in animal lengths and voxels of the cube in which the hull is sought
# What is seen when a pixel is uncovered is a shadow or a mirror image of the animal, not the room,
LIKER = 2.0  # where it is so many times nearer to the animal's colour than the first background
NOTHING = 0.02  # foreground that counts as none
GROWN = 7  # pixels of a thumbnail by which its outline is widened, both sides together
NOTICED = 1e-3  # share of a view's pixels that must look otherwise


def watched_again(clip: MultiViewClip) -> Tensor:
    """The moments at which the animal must be found first.

    Args:
        clip: of any length.

    Returns:
        (n,) frames, evenly over the clip.
    """
    most = max(60, min(WATCHED_AGAIN, AT_ONCE // math.prod(clip.frames.shape[2:])))
    return torch.linspace(0, len(clip) - 1, min(most, len(clip))).long()


def uncovered_background(clip: MultiViewClip, survey: Survey, times: Tensor) -> Tensor | None:
    """The background again, without what the animal itself has left in it.

    An animal that is in the middle of the room for half of the film is the median there. But now
    its visual hull is known, which a ghost in one view does not have: where the hull covers a pixel
    often, the median is taken over the other moments.

    Args:
        clip: of static calibrated cameras.
        survey: of these moments of the clip, with the first background, thumbs and centres.
        times: (n,) the moments, frames of the clip (`watched_again`).

    Returns:
        (V, H, W, 3) uint8; None: nothing is to be mended.
    """
    rig, length = clip.rig, animal_length(survey, clip.rig)
    covered = torch.cat(
        [
            _covered(thumbs, Grid(centre, SOUGHT * length, FINE), rig)
            for thumbs, centre in zip(survey.thumbs.split(8), survey.centre.split(8))
        ]
    )
    if not (covered.float().mean(0) > MOSTLY).any():
        return None
    grounds = survey.background.clone()
    footage = clip.frames.passing() if isinstance(clip.frames, Frames) else clip.frames
    for v in range(rig.views):
        grounds[v] = _median_elsewhere(footage[times.tolist(), v], covered[:, v], grounds[v])
    change = (grounds.float() - survey.background.float()).abs().amax(-1) / 255
    limit = (5 * survey.noise).clamp(min=20 / 255)[:, None, None]
    return grounds if ((change > limit).flatten(1).float().mean(1) > NOTICED).any() else None


def _covered(thumbs: Tensor, grid: Grid, rig: CameraRig) -> Tensor:
    """Pixels of thumbnails (n, V, h, w) that the animal's visual hull covers, bool."""
    n, V, h, w = thumbs.shape
    ndc = rig.ndc_from_world(grid.points.flatten(1, 3))
    # all views but one suffice: that one's own background may show the animal
    sure = 0.9 * NOTHING ** (1 / max(3, V))
    full = hull(thumbs[:, :, None].float() / 255, ndc, least=NOTHING).exp() > sure
    pixel = ((ndc + 1) / 2 * ndc.new_tensor([w, h])).floor().clamp(-1, max(w, h)).long()
    seen = full[:, None] & (ndc.abs() < 1).all(-1)
    flat = (pixel[..., 1] * w + pixel[..., 0]).clamp(0, h * w - 1)
    hit = torch.zeros(n, V, h * w).scatter_reduce_(2, flat, seen.float(), "amax")
    return largest(hit.view(n, V, h, w), GROWN) > 0


def _median_elsewhere(frames: Tensor, covered: Tensor, ground: Tensor) -> Tensor:
    """`ground` (H, W, 3) without the animal, by frames (n, H, W, 3) and where they are covered.

    Where a pixel is covered often it is the median of its other moments.
    """
    hw = ground.shape[:2]
    y, x = (torch.arange(n) * small // n for n, small in zip(hw, covered.shape[1:]))
    mended = ground.clone()
    for rows in torch.arange(hw[0]).split(64):  # floats of all of them would take many GB
        near = covered[:, y[rows]][:, :, x]
        often = near.float().mean(0) > MOSTLY
        hidden, colours = near[:, often, None], frames[:, rows][:, often].float()
        free = colours.masked_fill(hidden, torch.nan).nanmedian(0).values.nan_to_num()
        animal = colours.masked_fill(~hidden, torch.nan).nanmedian(0).values
        before = ground[rows][often].float()
        ghost = (before - animal).abs().sum(-1) < LIKER * (free - animal).abs().sum(-1)
        told = ghost & ((~hidden).sum((0, 2)) >= UNCOVERED)
        strip = ground[rows]
        strip[often] = torch.where(told[:, None], free, before).round().byte()
        mended[rows] = strip
    return mended
