"""Students: what a network of one image says, of labelled pictures and of new ones.

They are trained as every run is (`training.loop`); here they are asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from ..clips.clip import MultiViewClip
from ..clips.foreground import Window
from ..clips.image_tracks import Track2D
from ..clips.lessons import (
    DRAWS,
    UNCHANGED,
    box_side,
    cut_turned,
    labelled_batch,
    labels_of,
    roots,
    taught_times,
)
from ..clips.occlusion import Occluders
from ..clips.sampling import Batch
from ..clips.tracks import Skeleton, Track
from ..model.discoverer import Discoverer
from ..model.keypoints import Keypoints
from ..poses2d import person_bones
from ..recipes import Recipe

Picks = tuple[Tensor, Tensor]  # (N,) times and (N,) views of pictures
GLANCES = 2  # at a new picture: about its box, then about the root that was seen there


# ---- pictures with labels ------------------------------------------------------------------------
def all_pictures(clip: MultiViewClip, views: Sequence[int] | None = None) -> Picks:
    """The labelled pictures of a clip, view after view.

    Args:
        clip: labelled, or with truth.
        views: numbers of its cameras; None: all.

    Returns:
        Times and views.
    """
    times = taught_times(clip)
    which = torch.arange(clip.rig.views) if views is None else torch.tensor(views)
    return times.repeat(len(which)), which.repeat_interleave(len(times))


def in_camera(clip: MultiViewClip, picks: Picks) -> Tensor:
    """Labels in each picture's camera, about the root.

    Args:
        clip: labelled, or with truth.
        picks: pictures.

    Returns:
        (N, J, 3) in the clip's unit.
    """
    world, _, names = labels_of(clip)
    world = world[picks[0]]
    return (world - roots(world, names)[:, None]) @ clip.rig.R[picks[1]].mT


@torch.no_grad()
def recite(
    model: Discoverer,
    recipe: Recipe,
    clip: MultiViewClip,
    picks: Picks,
    *,
    side: float | None = None,
    occlude: Occluders | None = None,
    batch: int = 32,
) -> Tensor:
    """What a student says of labelled pictures, in their cameras.

    Of the truth it is told, as in the paper's protocol, the box and the root's depth. Scores after
    the best scale or alignment hardly depend on the latter.

    Args:
        model: trained.
        recipe: of its run.
        clip: labelled, or with truth; of whatever unit.
        picks: pictures of it.
        side: of the box about the root, in the clip's unit; None: what holds the body.
        occlude: pastes things over the crops.
        batch: pictures at a time.

    Returns:
        (N, J, 3) in the camera, about the root, in the clip's unit.
    """
    model.eval()
    side, poses, device = side or box_side(clip), [], next(model.parameters()).device
    plain = replace(recipe.with_(side=side), lesson=replace(UNCHANGED, joints=recipe.lesson.joints))
    for part in torch.arange(len(picks[0])).split(batch):
        random = torch.Generator().manual_seed(int(part[0]))
        draws = torch.rand(len(part), DRAWS, generator=random) if occlude else None
        asked = labelled_batch(clip, (picks[0][part], picks[1][part]), plain, draws, occlude)
        asked = asked.to(device)
        poses.append(_in_space(model.keypoints(asked), asked, side).cpu())
    return torch.cat(poses)


def _in_space(said: Keypoints, asked: Batch, side: float) -> Tensor:
    """Joints (N, J, 3) in the camera about the root, whose depth is known."""
    rig, centre = asked.rig, cast(Tensor, asked.centre)
    root = rig.cam_from_world(centre[:, None])
    z = root[..., 2:] + cast(Tensor, said.depth)[..., None] * side / 2
    flat = rig.flat_from_px(rig.px_from_ndc(said.ndc))
    return (torch.cat([flat * z, z], -1) - root)[:, 0]


# ---- new pictures --------------------------------------------------------------------------------
@torch.no_grad()
def read_poses(
    model: Discoverer, recipe: Recipe, clip: MultiViewClip, boxes: Tensor, batch: int = 16
) -> tuple[Track2D, Track]:
    """Poses in the pictures of one camera; nothing of the truth is told.

    Args:
        model: trained.
        recipe: of its run, which knows how much larger than a box a crop is.
        clip: of one view, calibrated or not; its calibration is not looked at.
        boxes: (T, 4) x, y, width, height of the body in pixels.
        batch: pictures at a time.

    Returns:
        The joints in the image, and in space about the root: x to the picture's right, y away from
        the camera, z up in the picture, in the labels' unit as if the body had their usual size.
    """
    model.eval()
    own, parts = recipe.lesson, []
    names = own.joints or tuple(f"k{k}" for k in range(recipe.keypoints))
    for times in torch.arange(len(clip)).split(batch):
        middle = boxes[times, :2] + boxes[times, 2:] / 2
        side = (own.margin or 1.0) * boxes[times, 2:].amax(1)[:, None, None].expand(-1, 1, 2)
        for _ in range(GLANCES):
            window = Window(middle[:, None] - side / 2, side)
            said = _looked(model, recipe, clip, times, window)
            px = window.corner + (said.ndc[:, 0] + 1) / 2 * side
            middle = roots(px, names)
        depth = cast(Tensor, said.depth)[:, 0, :, None]
        about = torch.cat([said.ndc[:, 0, :, :1], depth, -said.ndc[:, 0, :, 1:]], -1)
        parts.append((px, said.confidence[:, 0], about - roots(about, names)[:, None]))
    px, confidence, about = (torch.cat(x) for x in zip(*parts))
    skeleton, told = Skeleton(names, person_bones(names)), dict(fps=clip.fps, **clip.clock)
    flat = Track2D(px, confidence, skeleton, wh=clip.rig.wh, camera=clip.rig.names[0], **told)
    world = about * (recipe.volume.side or 2.0) / 2
    return flat, Track(world, confidence, skeleton, unit=own.unit or "", **told)


def _looked(
    model: Discoverer, recipe: Recipe, clip: MultiViewClip, times: Tensor, window: Window
) -> Keypoints:
    """What the student says of windows (n, 1) of the first view."""
    picks = (times, torch.zeros_like(times))
    images = cut_turned(clip, picks, window, recipe.data.image_wh)
    batch = Batch(images[:, None], None, rig=clip.rig, index=times)
    said = model.keypoints(batch.to(next(model.parameters()).device))
    told = {key: cast(Tensor, getattr(said, key)).cpu() for key in ("ndc", "confidence", "depth")}
    return Keypoints(world=None, **told)
