"""Foreground: windows of images, what in them is not the empty room, and what tells: a survey."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..cameras import CameraRig
from ..sliding import box_mean, largest, smallest
from .heading import Heading
from .moving_light import lit

CROP_FROM_PX = 512  # of the longer side: larger images are cropped before anything else


class Window(NamedTuple):
    """A rectangle of each of B x V images, in pixels; it may reach out of them."""

    corner: Tensor  # (B, V, 2) x and y of the upper left corner
    extent: Tensor  # (B, V, 2) width and height


def foreground(images: Tensor, ground: Tensor, noise: Tensor, contrast: Tensor) -> Tensor:
    """Soft foreground: |image - background| from 3 x each view's noise up to its contrast.

    A shadow darkens all colours of the background alike: where image = a x background with a in
    0.42..1, only what is left of the difference after that scaling counts (darker than 0.34 x the
    background is no shadow any more). Light that moves brightens them alike, smoothly and over a
    patch (`moving_light.lit`); it is treated in the same way. What this takes from grey parts of
    the body is given back where they are enclosed by the rest of it (a grey closing).

    Args:
        images: (B, V, 3, H, W) in [0, 1].
        ground: (B or 1, V, 3, H, W) the background in [0, 1].
        noise: (V,) of |image - background| where nothing moves.
        contrast: (V,) of |image - background| on the animal.

    Returns:
        (B, V, 1, H, W) in [0, 1].
    """
    power = ground.square().sum(2, keepdim=True).clamp(min=1e-4)
    shade = (images * ground).sum(2, keepdim=True) / power
    whole = (images - ground).abs().amax(2, keepdim=True)
    colour = (images - shade * ground).abs().amax(2, keepdim=True)
    plain = torch.where(power > 1e-3, shade, 1.0)
    bright = 1 - lit(plain.flatten(0, 2)).view_as(shade)
    solid = torch.where(shade > 1, bright, ((0.42 - shade) / 0.08).clamp(0, 1))
    low, high = (3 * noise)[:, None, None, None], contrast[:, None, None, None]

    def share(difference: Tensor) -> Tensor:
        return ((box_mean(difference, 3) - low) / (high - low).clamp(min=1e-3)).clamp(0, 1)

    sure = share(colour + (whole - colour).clamp(min=0) * solid)
    # About a twenty-fourth of the image: holes in a body, not the gap to its shadow.
    k = max(images.shape[-2:]) // 48 * 2 + 1
    closed = smallest(largest(sure, k), k)
    return torch.minimum(torch.maximum(closed, sure), share(whole))


def footprint(rig: CameraRig, centre: Tensor, side: float) -> Window:
    """The square window of each view that a ball fills.

    Args:
        rig: V cameras, batched (B, V).
        centre: (B, 3) of the ball, world units.
        side: diameter of the ball, world units.

    Returns:
        A window of (B, V) images: a square of the scene, whatever the pixels' shape.
    """
    depth = rig.cam_from_world(centre[:, None])[..., 0, 2].clamp(min=1e-3)
    middle = rig.px_from_world(centre[:, None])[..., 0, :]
    width = side / depth * rig.K[..., 0, 0]
    aspect = rig.K[..., 1, 1] / rig.K[..., 0, 0]
    extent = torch.stack([width, width * aspect], -1)
    return Window(middle - extent / 2, extent)


def cut_views(views: Sequence[Tensor], window: Window | None, wh: tuple[int, int]) -> Tensor:
    """Windows of images, resized; black outside of an image.

    One image after the other, and of a large one the window alone: floats take four times the
    memory of bytes.

    Args:
        views: V tensors (B, H, W, 3) uint8.
        window: what to cut of each; None: whole images.
        wh: (W, H) in pixels of the result.

    Returns:
        (B, V, 3, h, w) in [0, 1].
    """
    if window is None:
        resized = [[resized_image(planes(image), wh) for image in view] for view in views]
        return torch.stack([torch.cat(images) for images in resized], 1)
    lead = window.corner.shape[:2]
    begin, end = _read_boxes(window, (views[0].shape[2], views[0].shape[1]))
    grids = _sampling_grids(window, begin, end, wh)
    boxes = torch.cat([begin, end], -1).long().tolist()
    out = []
    for b, row in enumerate(grids):
        for v, grid in enumerate(row):
            x0, y0, x1, y1 = boxes[b][v]
            image = planes(views[v][b, y0:y1, x0:x1])
            out.append(F.grid_sample(image, grid[None], align_corners=False))
    return torch.cat(out).unflatten(0, lead)


def _read_boxes(window: Window, wh: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """First and one behind the last pixel that is read, each (B, V, 2): of large images, few."""
    corner, extent = window
    begin, end = torch.zeros_like(corner), corner.new_tensor(wh).expand_as(corner)
    if max(wh) > CROP_FROM_PX:
        begin = torch.minimum((corner.floor() - 2).clamp(min=0), end - 1)
        end = torch.maximum(torch.minimum((corner + extent).ceil() + 2, end), begin + 1)
    return begin, end


def _sampling_grids(window: Window, begin: Tensor, end: Tensor, wh: tuple[int, int]) -> Tensor:
    """Where each window's pixels lie in its box of [-1, 1]^2, (B, V, h, w, 2)."""
    low = (2 * (window.corner - begin) / (end - begin) - 1).flatten(0, 1)
    span = (2 * window.extent / (end - begin)).flatten(0, 1)
    theta = torch.zeros(len(low), 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = span[:, 0] / 2, span[:, 1] / 2, low + span / 2
    grids = F.affine_grid(theta, [len(low), 1, wh[1], wh[0]], align_corners=False)
    return grids.unflatten(0, window.corner.shape[:2])


def planes(image: Tensor) -> Tensor:
    """An image as the network reads it.

    Args:
        image: (H, W, 3) uint8.

    Returns:
        (1, 3, H, W) float in [0, 1].
    """
    return image.permute(2, 0, 1)[None].float() / 255


def resized_image(image: Tensor, wh: tuple[int, int]) -> Tensor:
    """Resize an image, antialiased; the same image if it has that size.

    Args:
        image: (1, 3, H, W).
        wh: (W, H) in pixels of the result.

    Returns:
        (1, 3, h, w).
    """
    same = tuple(image.shape[-2:]) == (wh[1], wh[0])
    return image if same else F.interpolate(image, (wh[1], wh[0]), mode="bilinear", antialias=True)


@dataclass(frozen=True)
class Survey:
    """What static cameras give for nothing, without labels; `clips.survey.survey` makes it."""

    background: Tensor  # (V, H, W, 3) uint8, the median frame
    noise: Tensor  # (V,) standard deviation of |frame - background| where nothing moves, in [0, 1]
    contrast: Tensor  # (V,) |frame - background| on the animal, in [0, 1]
    centre: Tensor  # (T, 3) centre of the visual hull, world units
    thumbs: Tensor  # (T, V, h, w) uint8, small foreground images
    floor: float  # change of `thumbs` between frames from noise alone: less is 'nothing moves'
    heading: Heading | None = None  # of every frame, where somebody asked (`heading_finder`)
    rarity: Tensor | None = None  # (T,) how unusual its shape is, where pairs are drawn by that
    length: float | None = None  # of the animal, world units, where `thumbs` were not kept

    def resized(self, wh: tuple[int, int]) -> Survey:
        """The same for frames of another size.

        Args:
            wh: (W, H) in pixels.

        Returns:
            A survey whose background is (V, H, W, 3).
        """
        views = [(255 * resized_image(planes(view), wh)).round().byte() for view in self.background]
        return replace(self, background=torch.stack([view[0].permute(1, 2, 0) for view in views]))

    def with_foreground(
        self, images: Sequence[Tensor], views: list[int], window: Window | None
    ) -> list[Tensor]:
        """Add the foreground to colours as a fourth channel.

        Args:
            images: of one moment or several, each (B, V, 3, h, w) in [0, 1].
            views: numbers of the V views.
            window: what was cut of the frames; None: nothing.

        Returns:
            Of each moment (B, V, 4, h, w).
        """
        B, _, _, h, w = images[0].shape
        grounds = [self.background[v].expand(B, -1, -1, -1) for v in views]
        ground = cut_views(grounds, window, (w, h))
        noise, contrast = self.noise[views], self.contrast[views]
        return [torch.cat([x, foreground(x, ground, noise, contrast)], 2) for x in images]

    def motion_energy(self, gap: int) -> Tensor:
        """How much moves between t and t + gap, as a share of the mean foreground.

        Args:
            gap: frames.

        Returns:
            (T - gap,) mean absolute change.
        """
        pairs = zip(self.thumbs[:-gap].split(512), self.thumbs[gap:].split(512))
        change = [(later.float() - now.float()).abs().mean((1, 2, 3)) for now, later in pairs]
        means = [some.float().mean((1, 2, 3)) for some in self.thumbs.split(512)]
        return torch.cat(change) / torch.cat(means).mean().clamp(min=1e-6)
