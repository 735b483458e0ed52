"""Synthetic: an articulated figure drawn into V views, its truth known, in memory.

For tests and lessons.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..cameras import CameraRig, ring
from ..shapes import cells, segment_distance2
from .clip import MultiViewClip
from .tracks import Skeleton

JOINTS = ("nose", "neck", "hip", "tail", "left_hand", "right_hand", "left_foot", "right_foot")
BONES = ((0, 1), (1, 2), (2, 3), (1, 4), (1, 5), (2, 6), (2, 7))
COLOURS = torch.tensor(
    [
        [0.9, 0.5, 0.4],
        [0.5, 0.35, 0.25],
        [0.35, 0.25, 0.2],
        [0.3, 0.5, 0.8],
        [0.8, 0.7, 0.2],
        [0.3, 0.7, 0.4],
        [0.7, 0.3, 0.6],
    ]
)
LENGTH = 250.0  # mm


def poses(frames: int, fps: float = 30.0, seed: int = 0) -> Tensor:
    """Joints of a 250 mm animal that walks a wandering curve, swings its limbs, raises its head.

    Args:
        frames: T.
        fps: frames per second.
        seed: of the walk.

    Returns:
        (T, 8, 3) mm.
    """
    random = torch.Generator().manual_seed(seed)
    a, b, c, d = (torch.rand(4, generator=random) * 2 * math.pi).tolist()
    time = torch.arange(frames) / fps
    heading = 1.1 * time + 0.9 * (0.7 * time + a).sin()
    place = torch.stack(
        [110 * (0.45 * time + b).sin(), 110 * (0.6 * time + c).cos(), torch.zeros_like(time)], -1
    )
    local = _body(
        swing=(5 * time).sin(),
        nod=0.5 + 0.5 * (0.8 * time + d).sin(),
        bend=0.35 * (1.7 * time).sin(),
    )
    cos, sin = heading.cos()[:, None], heading.sin()[:, None]
    x, y, z = local.unbind(-1)
    return torch.stack([cos * x - sin * y, sin * x + cos * y, z], -1) + place[:, None]


def _body(swing: Tensor, nod: Tensor, bend: Tensor) -> Tensor:
    """Joints in the animal's own axes, (T, 8, 3) mm, of limbs, head and back (T,)."""
    zero = torch.zeros_like(swing)
    joints = (
        (125 * bend.cos(), 125 * bend.sin(), 60 + 70 * nod),
        (60 + zero, zero, 65 + 35 * nod),
        (-60 + zero, zero, 55 + zero),
        (-125 * bend.cos(), 60 * bend.sin(), 45 + zero),
        (65 + 30 * swing, 38 + zero, 10 + 30 * nod),
        (65 - 30 * swing, -38 + zero, 10 + 30 * nod),
        (-60 - 30 * swing, 40 + zero, 6 + zero),
        (-60 + 30 * swing, -40 + zero, 6 + zero),
    )
    return torch.stack([torch.stack(joint, -1) for joint in joints], 1)


def draw(rig: CameraRig, joints: Tensor, seed: int = 0, thickness: float = 22.0) -> Tensor:
    """Draw bones as capsules on a static textured ground.

    Args:
        rig: V cameras.
        joints: (T, 8, 3) world.
        seed: of the ground and the noise.
        thickness: of the capsules, world units.

    Returns:
        (T, V, H, W, 3) uint8.
    """
    random = torch.Generator().manual_seed(seed + 1)
    W, H = rig.wh
    rough = torch.rand(rig.views, 3, H // 8 + 2, W // 8 + 2, generator=random)
    ground = 0.55 + 0.25 * (torch.nn.functional.interpolate(rough, (H, W), mode="bicubic") - 0.5)
    pixels = rig.px_from_ndc(cells(H, W))
    views = []
    for pose in joints:
        px, depth = rig.px_from_world(pose), rig.cam_from_world(pose)[..., 2]
        width = thickness / 2 * rig.K[:, 0, 0] / depth.mean(-1)
        image = ground.clone()
        for (i, j), colour in zip(BONES, COLOURS):
            d2 = segment_distance2(pixels, px[:, i, None, None], px[:, j, None, None])
            cover = (width[:, None, None] + 0.5 - d2.clamp(min=1e-9).sqrt()).clamp(0, 1)[:, None]
            image = image * (1 - cover) + colour[:, None, None] * cover
        views.append(image + 0.01 * torch.randn(image.shape, generator=random))
    return (torch.stack(views).clamp(0, 1) * 255).round().byte().movedim(2, -1)


def figure(
    frames: int = 120,
    views: int = 4,
    wh: tuple[int, int] = (96, 64),
    fps: float = 30.0,
    seed: int = 0,
    distortion: Sequence[float] = (-0.12, 0.02, 0.001, -0.001, 0.0),
) -> MultiViewClip:
    """A clip of the figure, with cameras all around it.

    Args:
        frames: T.
        views: V.
        wh: (W, H) in pixels.
        fps: frames per second.
        seed: of walk, ground and noise.
        distortion: of every lens, OpenCV's k1, k2, p1, p2, k3.

    Returns:
        The clip, its truth known.
    """
    rig = ring(
        views,
        radius=900.0,
        height=550.0,
        target=(0.0, 0.0, 50.0),
        wh=wh,
        field=52.0,
        distortion=distortion,
    )
    joints = poses(frames, fps, seed)
    return MultiViewClip(
        draw(rig, joints, seed),
        rig,
        fps,
        truth=joints,
        skeleton=Skeleton(JOINTS, BONES),
        body_length=LENGTH,
        name=f"synthetic-{seed}",
    )
