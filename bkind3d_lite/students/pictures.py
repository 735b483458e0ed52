"""Pictures: single images with their camera and labels, and the crops a student learns from.

A crop is a camera: turning, scaling and moving it changes the camera alone, and labels are
projected by the changed camera, so that they move with the image by construction. Turns are about
the optical axis, where an image really turns; a turn about the middle of a crop would be none.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..cameras import TENSORS, CameraRig
from ..clips.clip import MultiViewClip
from ..clips.foreground import footprint
from ..clips.pseudo_labels import PseudoLabels
from ..shapes import cells
from ..training.memory_planner import usable_memory

log = logging.getLogger(__name__)

MARGIN = 2.3  # side of a crop, in largest distances of a joint from the root
FEWEST_LABELLED = 0.7  # share of a picture's joints that must be labelled for it to teach


@dataclass(frozen=True)
class Pictures:
    """N images, each of one camera at one time.

    Attributes:
        frames: (N, H, W, 3) uint8.
        rig: cameras whose tensors lead with (N, 1).
        world: (N, J, 3) labels in the rig's unit; NaN: not known.
        weight: (N, J) how far each label is trusted.
        root: (N, 3) amid the hips, or the mean of what is known.
        names: of the joints.
        times: (N,) frames of the clip.
        views: (N,) numbers of its cameras.
    """

    frames: Tensor
    rig: CameraRig
    world: Tensor
    weight: Tensor
    root: Tensor
    names: tuple[str, ...]
    times: Tensor
    views: Tensor

    def __len__(self) -> int:
        return len(self.frames)

    def take(self, which: Tensor) -> Pictures:
        """Some of the pictures.

        Args:
            which: (n,) numbers, or (N,) bool.

        Returns:
            Pictures, in that order.
        """
        rig = replace(self.rig, **{key: getattr(self.rig, key)[which] for key in TENSORS})
        rows = ("frames", "world", "weight", "root", "times", "views")
        chosen: dict[str, Any] = {key: getattr(self, key)[which] for key in rows}
        return replace(self, rig=rig, **chosen)

    @property
    def side(self) -> float:
        """Side of the box that holds the body however it stands, in the rig's unit."""
        reach = (self.world - self.root[:, None]).norm(dim=-1).nan_to_num(0).amax(1)
        return MARGIN * float(reach.quantile(0.98))

    def in_camera(self) -> Tensor:
        """The labels in each picture's camera, about the root: (N, J, 3)."""
        about = self.world - self.root[:, None]
        return about @ self.rig.R[:, 0].mT


def labelled_pictures(
    clip: MultiViewClip,
    labels: PseudoLabels,
    views: Sequence[int] | None = None,
    memory: int | None = None,
) -> Pictures:
    """The labelled images of a clip.

    Args:
        clip: opened.
        labels: made for it; its cameras are theirs.
        views: numbers of the cameras to use; None: all.
        memory: bytes that the pictures may fill, twice while they are put together; None: what
            the system has left.

    Returns:
        One picture for each time and view, where enough joints are labelled; where memory does not
        hold all times, those of them that lie evenly, which is logged.

    Raises:
        ValueError: no time has enough.
    """
    clip = labels.of(clip)
    views = list(range(clip.rig.views)) if views is None else list(views)
    known = labels.world.isfinite().all(-1) & (labels.weight > 0)
    rows = (known.float().mean(1) >= FEWEST_LABELLED).nonzero()[:, 0]
    if not len(rows):
        most = float(known.float().mean(1).amax()) if len(known) else 0.0
        raise ValueError(
            f"{clip.name}: no frame has {FEWEST_LABELLED:.0%} of its {len(labels.names)} joints "
            f"labelled (the best {most:.0%}); leave out joints that are seldom seen"
        )
    rows = _within(rows, len(views) * clip.frames.shape[-3] * clip.frames.shape[-2] * 3, memory)
    times, world = labels.frames[rows], torch.where(known[..., None], labels.world, torch.nan)[rows]
    frames = torch.cat([torch.as_tensor(clip.frames[times.tolist(), v]) for v in views])
    n = len(times)
    rig = clip.rig.take(views)
    tensors = {key: getattr(rig, key).repeat_interleave(n, 0)[:, None].float() for key in TENSORS}
    return Pictures(
        frames=frames,
        rig=replace(rig, **tensors, names=("one",)),
        world=world.repeat(len(views), 1, 1),
        weight=(labels.weight * known)[rows].repeat(len(views), 1),
        root=_roots(world, labels.names).repeat(len(views), 1),
        names=labels.names,
        times=times.repeat(len(views)),
        views=torch.tensor(views).repeat_interleave(n),
    )


