"""Motion: what static cameras tell without a label - the background, each view's noise, where the animal is and how much it moves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ..cameras import CameraRig
from ..shapes import cells
from ..volumes import Grid, hull, inside, overlap, soft_argmax
from .clip import MultiViewClip, Survey
from .foreground import CROP_FROM_PX, foreground
from .videos import Frames

THUMB = 96  # pixels of the longer side of a foreground thumbnail
EVENER = (
    2 / 3
)  # the animal's area must vary so much less before a background that few frames have made (real mouse: 0.2 to 0.6; bundled films: 0.9 and 1)
SAMPLED = 2000  # thumbnails that show whether anything moves, where they are not kept


def _noise_and_contrast(frames: Tensor, background: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(n, H, W, 3) and (H, W, 3) uint8 of one view -> noise and contrast of the largest colour difference, share of the pixels that moves."""
    picks = torch.arange(0, frames.shape[:3].numel(), max(1, frames.shape[:3].numel() // 200_000))
    pixels, ground = (
        frames.flatten(0, 2)[picks].float(),
        background.flatten(0, 1)[picks % background.shape[:2].numel()].float(),
    )
    few = (pixels - ground).abs().amax(-1) / 255
    noise = (few.median() * 1.48).clamp(min=1 / 255)
    moving = few > (4 * noise).clamp(min=8 / 255)
    contrast = few[moving].quantile(0.3) if moving.sum() > 20 else few.new_tensor(0.0)
    return noise, contrast, (few > (5 * noise).clamp(min=20 / 255)).float().mean()


def empty(frames: Tensor, least: int = 9) -> Tensor:
    """What a still camera sees when the animal is away: (n, H, W, 3) uint8 -> (H, W, 3), without labels.

    The median over time; but where an animal rests in one place for half of the film, that is the animal. So a second median is
    taken over frames that look different: each is the one farthest from those already taken, until the next is nearer to one of them than
    half of the first distance (at least `least` frames), and a long rest is one picture of many. It is believed, where the two
    differ, if in front of it the animal is far more nearly of one size all the time: before its own ghost it vanishes, and beside it there are two.
    """
    usual = _median(frames)
    hw = min(48, frames.shape[1]), min(64, frames.shape[2])
    small = torch.cat(
        [F.adaptive_avg_pool2d(some.movedim(-1, 1).float() / 255, hw) for some in frames.split(1)]
    ).flatten(1)
    taken = [int((small - _median(small)).abs().mean(1).argmax())]
    away = (small - small[taken[0]]).abs().mean(1)
    apart = away.max() / 2
    while len(taken) < len(frames) and (len(taken) < least or away.max() > apart):
        taken.append(int(away.argmax()))
        away = torch.minimum(away, (small - small[taken[-1]]).abs().mean(1))
    other = _median(frames, sorted(taken))
    doubt = (usual.float() - other.float()).abs().amax(-1, keepdim=True) > 8
    other = torch.where(doubt, other, usual)
    return other if _unevenness(frames, other) < EVENER * _unevenness(frames, usual) else usual


def _unevenness(frames: Tensor, ground: Tensor) -> float:
    """Standard deviation over mean of the area that differs from `ground`, over the frames."""
    areas = torch.stack(
        [((frame.short() - ground.short()).abs().amax(-1) > 24).float().mean() for frame in frames]
    )
    return float(areas.std() / areas.mean().clamp(min=1e-6))


def _median(frames: Tensor, taken: list[int] | slice = slice(None)) -> Tensor:
    """Over the times `taken`, some rows at once: of large frames the sorting would take several times their memory."""
    return torch.cat([rows[taken].median(0).values for rows in frames.split(64, 1)])


def _views(
    clip: MultiViewClip, picks: list[int], background: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Background (V, H, W, 3), noise, contrast and moving share (V,), one view after the other: of large frames a few hundred MB at a time."""
    grounds, found = [], []
    footage = clip.frames.passing() if isinstance(clip.frames, Frames) else clip.frames
    for v in range(clip.rig.views):
        frames = footage[picks, v]
        grounds.append(empty(frames) if background is None else background[v])
        found.append(torch.stack(_noise_and_contrast(frames, grounds[-1])))
    return (torch.stack(grounds), *torch.stack(found, 1))


def locate(thumbs: Tensor, rig: CameraRig, grid: Grid, sharpness: float = 6.0) -> Tensor:
    """Centre of the visual hull in every frame: thumbs (T, V, h, w) uint8 and a `Grid` with centre (3) or (T, 3) -> (T, 3)."""
    centres = []
    fixed = grid.centre.ndim == 1
    ndc = rig.ndc_from_world(grid.points.flatten(0, 2)) if fixed else None
    for times in torch.arange(len(thumbs)).split(32):
        points = (
            grid.points.flatten(0, 2)
            if fixed
            else Grid(grid.centre[times], grid.side, grid.voxels).points.flatten(1, 3)
        )
        seen = ndc.expand(len(times), -1, -1, -1) if fixed else rig.ndc_from_world(points)
        inner = hull(thumbs[times, :, None].float() / 255, seen, blur=7)
        inner = inner.masked_fill(
            inside(seen).sum(1) < 2, math.log(0.02)
        )  # where one view alone looks, nobody contradicts it
        inner = inner.masked_fill(
            inner < inner.amax(1, keepdim=True) - 1, -torch.inf
        )  # of a weak hull, the empty room would outweigh it
        centres.append(soft_argmax(sharpness * inner[:, None], points)[0][:, 0])
    return torch.cat(centres)


def survey_views(
    clip: MultiViewClip, samples: int = 60, background: Tensor | None = None
) -> Survey:
    """What each view shows by itself, whatever the calibration says: background, noise, contrast, foreground; every `centre` is 0.

    The background is the median of `samples` frames, unless another film of the same cameras has given it, (V, H, W, 3) uint8:
    an animal that rests in one place for half of a short film is the median there, and leaves a ghost when it goes.
    Raises `ValueError` if the cameras are too few or nothing moves.
    """
    raw = _stage(clip, samples, background)
    return _moving(clip, replace(raw, thumbs=torch.cat(list(_thumbs(clip, raw)))))


def survey(
    clip: MultiViewClip,
    side: float | None = None,
    samples: int = 60,
    background: Tensor | None = None,
    thumbs: bool = True,
) -> Survey:
    """Look once at every frame of a clip of static cameras. No labels.

    As `survey_views`, and the animal's centre: found with the visual hull of the foreground, first in a cube of `side` world units where
    the views overlap (None: as wide as the views), then in a third of it around that. thumbs: keep the foreground images, about 7 kB a
    frame and view, which training draws its pairs by; without them (tracking) a film of any length takes no more memory than a short one.
    """
    raw, (middle, width) = _stage(clip, samples, background), overlap(clip.rig)
    width, every, kept, centres = side or width, 1 if thumbs else -(-len(clip) // SAMPLED), [], []
    for some in _thumbs(clip, raw):
        centre = locate(some, clip.rig, Grid(middle, width, 28))
        centres.append(locate(some, clip.rig, Grid(centre, width / 3, 20)))
        kept.append(some[-sum(map(len, centres[:-1])) % every :: every])
    found = _moving(clip, replace(raw, centre=torch.cat(centres), thumbs=torch.cat(kept)))
    return found if thumbs else replace(found, thumbs=found.thumbs[:0])


def _stage(clip: MultiViewClip, samples: int, background: Tensor | None) -> Survey:
    """The survey before any frame is looked at for its animal: background, noise and contrast from `samples` frames."""
    T, V, H, W, _ = clip.frames.shape
    if V < 2:
        raise ValueError(f"{clip.name}: {V} view(s); at least 2 calibrated views are needed for 3D")
    picks = torch.linspace(0, T - 1, min(samples, T)).long().tolist()
    background, noise, contrast, share = _views(clip, picks, background)
    if (share < 1e-3).sum() > V - 2:
        raise ValueError(
            f"{clip.name}: nothing moves here (in {int((share < 1e-3).sum())} of {V} views less than 0.1 % of the pixels leave the background); "
            "a clip without motion cannot be learned from: choose a stretch in which the animal moves"
        )
    return Survey(
        background, noise, contrast.clamp(min=1e-3), torch.zeros(T, 3), torch.zeros(0), 0.02
    )


def _moving(clip: MultiViewClip, found: Survey) -> Survey:
    """The survey itself, if its foreground changes."""
    T = len(found.thumbs)
    if (
        T > 2
        and max(float(found.motion_energy(g).max()) for g in {1, max(1, T // 4)}) < found.floor
    ):
        raise ValueError(
            f"{clip.name}: nothing moves here (the foreground changes by less than {found.floor:.0%} between frames); "
            "choose a stretch in which the animal moves"
        )
    return found


def region(
    survey: Survey, rig: CameraRig, margin: float = 1.25, samples: int = 64
) -> tuple[Tensor, float]:
    """Centre (3) and side of a cube that holds the animal wherever it goes in the clip, in world units.

    Of `samples` frames, the box of the voxels that nearly as many views see as foreground as the best one, in the cube where the
    views overlap; its middle, and `margin` times its widest axis. One frame in fifty may stick out at either end.
    """
    middle, width = overlap(rig)
    points = Grid(middle, width, 32).points.flatten(0, 2)
    ndc, lows, highs = rig.ndc_from_world(points), [], []
    for t in torch.linspace(0, len(survey.thumbs) - 1, min(samples, len(survey.thumbs))).long():
        votes = hull(survey.thumbs[t, None, :, None].float() / 255, ndc[None], blur=3)[0]
        inner = points[votes > votes.max() - 0.5]
        lows.append(inner.amin(0)), highs.append(inner.amax(0))
    low, high = torch.stack(lows).quantile(0.02, 0), torch.stack(highs).quantile(0.98, 0)
    return (low + high) / 2, float(margin * ((high - low).max() + width / 32))


def animal_length(survey: Survey, rig: CameraRig, samples: int = 300) -> float:
    """How long the animal is when it stretches, in world units, without labels.

    Twice the distance from its centre within which 19 of 20 of its foreground pixels lie, at its depth: the larger of the views' (three in four
    are not longer), the longer of the poses (nine in ten). A thin tail hardly counts.
    """
    times = torch.linspace(0, len(survey.thumbs) - 1, min(samples, len(survey.thumbs))).long()
    reach = torch.cat(
        [_reach(survey.thumbs[some], survey.centre[some], rig) for some in times.split(32)]
    )
    return 2 * float(reach.nanquantile(0.75, dim=1).nanquantile(0.9))


def _reach(thumbs: Tensor, centre: Tensor, rig: CameraRig) -> Tensor:
    """Distance from `centre` (T, 3) within which 19 of 20 foreground pixels lie, (T, V) world units; NaN: a view that does not see it."""
    sure = (thumbs > 127).flatten(2).float()
    unit = (
        rig.cam_from_world(centre)[..., 2] / rig.K[:, 0, 0, None] * rig.wh[0] / 2
    ).T  # world units of half an image width, (T, V)
    square = centre.new_tensor([1.0, rig.wh[1] / rig.wh[0]])
    pixels = cells(*thumbs.shape[2:]).flatten(0, 1)
    away, order = (
        ((pixels - rig.ndc_from_world(centre).transpose(0, 1)[:, :, None]) * square).norm(dim=-1)
        * unit[..., None]
    ).sort(-1)
    within = sure.gather(-1, order).cumsum(-1)
    reach = away.gather(-1, (within >= 0.95 * within[..., -1:]).float().argmax(-1, keepdim=True))[
        ..., 0
    ]
    return reach.masked_fill(within[..., -1] < 4, torch.nan)


def on_silhouettes(
    points: Tensor, rig: CameraRig, thumbs: Tensor, grow: float
) -> tuple[Tensor, Tensor]:
    """Do points (T, K, 3) lie on the foreground thumbnails (T, V, h, w) uint8, grown by `grow` world units? -> hit, seen, (T, V, K) bool.

    seen: the point is inside that view's image. A point that is not seen is not hit.
    """
    w, ndc = thumbs.shape[3], rig.ndc_from_world(points)
    depth = rig.cam_from_world(points)[..., 2].transpose(0, 1).flatten(1).nanmedian(1).values
    value = []
    for v, radius in enumerate(
        (grow * rig.K[:, 0, 0] / depth * w / rig.wh[0]).round().int().tolist()
    ):
        soft = F.max_pool2d(thumbs[:, v, None].float() / 255, 2 * radius + 1, 1, radius)
        value.append(
            F.grid_sample(soft, ndc[:, v, None].nan_to_num(9.0).clamp(-9, 9), align_corners=False)[
                :, 0, 0
            ]
        )
    seen = (ndc.abs() <= 1).all(-1)
    return (torch.stack(value, 1) > 0.5) & seen, seen


def thumb_size(rig: CameraRig) -> tuple[int, int]:
    """(h, w) of a foreground thumbnail."""
    W, H = rig.wh
    return max(8, round(THUMB * H / max(H, W))), max(8, round(THUMB * W / max(H, W)))


def _thumbs(clip: MultiViewClip, raw: Survey) -> Iterator[Tensor]:
    """Foreground images (n, V, h, w) uint8 of all frames, some hundred at a time; large films are decoded no larger than that needs."""
    hw = thumb_size(clip.rig)
    ground, frames, done = _shrunk(raw.background[None], hw), clip.frames, []
    if isinstance(frames, Frames):
        frames = frames.passing((2 * hw[1], 2 * hw[0]) if max(clip.rig.wh) > CROP_FROM_PX else None)
    for times in torch.arange(len(clip)).split(max(1, min(16, (1 << 26) // frames[0].numel()))):
        images = _shrunk(frames[times.tolist()], hw)
        done.append(
            (foreground(images, ground, raw.noise, raw.contrast)[:, :, 0] * 255).round().byte()
        )
        if len(done) == 32 or times[-1] == len(clip) - 1:
            yield torch.cat(done)
            done = []


def _shrunk(frames: Tensor, hw: tuple[int, int]) -> Tensor:
    """(n, V, H, W, 3) uint8 -> (n, V, 3, h, w) in [0, 1]."""
    return F.adaptive_avg_pool2d(frames.movedim(-1, -3).flatten(0, 1).float() / 255, hw).unflatten(
        0, frames.shape[:2]
    )
