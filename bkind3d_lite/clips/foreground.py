"""Foreground: windows of images, and what in them is not the empty room."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..cameras import CameraRig

CROP_FROM_PX = 512  # pixels of the longer side from which on images are cropped before anything else


def foreground(images: Tensor, ground: Tensor, noise: Tensor, contrast: Tensor) -> Tensor:
    """Soft foreground in [0, 1], (B, V, 1, H, W): |image - background| from 3 x each view's noise up to its contrast.

    images (B, V, 3, H, W) and ground (B or 1, V, 3, H, W) in [0, 1], noise and contrast (V,).
    A shadow darkens all colours of the background alike: where image = a x background with a in 0.42..1, only what is left of
    the difference after that scaling counts (darker than 0.34 x the background is no shadow any more). What this takes from
    grey parts of the body is given back where they are enclosed by the rest of it (a grey closing of the foreground).
    """
    shade = (images * ground).sum(2, keepdim=True) / ground.square().sum(2, keepdim=True).clamp(
        min=1e-4
    )
    whole = (images - ground).abs().amax(2, keepdim=True)
    colour = (images - shade * ground).abs().amax(2, keepdim=True)
    solid = torch.where(shade > 1, 1.0, ((0.42 - shade) / 0.08).clamp(0, 1))
    low, high = (3 * noise)[:, None, None, None], contrast[:, None, None, None]

    def share(difference: Tensor) -> Tensor:
        smooth = F.avg_pool2d(difference.flatten(0, 1), 3, 1, 1, count_include_pad=False)
        return ((smooth.view_as(difference) - low) / (high - low).clamp(min=1e-3)).clamp(0, 1)

    sure = share(colour + (whole - colour).clamp(min=0) * solid)
    k = (
        max(images.shape[-2:]) // 48 * 2 + 1
    )  # about a twenty-fourth of the image: holes in a body, not the gap to its shadow
    closed = -_largest(-_largest(sure.flatten(0, 1), k), k)
    return torch.minimum(torch.maximum(closed.view_as(sure), sure), share(whole))


def _largest(x: Tensor, k: int) -> Tensor:
    """Sliding maximum over k x k pixels, one axis after the other."""
    return F.max_pool2d(F.max_pool2d(x, (k, 1), 1, (k // 2, 0)), (1, k), 1, (0, k // 2))


def footprint(rig: CameraRig, centre: Tensor, side: float) -> tuple[Tensor, Tensor]:
    """Corner and extent in pixels, each (B, V, 2), of the square window that a ball of diameter `side` at `centre` fills."""
    depth = rig.cam_from_world(centre[:, None])[..., 0, 2].clamp(min=1e-3)
    middle = rig.px_from_world(centre[:, None])[..., 0, :]
    extent = side / depth * rig.K[..., 0, 0]
    aspect = (
        rig.K[..., 1, 1] / rig.K[..., 0, 0]
    )  # a square of the scene, whatever the pixels' shape
    window = torch.stack([extent, extent * aspect], -1)
    return middle - window / 2, window


def cut_views(
    views: Sequence[Tensor],
    have: tuple[int, int],
    corner: Tensor | None,
    window: Tensor | None,
    wh: tuple[int, int],
) -> Tensor:
    """V views (B, H, W, 3) uint8 -> (B, V, 3, h, w) in [0, 1]: their windows (outside the image: black), resized to `wh` = (W, H); no windows:
    whole images. One image after the other, and of a large one the window alone: floats take four times the memory of bytes.
    """
    if corner is None:
        return torch.stack(
            [torch.cat([resized_image(planes(image), wh) for image in view]) for view in views], 1
        )
    begin, end = torch.zeros_like(corner), corner.new_tensor(have).expand_as(corner)
    if max(have) > CROP_FROM_PX:
        begin = torch.minimum((corner.floor() - 2).clamp(min=0), end - 1)
        end = torch.maximum(torch.minimum((corner + window).ceil() + 2, end), begin + 1)
    low, span = (
        (2 * (corner - begin) / (end - begin) - 1).flatten(0, 1),
        (2 * window / (end - begin)).flatten(0, 1),
    )
    theta = torch.zeros(len(low), 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = span[:, 0] / 2, span[:, 1] / 2, low + span / 2
    grids = F.affine_grid(theta, (len(low), 1, wh[1], wh[0]), align_corners=False).unflatten(
        0, corner.shape[:2]
    )
    boxes = torch.cat([begin, end], -1).long().tolist()
    out = [
        F.grid_sample(planes(views[v][b, y:t, x:s]), grid[None], align_corners=False)
        for b, row in enumerate(grids)
        for v, grid in enumerate(row)
        for x, y, s, t in (boxes[b][v],)
    ]
    return torch.cat(out).unflatten(0, corner.shape[:2])


def planes(image: Tensor) -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, H, W) float in [0, 1]."""
    return image.permute(2, 0, 1)[None].float() / 255


def resized_image(image: Tensor, wh: tuple[int, int]) -> Tensor:
    """(1, 3, H, W) -> (1, 3, h, w), antialiased, for `wh` = (W, H); the same image if it has that size."""
    same = tuple(image.shape[-2:]) == (wh[1], wh[0])
    return image if same else F.interpolate(image, (wh[1], wh[0]), mode="bilinear", antialias=True)