def _within(rows: Tensor, size: int, memory: int | None) -> Tensor:
    """The rows, or as many of them, evenly, as memory holds at so many bytes each."""
    memory = usable_memory() if memory is None else memory
    fits = max(1, memory // (2 * size))
    if len(rows) <= fits:
        return rows
    log.warning(
        "%d of %d labelled frames are used: all would take %.1f GB of memory; "
        "smaller images or fewer views leave room for more",
        fits,
        len(rows),
        2 * len(rows) * size / 1e9,
    )
    return rows[torch.linspace(0, len(rows) - 1, fits).round().long()]


def _roots(world: Tensor, names: Sequence[str]) -> Tensor:
    """The pelvis, or amid the hips, (T, 3); where they are not known, the mean of what is."""
    hips = [i for i, name in enumerate(names) if name == "pelvis"]
    hips = hips or [i for i, name in enumerate(names) if name in ("left_hip", "right_hip")]
    middle = world.nanmean(1)
    if not hips:
        return middle
    pelvis = world[:, hips].mean(1)
    return torch.where(pelvis.isfinite().all(-1, keepdim=True), pelvis, middle)


# ---- crops ---------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Crops:
    """What a student sees and should say: images (N, 3, h, w); target (N, J, 3), weight (N, J).

    Targets are ndc x, y in the crop, and the depth from the root in half sides of the box.
    """

    images: Tensor
    target: Tensor
    weight: Tensor


@dataclass(frozen=True)
class Augment:
    """How far crops are changed at random; none of it: `NO_CHANGE`."""

    turn: float = 30.0  # degrees about the optical axis, either way
    scale: float = 0.25  # share by which the box grows or shrinks
    shift: float = 0.05  # of the box, in sides
    colour: float = 0.2  # gain of each channel
    occlude: Callable[[Tensor, torch.Generator], Tensor] | None = (
        None  # changes images (N, 3, h, w)
    )


NO_CHANGE = Augment(turn=0, scale=0, shift=0, colour=0)


def cut(
    some: Pictures, side: float, wh: tuple[int, int], change: Augment, random: torch.Generator
) -> Crops:
    """Crops about the root, changed at random.

    Args:
        some: the pictures.
        side: of the box, in the rig's unit.
        wh: (W, H) in pixels of the crops.
        change: how far.
        random: draws.

    Returns:
        Images and targets.
    """
    N = len(some)
    angle = torch.deg2rad(change.turn * _either_way(N, random))
    grow = 1 + change.scale * _either_way(N, random)
    rig = turned_cameras(some.rig, angle)
    window = footprint(rig, some.root, side)
    extent = window.extent * grow[:, None, None]
    away = change.shift * torch.stack([_either_way(N, random) for _ in "xy"], -1)
    corner = window.corner + window.extent / 2 - extent / 2 + away[:, None] * extent
    seen = rig.cropped(corner, extent, wh)
    about = rig.cam_from_world(some.world) - rig.cam_from_world(some.root[:, None])
    depth = about[:, 0, :, 2] / (side / 2) / grow[:, None]
    target = torch.cat([seen.ndc_from_world(some.world)[:, 0], depth[..., None]], -1)
    known = target.isfinite().all(-1) & some.world.isfinite().all(-1)
    images = _resampled(some, rig, (corner[:, 0], extent[:, 0]), angle, wh)
    gain = 1 + change.colour * (2 * torch.rand(N, 3, 1, 1, generator=random) - 1)
    images = (images * gain).clamp(0, 1) if change.colour else images
    if change.occlude is not None:
        images = change.occlude(images, random)
    return Crops(images, target.nan_to_num(0), torch.where(known, some.weight, 0.0))


def _either_way(n: int, random: torch.Generator) -> Tensor:
    return 2 * torch.rand(n, generator=random) - 1


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


def _resampled(
    some: Pictures,
    rig: CameraRig,
    window: tuple[Tensor, Tensor],
    angle: Tensor,
    wh: tuple[int, int],
) -> Tensor:
    """The crops' pixels (N, 3, h, w) of the turned cameras, read from the images as they are."""
    (corner, extent), (W, H) = window, wh
    grid = (cells(H, W).flatten(0, 1) + 1) / 2  # (h w, 2) in [0, 1]
    px = corner[:, None] + extent[:, None] * grid
    K = rig.K[:, 0]
    focal, middle = K[:, :2, :2].diagonal(dim1=-2, dim2=-1)[:, None], K[:, None, :2, 2]
    flat = (px - middle) / focal
    c, s = angle.cos()[:, None], angle.sin()[:, None]
    back = torch.stack(
        [c * flat[..., 0] + s * flat[..., 1], c * flat[..., 1] - s * flat[..., 0]], -1
    )
    ndc = rig.ndc_from_px(back * focal + middle).view(-1, H, W, 2)
    planes = some.frames.permute(0, 3, 1, 2).float() / 255
    return F.grid_sample(planes, ndc, align_corners=False)
