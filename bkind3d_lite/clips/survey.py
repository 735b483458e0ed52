"""Survey: what static cameras tell without a label.

The background, each view's noise, where the animal is and how much it moves.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ..cameras import CameraRig
from ..image_plane import plane_boxes, plane_centres
from ..sliding import largest
from ..volumes import Grid, hull, inside, overlap, soft_argmax
from .background import estimate_background
from .clip import MultiViewClip, Survey
from .extent import animal_length
from .foreground import CROP_FROM_PX, foreground
from .moving_light import lit, parting
from .uncovered import uncovered_background, watched_again
from .videos import Frames

THUMB = 96  # pixels of the longer side of a foreground thumbnail
LIGHT = 0.05  # share of what moves that is light, from which the light of the room is said to move
SAMPLED = 2000  # thumbnails that show whether anything moves, where they are not kept
NEAR_RIM = 0.4  # of the side of the cube in which the animal is looked for: from here it may leave
WIDE = 1.75  # of that side; there every second camera of a ring still sees it


# ---- background ----------------------------------------------------------------------------------
def _noise_and_contrast(frames: Tensor, background: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Noise and contrast of the largest colour difference, share of the pixels that moves.

    Of one view: frames (n, H, W, 3) and background (H, W, 3), uint8.
    """
    picks = torch.arange(0, frames.shape[:3].numel(), max(1, frames.shape[:3].numel() // 200_000))
    pixels = frames.flatten(0, 2)[picks].float()
    ground = background.flatten(0, 1)[picks % background.shape[:2].numel()].float()
    few = (pixels - ground).abs().amax(-1) / 255
    noise = (few.median() * 1.48).clamp(min=1 / 255)
    moving = few > (4 * noise).clamp(min=8 / 255)
    contrast = few[moving].quantile(0.3) if moving.sum() > 20 else few.new_tensor(0.0)
    return noise, contrast, (few > (5 * noise).clamp(min=20 / 255)).float().mean()


def _contrast_in_light(frames: Tensor, background: Tensor, noise: Tensor) -> Tensor:
    """Contrast of the animal where light moves with it; 0 where none does.

    Such a floor mirrors, too: the contrast is where the animal's differences part from the rest.
    Frames (n, H, W, 3) and background (H, W, 3) of one view, uint8.
    """
    hw = _thumb_hw((background.shape[1], background.shape[0]))
    few = frames[:: -(-len(frames) // 12)]
    images, ground = _shrunk(few[:, None], hw)[:, 0], _shrunk(background[None, None], hw)[:, 0]
    shade = (images * ground).sum(1) / ground.square().sum(1).clamp(min=1e-3)
    away = (images - ground).abs().amax(1)
    moving = away > (4 * noise).clamp(min=8 / 255)
    light = moving & (shade > 1) & (lit(shade) > 0.5)
    if light.sum() < LIGHT * moving.sum() or not (moving & ~light).any():
        return noise.new_tensor(0.0)
    return noise.new_tensor(parting(away[moving & ~light]))


def _views(
    clip: MultiViewClip, picks: list[int], background: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Background (V, H, W, 3), noise, contrast and moving share (V,).

    One view after the other: of large frames a few hundred MB at a time.
    """
    grounds, measures = [], []
    footage = clip.frames.passing() if isinstance(clip.frames, Frames) else clip.frames
    for v in range(clip.rig.views):
        frames = footage[picks, v]
        grounds.append(estimate_background(frames) if background is None else background[v])
        noise, contrast, share = _noise_and_contrast(frames, grounds[-1])
        contrast = torch.maximum(contrast, _contrast_in_light(frames, grounds[-1], noise))
        measures.append(torch.stack([noise, contrast, share]))
    noise, contrast, share = torch.stack(measures, 1)
    return torch.stack(grounds), noise, contrast, share


# ---- where the animal is -------------------------------------------------------------------------
def locate(thumbs: Tensor, rig: CameraRig, grid: Grid, sharpness: float = 6.0) -> Tensor:
    """Centre of the visual hull in every frame.

    Args:
        thumbs: (T, V, h, w) uint8 foreground.
        rig: V cameras.
        grid: where to look, with a centre (3) or one a frame (T, 3).
        sharpness: of the soft argmax.

    Returns:
        (T, 3) world units.
    """
    centres, fixed = [], grid.centre.ndim == 1
    if fixed:
        points = grid.points.flatten(0, 2)
        everywhere = rig.ndc_from_world(points)
    for times in torch.arange(len(thumbs)).split(32):
        if fixed:
            ndc = everywhere.expand(len(times), -1, -1, -1)
        else:
            points = Grid(grid.centre[times], grid.side, grid.voxels).points.flatten(1, 3)
            ndc = rig.ndc_from_world(points)
        votes = hull(thumbs[times, :, None].float() / 255, ndc, blur=7)
        # Where one view alone looks, nobody contradicts it.
        votes = votes.masked_fill(inside(ndc).sum(1) < 2, math.log(0.02))
        # Of a weak hull, the empty room would outweigh it.
        votes = votes.masked_fill(votes < votes.amax(1, keepdim=True) - 1, -torch.inf)
        centres.append(soft_argmax(sharpness * votes[:, None], points)[0][:, 0])
    return torch.cat(centres)


def survey_views(
    clip: MultiViewClip, samples: int = 60, background: Tensor | None = None
) -> Survey:
    """What each view shows by itself, whatever the calibration says.

    The background is the median of some frames, unless another film of the same cameras has given
    it: an animal that rests in one place for half of a short film is the median there, and leaves
    a ghost when it goes. A clip of too few cameras, or in which nothing moves, is a `ValueError`.

    Args:
        clip: of static cameras.
        samples: frames that background, noise and contrast are taken from.
        background: (V, H, W, 3) uint8; None: from this clip.

    Returns:
        Background, noise, contrast, foreground; every `centre` is 0.
    """
    raw = _without_thumbs(clip, samples, background)
    return _refuse_still(clip, replace(raw, thumbs=torch.cat(list(_thumbs(clip, raw)))))


def survey(
    clip: MultiViewClip,
    side: float | None = None,
    samples: int = 60,
    background: Tensor | None = None,
    thumbs: bool = True,
    uncover: bool = False,
) -> Survey:
    """Look once at every frame of a clip of static cameras. No labels.

    As `survey_views`, and the animal's centre (`animal_centres`), or where the clip's boxes say.

    Args:
        clip: of static cameras.
        side: of the first cube, world units; None: as wide as the views.
        samples: frames that background, noise and contrast are taken from.
        background: (V, H, W, 3) uint8; None: from this clip.
        thumbs: keep the foreground images, about 7 kB a frame and view, which training draws its
            pairs by; without them (tracking) a film of any length takes no more memory than a
            short one.
        uncover: where the animal has left a ghost of itself in its own background, make that again
            by `uncovered_background`, after a first look at some moments.

    Returns:
        The survey.
    """
    every = 1 if thumbs else -(-len(clip) // SAMPLED)
    raw = _without_thumbs(clip, samples, background)
    if uncover and background is None and clip.rig.calibrated:
        times = watched_again(clip)
        few = torch.cat(list(_thumbs(clip, raw, times)))
        found = replace(raw, thumbs=few, centre=animal_centres(few, clip.rig, side))
        ground = uncovered_background(clip, found, times)
        raw = raw if ground is None else _without_thumbs(clip, samples, ground)
    looked = _looked_at(clip, raw, side, every, wide=False)
    if roams(looked.centre, clip.rig, side):
        looked = _looked_at(clip, raw, side, every, wide=True)
    whole = _boxed(clip, _refuse_still(clip, looked))
    if thumbs:
        return whole
    length = animal_length(replace(whole, centre=whole.centre[::every]), clip.rig)
    return replace(whole, thumbs=whole.thumbs[:0], length=length)


def _looked_at(
    clip: MultiViewClip, raw: Survey, side: float | None, every: int, wide: bool
) -> Survey:
    """The survey with the animal's centre, and the thumbnails of every `every`-th frame."""
    sampled: list[Tensor] = []
    centres: list[Tensor] = []
    for some in _thumbs(clip, raw):
        few = some[-sum(map(len, centres)) % every :: every]
        sampled.append(some if every == 1 else few.clone())  # a view would keep all of them
        centres.append(animal_centres(some, clip.rig, side, wide))
    return replace(raw, centre=torch.cat(centres), thumbs=torch.cat(sampled))


def animal_centres(
    thumbs: Tensor, rig: CameraRig, side: float | None = None, wide: bool | None = None
) -> Tensor:
    """Where the animal is: in the visual hull of the foreground, or in one camera's picture.

    First in a cube where the views overlap, then in a third of it around that.

    Args:
        thumbs: (T, V, h, w) uint8 foreground.
        rig: V cameras.
        side: of the first cube, world units; None: as wide as the views.
        wide: that cube `WIDE` times as wide; None: if the animal `roams` beyond it.

    Returns:
        (T, 3) world units; of an uncalibrated camera on its `image_plane`.
    """
    if not rig.calibrated:
        return plane_centres(thumbs, rig)
    middle, width = overlap(rig)
    width, reach = side or width, WIDE if wide else 1.0
    coarse = locate(thumbs, rig, Grid(middle, reach * width, round(28 * reach)))
    centres = locate(thumbs, rig, Grid(coarse, width / 3, 20))
    if wide is None and roams(centres, rig, side):
        return animal_centres(thumbs, rig, side, wide=True)
    return centres


def roams(centres: Tensor, rig: CameraRig, side: float | None = None) -> bool:
    """Whether an animal goes to the rim of the cube where it is looked for, and perhaps beyond.

    Beyond it there is nothing to be found, so that its place is then that of a shadow.

    Args:
        centres: (T, 3) world units, where it was found.
        rig: the cameras.
        side: of that cube, world units; None: as wide as the views.

    Returns:
        Whether it is so far out in one of a hundred frames.
    """
    if not rig.calibrated:
        return False
    middle, width = overlap(rig)
    away = (centres - middle).abs().amax(1)
    return bool(away.quantile(0.99) > NEAR_RIM * (side or width))


def _boxed(clip: MultiViewClip, survey: Survey) -> Survey:
    """The survey with centre and length by the clip's boxes, where somebody gave them."""
    if clip.boxes is None:
        return survey
    length = float(clip.boxes[:, 2:].amax(1).median()) / clip.rig.wh[0]
    return replace(survey, centre=plane_boxes(clip.boxes, clip.rig, length), length=length)


def _without_thumbs(clip: MultiViewClip, samples: int, background: Tensor | None) -> Survey:
    """The survey before any frame is looked at for its animal: background, noise and contrast."""
    T, V, _, _, _ = clip.frames.shape
    if V < 2 and clip.rig.calibrated:
        raise ValueError(
            f"{clip.name}: {V} view(s); at least 2 calibrated views are needed for 3D (for "
            "keypoints in one camera's image open its video by itself)"
        )
    picks = torch.linspace(0, T - 1, min(samples, T)).long().tolist()
    ground, noise, contrast, share = _views(clip, picks, background)
    if (still := int((share < 1e-3).sum())) > max(0, V - 2):
        raise ValueError(
            f"{clip.name}: {_unlit(clip, ground)}nothing moves here (in {still} of {V} views less "
            "than 0.1 % of the pixels leave the background); a clip without motion cannot be "
            "learned from: choose a stretch in which the animal moves"
        )
    return Survey(
        background=ground,
        noise=noise,
        contrast=contrast.clamp(min=1e-3),
        centre=torch.zeros(T, 3),
        thumbs=torch.zeros(0),
        floor=0.02,
    )


def _unlit(clip: MultiViewClip, ground: Tensor) -> str:
    """Why nothing can be seen to move: which views are white or black all over, if some are."""
    light = ground.float().flatten(1).mean(1)
    blank = {n: x for n, x in zip(clip.rig.names, light.tolist()) if not 4 < x < 251}
    if not blank:
        return ""
    name, value = next(iter(blank.items()))
    colour = "white" if value > 128 else "black"
    return (
        f"{name} is {colour} all over (mean {value:.0f} of 255): over- or underexposed, or written "
        "with more bits than are read (write 8 bits a sample); "
    )


def _refuse_still(clip: MultiViewClip, survey: Survey) -> Survey:
    """The survey itself, if its foreground changes."""
    T = len(survey.thumbs)
    gaps = {1, max(1, T // 4)}
    if T > 2 and max(float(survey.motion_energy(g).max()) for g in gaps) < survey.floor:
        raise ValueError(
            f"{clip.name}: nothing moves here (the foreground changes by less than "
            f"{survey.floor:.0%} between frames); choose a stretch in which the animal moves"
        )
    return survey


# ---- what a survey tells -------------------------------------------------------------------------
def on_silhouettes(
    points: Tensor, rig: CameraRig, thumbs: Tensor, grow: float
) -> tuple[Tensor, Tensor]:
    """Do points lie on the foreground of each view?

    Args:
        points: (T, K, 3) world.
        rig: V cameras.
        thumbs: (T, V, h, w) uint8 foreground.
        grow: world units by which the foreground is grown.

    Returns:
        (T, V, K) bool twice: hit, and inside of that view's image. A point outside is not hit.
    """
    w, ndc = thumbs.shape[3], rig.ndc_from_world(points)
    depth = rig.cam_from_world(points)[..., 2].transpose(0, 1).flatten(1).nanmedian(1).values
    radii = (grow * rig.K[:, 0, 0] / depth * w / rig.wh[0]).round().int().tolist()
    value = []
    for v, radius in enumerate(radii):
        soft = largest(thumbs[:, v, None].float() / 255, 2 * radius + 1)
        grid = ndc[:, v, None].nan_to_num(9.0).clamp(-9, 9)
        value.append(F.grid_sample(soft, grid, align_corners=False)[:, 0, 0])
    visible = (ndc.abs() <= 1).all(-1)
    return (torch.stack(value, 1) > 0.5) & visible, visible


# ---- thumbnails ----------------------------------------------------------------------------------
def thumb_size(rig: CameraRig) -> tuple[int, int]:
    """The size of a foreground thumbnail.

    Args:
        rig: the cameras.

    Returns:
        (h, w) in pixels.
    """
    return _thumb_hw(rig.wh)


def _thumb_hw(wh: tuple[int, int]) -> tuple[int, int]:
    W, H = wh
    return max(8, round(THUMB * H / max(H, W))), max(8, round(THUMB * W / max(H, W)))


def _thumbs(clip: MultiViewClip, raw: Survey, moments: Tensor | None = None) -> Iterator[Tensor]:
    """Foreground images (n, V, h, w) uint8 of all frames or some, some hundred at a time.

    Large films are decoded no larger than that needs.
    """
    hw, done = thumb_size(clip.rig), []
    ground, frames = _shrunk(raw.background[None], hw), clip.frames
    if isinstance(frames, Frames):
        large = max(clip.rig.wh) > CROP_FROM_PX
        frames = frames.passing((2 * hw[1], 2 * hw[0]) if large else None)
    moments = torch.arange(len(clip)) if moments is None else moments
    for times in moments.split(max(1, min(16, (1 << 26) // frames[0].numel()))):
        images = _shrunk(frames[times.tolist()], hw)
        soft = foreground(images, ground, raw.noise, raw.contrast)[:, :, 0]
        done.append((soft * 255).round().byte())
        if len(done) == 32 or times[-1] == moments[-1]:
            yield torch.cat(done)
            done = []


def _shrunk(frames: Tensor, hw: tuple[int, int]) -> Tensor:
    """(n, V, H, W, 3) uint8 -> (n, V, 3, h, w) in [0, 1]."""
    images = frames.movedim(-1, -3).flatten(0, 1).float() / 255
    return F.adaptive_avg_pool2d(images, hw).unflatten(0, frames.shape[:2])
