"""Image plane: one camera that nobody calibrated, as a rig that knows its own picture alone.

Its world is the picture itself: a plane at depth 1 whose unit is the image's width, x to the
right, y down, (0, 0, 1) the image's middle. So all that follows an animal (a centre, a length, the
window that is cut about it) is written once for cameras with a world and for those without one;
what a single picture cannot tell refuses such a rig in one sentence (`world_needed`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from .cameras import CameraRig
from .shapes import cells, shaped

UNIT = "image widths"
FAR = 1.5  # times the foreground's own radius: what lies beyond is not the animal


def image_plane(name: str, wh: tuple[int, int]) -> CameraRig:
    """The rig of one uncalibrated camera.

    Args:
        name: of the camera.
        wh: (W, H) in pixels of its images.

    Returns:
        A rig of one view, `calibrated` = False.
    """
    W, H = float(wh[0]), float(wh[1])
    return CameraRig(
        K=torch.tensor([[[W, 0, W / 2], [0, W, H / 2], [0, 0, 1]]]),
        R=torch.eye(3)[None],
        t=torch.zeros(1, 3),
        distortion=torch.zeros(1, 5),
        wh=(wh[0], wh[1]),
        names=(name,),
        unit=UNIT,
        calibrated=False,
    )


def world_needed(rig: CameraRig, what: str) -> None:
    """Refuse a rig without a world where one is needed.

    Args:
        rig: cameras.
        what: needs the world, for the message.

    Raises:
        ValueError: the camera is not calibrated; says what works without a calibration.
    """
    if not rig.calibrated:
        raise ValueError(
            f"{what} needs calibrated cameras, and {', '.join(rig.names)} is one camera without a "
            "calibration: take keypoints in the image (recipes bkind-2d, quick-2d, or lift = "
            "'flat'), or record with two calibrated cameras or more"
        )


def plane_points(rig: CameraRig, px: Tensor) -> Tensor:
    """Pixels of an uncalibrated camera as points of its plane.

    Args:
        rig: of one view.
        px: (..., 1, P, 2) pixels.

    Returns:
        (..., P, 3), in image widths.
    """
    return rig.world_from_px(px, px.new_ones(px.shape[:-1]))[..., 0, :, :]


def plane_centres(thumbs: Tensor, rig: CameraRig) -> Tensor:
    """Where the animal is in the picture: the middle of the foreground, without far specks.

    Args:
        thumbs: (T, 1, h, w) uint8 foreground.
        rig: of one view.

    Returns:
        (T, 3) on the image plane; where nothing stands out, as in the nearest frame in which
        something does.
    """
    shaped(thumbs, "T 1 h w", "thumbs")
    pixels = cells(*thumbs.shape[2:]).flatten(0, 1) * torch.tensor([0.5, rig.wh[1] / rig.wh[0] / 2])
    weight = (thumbs.flatten(1).float() / 255).square()
    middle = _mean(weight, pixels)
    for _ in range(3):
        away = torch.cdist(middle, pixels)
        radius = (_mean(weight, away.square()[..., None])[:, 0]).sqrt() * FAR
        near = weight * (away <= radius[:, None].clamp(min=1 / thumbs.shape[3]))
        middle = _mean(near, pixels)
    there = (weight.sum(1) >= 1).nonzero()[:, 0]
    if len(there):
        nearest = (torch.arange(len(thumbs))[:, None] - there).abs().argmin(1)
        middle = middle[there][nearest]
    return torch.cat([middle, torch.ones(len(middle), 1)], 1)


def _mean(weight: Tensor, values: Tensor) -> Tensor:
    """Weighted means: (T, P) over (P, D) or (T, P, D), (T, D)."""
    values = values.expand(len(weight), -1, -1)
    total = weight.sum(1, keepdim=True).clamp(min=1e-6)
    return (weight[..., None] * values).sum(1) / total


def plane_boxes(boxes: Tensor, rig: CameraRig, length: float) -> Tensor:
    """Boxes as centres: nearer than the plane where a box is larger than usual, else farther.

    A window of `length` about such a centre is as wide as the box's longer side.

    Args:
        boxes: (T, 4) x, y of the upper left corner, width, height in pixels of the rig.
        rig: of one view.
        length: the usual longer side, image widths.

    Returns:
        (T, 3).
    """
    shaped(boxes, "T 4", "boxes")
    middle = boxes[:, :2] + boxes[:, 2:] / 2
    depth = length * rig.wh[0] / boxes[:, 2:].amax(1, keepdim=True).clamp(min=1.0)
    return rig.world_from_px(middle[None], depth[None, :, 0])[0]
