"""Lessons: labelled pictures, each one view of one moment, and the crops a student learns from.

A crop is a camera: turning, scaling and moving it changes the camera alone, and labels are
projected by the changed camera, so that they move with the image by construction. Turns are about
the optical axis, where an image really turns; a turn about the middle of a crop would be none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ..cameras import TENSORS, CameraRig
from ..recipes import LessonRecipe, Recipe
from ..shapes import cells
from .clip import MultiViewClip
from .foreground import Window, footprint, planes
from .occlusion import Occluders, occluders_of
from .sampling import Batch

MARGIN = 2.3  # side of a crop, in largest distances of a joint from the root
FEWEST_LABELLED = 0.7  # share of a picture's joints that must be labelled for it to teach
DRAWS = (
    8  # random numbers that change a picture: tilt, zoom, two of nudge, three of tint, occlusion
)
UNCHANGED = LessonRecipe(tilt=0.0, zoom=0.0, nudge=0.0, tint=0.0, occlude_share=1.0)


# ---- what is taught ------------------------------------------------------------------------------
def labels_of(clip: MultiViewClip) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """The labels of a clip, or its truth.

    Args:
        clip: that `PseudoLabels.of` has labelled, or one with truth.

    Returns:
        Joints (T, J, 3) in space, NaN: not known; how far each is trusted (T, J); their names.

    Raises:
        ValueError: it has neither.
    """
    if clip.truth is None or clip.skeleton is None:
        raise ValueError(
            f"{clip.name}: no labels to learn from; `bkind3d pseudo` makes them (--labels)"
        )
    known = clip.truth.isfinite().all(-1).float()
    return clip.truth, known if clip.trust is None else clip.trust * known, clip.skeleton.names


def taught_times(clip: MultiViewClip) -> Tensor:
    """Moments that have enough labels to teach.

    Args:
        clip: labelled.

    Returns:
        (n,) frames.

    Raises:
        ValueError: no moment has enough.
    """
    _, trust, names = labels_of(clip)
    share = (trust > 0).float().mean(1)
    times = (share >= FEWEST_LABELLED).nonzero()[:, 0]
    if not len(times):
        raise ValueError(
            f"{clip.name}: no frame has {FEWEST_LABELLED:.0%} of its {len(names)} joints labelled "
            f"(the best {float(share.amax()):.0%}); leave out joints that are seldom seen"
        )
    return times


def roots(world: Tensor, names: Sequence[str]) -> Tensor:
    """The pelvis, or amid the hips; where they are not known, the mean of what is.

    Args:
        world: (T, J, 3) joints.
        names: of the joints.

    Returns:
        (T, 3).
    """
    hips = [i for i, name in enumerate(names) if name == "pelvis"]
    hips = hips or [i for i, name in enumerate(names) if name in ("left_hip", "right_hip")]
    middle = world.nanmean(1)
    if not hips:
        return middle
    pelvis = world[:, hips].mean(1)
    return torch.where(pelvis.isfinite().all(-1, keepdim=True), pelvis, middle)


def box_side(clip: MultiViewClip) -> float:
    """Side of the box that holds the body however it stands.

    Args:
        clip: labelled.

    Returns:
        The side in the unit of its labels.
    """
    world, _, names = labels_of(clip)
    world = world[taught_times(clip)]
    reach = (world - roots(world, names)[:, None]).norm(dim=-1).nan_to_num(0).amax(1)
    return MARGIN * float(reach.quantile(0.98))


def fitted_to_labels(recipe: Recipe, clip: MultiViewClip) -> Recipe:
    """A recipe that knows what the labels say: joints, and the size of their box.

    Args:
        recipe: that learns from labels; what it says already stays.
        clip: labelled.

    Returns:
        A recipe with joints, side (in the labels' unit) and margin.
    """
    world, _, names = labels_of(clip)
    times = taught_times(clip)
    side = recipe.volume.side or float(f"{box_side(clip):.4g}")
    px = clip.rig.px_from_world(world[times])  # (n, V, J, 2)
    low, high = (f(px.nan_to_num(x), -2) for f, x in ((torch.amin, 1e9), (torch.amax, -1e9)))
    wide = footprint(clip.rig.batched(len(times)), roots(world[times], names), side).extent
    margin = (wide[..., 0] / (high - low).amax(-1)).median()
    return recipe.with_(
        keypoints=len(names),
        joints=names,
        unit=clip.rig.unit,
        side=side,
        centre=(0.0, 0.0, 0.0),  # of each picture, its root
        margin=recipe.lesson.margin or float(f"{float(margin):.3g}"),
    )


# ---- crops ---------------------------------------------------------------------------------------
def one_each(rig: CameraRig, views: Tensor) -> CameraRig:
    """The camera of each picture.

    Args:
        rig: V cameras.
        views: (N,) numbers of theirs.

    Returns:
        A rig whose tensors lead with (N, 1).
    """
    tensors = {key: getattr(rig, key)[views][:, None] for key in TENSORS}
    return replace(rig, **tensors, names=("one",), sizes=())


def turned_cameras(rig: CameraRig, angle: Tensor) -> CameraRig:
    """Cameras turned about their optical axes; the image turns about the principal point.

    Args:
        rig: leads with (N, 1).
        angle: (N,) radians, from x towards y.

    Returns:
        A rig; of the lens what is round about the axis stays as it is (p1, p2 are not).
    """
    c, s, o = angle.cos(), angle.sin(), torch.zeros_like(angle)
    Z = torch.stack([c, -s, o, s, c, o, o, o, o + 1], -1).view(-1, 1, 3, 3)
    return replace(rig, R=Z @ rig.R, t=(Z @ rig.t[..., None])[..., 0])


def cut_turned(
    clip: MultiViewClip,
    picks: tuple[Tensor, Tensor],
    window: Window,
    wh: tuple[int, int],
    angle: Tensor | None = None,
) -> Tensor:
    """Pixels of crops of the turned cameras, read from the images as they are.

    Args:
        clip: of the images.
        picks: (N,) times and (N,) views of the pictures.
        window: (N, 1) of each turned image.
        wh: (W, H) of the crops.
        angle: (N,) radians of the turns; None: none.

    Returns:
        (N, 3, h, w) in [0, 1], black outside of an image.
    """
    rig, (W, H) = one_each(clip.rig, picks[1]), wh
    px = window.corner + window.extent * (cells(H, W).flatten(0, 1) + 1) / 2  # (N, h w, 2)
    if angle is not None:
        focal = rig.K[:, 0, :2, :2].diagonal(dim1=-2, dim2=-1)[:, None]
        middle = rig.K[:, 0, None, :2, 2]
        x, y = ((px - middle) / focal).unbind(-1)
        c, s = angle.cos()[:, None], angle.sin()[:, None]
        px = torch.stack([c * x + s * y, c * y - s * x], -1) * focal + middle
    times, views = (x.tolist() for x in picks)
    return torch.cat(
        [_read(clip.frames[[t], v][0], p.view(H, W, 2)) for t, v, p in zip(times, views, px)]
    )


def _read(image: Tensor, px: Tensor) -> Tensor:
    """Colours (1, 3, h, w) at pixels (h, w, 2) of an image (H, W, 3); its useful part is read."""
    size = px.new_tensor([image.shape[1], image.shape[0]])
    begin = torch.minimum((px.amin((0, 1)).floor() - 2).clamp(min=0), size - 1)
    end = torch.maximum(torch.minimum(px.amax((0, 1)).ceil() + 2, size), begin + 1)
    (x0, y0), (x1, y1) = begin.int().tolist(), end.int().tolist()
    ndc = 2 * (px - begin) / (end - begin) - 1
    return F.grid_sample(
        planes(torch.as_tensor(image[y0:y1, x0:x1])), ndc[None], align_corners=False
    )


def labelled_batch(
    clip: MultiViewClip,
    picks: tuple[Tensor, Tensor],
    recipe: Recipe,
    draws: Tensor | None = None,
    occlude: Occluders | None = None,
) -> Batch:
    """Pictures about the root with what is to be said of them.

    Args:
        clip: labelled.
        picks: (N,) times and (N,) views of the pictures.
        recipe: `fitted_to_labels`; how large crops are, and how far they are changed.
        draws: (N, DRAWS) in [0, 1] that change them; None: unchanged.
        occlude: pastes things over the recipe's share of them.

    Returns:
        Images (N, 1, 3, h, w) in [0, 1]; their cameras; `centre`, the roots (N, 3); labels
        (N, 1, J, 4): ndc x, y in the crop, depth from the root in half sides of it, weight.
    """
    (times, views), own, side = picks, recipe.lesson, recipe.volume.side or 1.0
    world, trust, names = labels_of(clip)
    world, root = world[times], roots(world[times], names)
    change = torch.zeros(len(times), DRAWS) if draws is None else 2 * draws - 1
    angle, grow = torch.deg2rad(own.tilt * change[:, 0]), 1 + own.zoom * change[:, 1]
    rig = turned_cameras(one_each(clip.rig, views), angle)
    corner, extent = footprint(rig, root, side)
    wider = extent * grow[:, None, None]
    corner = corner + (extent - wider) / 2 + own.nudge * change[:, None, 2:4] * wider
    images = cut_turned(clip, picks, Window(corner, wider), recipe.data.image_wh, angle)
    images = (images * (1 + own.tint * change[:, 4:7, None, None])).clamp(0, 1)
    if occlude is not None and draws is not None:
        hidden = draws[:, 7] <= own.occlude_share
        images[hidden] = occlude(images[hidden], draws[hidden, 7])
    seen = rig.cropped(corner, wider, recipe.data.image_wh)
    away = seen.cam_from_world(world) - seen.cam_from_world(root[:, None])
    depth = away[..., 2:] / (side / 2) / grow[:, None, None, None]
    told = torch.cat([seen.ndc_from_world(world), depth], -1)
    weight = torch.where(told.isfinite().all(-1), trust[times][:, None], 0.0)
    labels = torch.cat([told.nan_to_num(0), weight[..., None]], -1)
    return Batch(images[:, None], None, rig=seen, index=times, centre=root, labels=labels)


def lesson_batches(
    clip: MultiViewClip, recipe: Recipe, seed: int, start: int = 0, share: tuple[int, int] = (0, 1)
) -> Iterator[Batch]:
    """Endless seeded batches of changed pictures; step i depends on (seed, i) alone.

    Args:
        clip: labelled.
        recipe: `fitted_to_labels`.
        seed: of the run.
        start: the first step; `start=i` resumes exactly.
        share: (r, R): of R x `batch` pictures, as one process would draw them, those of rank r.

    Yields:
        One batch a step.

    Raises:
        ValueError: a camera that is to teach is none of the clip's.
    """
    times, B, known = taught_times(clip), recipe.data.batch, clip.rig.names
    if strange := set(recipe.lesson.taught_by or ()) - set(known):
        raise ValueError(
            f"taught_by (--views): {', '.join(strange)}; the labels' cameras are {', '.join(known)}"
        )
    views = torch.tensor([known.index(name) for name in recipe.lesson.taught_by or known])
    occlude, (rank, ranks) = occluders_of(recipe.lesson.occlude), share
    own, step = slice(rank * B, (rank + 1) * B), start
    while True:
        random = torch.Generator().manual_seed(seed * 1_000_003 + step)
        time = torch.randint(len(times), (ranks * B,), generator=random)[own]
        view = torch.randint(len(views), (ranks * B,), generator=random)[own]
        draws = torch.rand(ranks * B, DRAWS, generator=random)[own]
        yield labelled_batch(clip, (times[time], views[view]), recipe, draws, occlude)
        step += 1
