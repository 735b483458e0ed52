"""Volumes: how flat pictures vote for a place in space."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .cameras import CameraRig
from .shapes import cells, shaped
from .sliding import box_mean


@dataclass(frozen=True)
class Grid:
    """A cube of N x N x N voxels.

    Attributes:
        centre: (3) or (B, 3), world units.
        side: world units.
        voxels: N.
        turn: (B) radians about the vertical z axis, or None.
    """

    centre: Tensor
    side: float
    voxels: int
    turn: Tensor | None = None

    @property
    def points(self) -> Tensor:
        """Voxel centres (N, N, N, 3) or (B, N, N, N, 3): axes [z, y, x], last axis (x, y, z)."""
        local = cells(*[self.voxels] * 3, like=self.centre) * self.side / 2
        if self.turn is not None:
            c, s, o = self.turn.cos(), self.turn.sin(), torch.zeros_like(self.turn)
            R = torch.stack([c, -s, o, s, c, o, o, o, torch.ones_like(o)], -1).view(-1, 1, 1, 3, 3)
            local = local @ R.mT
        return local + self.centre[..., None, None, None, :]


def overlap(rig: CameraRig) -> tuple[Tensor, float]:
    """Where the views overlap: the point nearest to all images' middle rays, and the width there.

    A cropped image looks past its camera's optical axis, so the axis would not do. For parallel
    axes, which meet nowhere, the equations are damped towards the mean point at the cameras' own
    spread in front of them.

    Args:
        rig: V cameras.

    Returns:
        Centre (3) and side of a cube, in world units; the side is the median over views of the
        shorter image side at the centre's depth.

    Raises:
        ValueError: the cameras look away from each other.
    """
    if not rig.calibrated:  # the picture itself, `image_plane`
        return rig.K.new_tensor([0.0, 0.0, 1.0]), min(1.0, rig.wh[1] / rig.wh[0])
    axes = rig.ray_from_px(rig.px_from_ndc(rig.K.new_zeros(rig.views, 1, 2)))[1][:, 0]
    across = torch.eye(3) - axes[:, :, None] * axes[:, None, :]
    spread = (rig.centres - rig.centres.mean(0)).norm(dim=-1).mean().clamp(min=1e-6)
    guess = (rig.centres + spread * axes).mean(0)
    right = (across @ (rig.centres - guess)[..., None]).sum(0) + 0
    centre = guess + torch.linalg.solve(across.sum(0) + 1e-3 * torch.eye(3), right)[:, 0]
    depth = rig.cam_from_world(centre[None])[:, 0, 2]
    if (depth <= 0).all():
        raise ValueError(
            "the cameras look away from each other: no volume is seen by them; check the rotations "
            "(R or R transposed)"
        )
    width = torch.stack([rig.wh[0] / rig.K[:, 0, 0], rig.wh[1] / rig.K[:, 1, 1]]).amin(0)
    return centre, float((width * depth)[depth > 0].median())


def unproject(maps: Tensor, ndc: Tensor) -> Tensor:
    """Sample maps bilinearly at projected points; outside of an image: 0.

    Paper section 3.1: V_c(i) = H_c(i) sampled at P(i) V_coords.

    Args:
        maps: (B, V, C, h, w) heatmaps.
        ndc: (B, V, P, 2) projected points.

    Returns:
        (B, V, C, P) samples.
    """
    shaped(maps, "B V C h w", "maps")
    grid = ndc.flatten(0, 1)[:, None].clamp(-1e4, 1e4)
    flat = F.grid_sample(maps.flatten(0, 1), grid, align_corners=False)
    return flat[:, :, 0].unflatten(0, maps.shape[:2])


def inside(ndc: Tensor) -> Tensor:
    """Which projected points lie in the image.

    Args:
        ndc: (..., 2).

    Returns:
        (...) bool.
    """
    return (ndc.abs() <= 1).all(-1)


def fuse(volumes: Tensor, how: str = "softmax") -> Tensor:
    """One volume of every view's.

    Args:
        volumes: (B, V, C, P).
        how: over views, per channel: `softmax` weights, sum_i softmax_i(V) V_i (paper), `mean`,
            `sum` or `max`.

    Returns:
        (B, C, P).

    Raises:
        ValueError: another word.
    """
    if how == "softmax":
        return _SoftmaxFused.apply(volumes)
    if how not in ("mean", "sum", "max"):
        raise ValueError(f"fuse: how = {how!r}; expected softmax, mean, sum or max")
    return volumes.amax(1) if how == "max" else getattr(volumes, how)(1)


class _SoftmaxFused(torch.autograd.Function):
    """f = sum_i s_i V_i, s = softmax(V): df/dV_i = s_i (1 + V_i - f), one new volume, not four."""

    @staticmethod
    def forward(ctx, volumes):
        weights = volumes.softmax(1)
        fused = (weights * volumes).sum(1)
        ctx.save_for_backward(volumes, weights, fused)
        return fused

    @staticmethod
    @once_differentiable
    def backward(ctx, slope):
        volumes, weights, fused = ctx.saved_tensors
        return (volumes - (fused - 1)[:, None]).mul_(weights).mul_(slope[:, None])


def hull(moving: Tensor, ndc: Tensor, least: float = 0.02, blur: int = 1) -> Tensor:
    """Soft visual hull: mean over views of log(foreground).

    A view that does not see a point votes log(least) / 2: neither for it nor quite against, or a
    corner seen by one camera would win.

    Args:
        moving: (B, V, 1, h, w) foreground in [0, 1].
        ndc: (B, V, P, 2) projected points.
        least: foreground that counts as none.
        blur: odd width in pixels of a tent filter on the foreground, which makes the hull highest
            along the middle of the body, not up to its rim.

    Returns:
        (B, P) in [log(least), 0].
    """
    if blur > 1:
        moving = box_mean(moving, blur, times=2, zeros=True)
    votes = unproject(moving, ndc)[:, :, 0].clamp(min=least).log()
    return torch.where(inside(ndc), votes, math.log(least) / 2).mean(1)


def soft_argmax(logits: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Expected point and confidence of a softmax over cells; one function for 2D and 3D.

    The confidence is the geometric mean of a peak term, 1 - log(1 / p_max) / log P, and a spread
    term, 1 - (spread of the softmax) / (spread of the flat one): 0 for a flat map, 1 for a single
    cell.

    Args:
        logits: (B, ..., P).
        points: (P, D) or (B, P, D) places of the cells.

    Returns:
        Points (B, ..., D) and confidence (B, ...) in [0, 1].
    """
    p = logits.softmax(-1)
    flat = p.flatten(1, -2)
    points = points.expand(len(p), -1, -1)
    mean = flat @ points
    square = flat @ points.square().sum(-1, keepdim=True)
    variance = (square - mean.square().sum(-1, keepdim=True))[..., 0].clamp(min=0)
    even = (points - points.mean(1, keepdim=True)).square().sum(-1).mean(1)
    peak = 1 + flat.amax(-1).clamp(min=1e-12).log() / math.log(p.shape[-1])
    spread = 1 - (variance / even[:, None].clamp(min=1e-12)).clamp(min=1e-8).sqrt()
    confidence = (peak.clamp(0, 1) * spread.clamp(0, 1)).clamp(min=1e-9).sqrt()
    return mean.unflatten(1, p.shape[1:-1]), confidence.unflatten(1, p.shape[1:-1])


@torch.no_grad()
def covariance_and_peak(logits: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Covariance and peak of a softmax over cells; no gradient.

    Args:
        logits: (B, ..., P).
        points: (P, D) or (B, P, D) places of the cells.

    Returns:
        Covariance (B, ..., D, D) in the points' unit squared, and the largest share of one cell
        (B, ...), which for a flat map is 1 / P.
    """
    p, D = logits.softmax(-1), points.shape[-1]
    points = points.expand(len(p), -1, -1)
    away = points - points.mean(1, keepdim=True)  # small numbers: far from the world's origin, too
    squares = (away[..., :, None] * away[..., None, :]).flatten(2)
    flat = p.flatten(1, -2)
    mean, square = flat @ away, (flat @ squares).unflatten(-1, (D, D))
    covariance = square - mean[..., :, None] * mean[..., None, :]
    return covariance.unflatten(1, p.shape[1:-1]), p.amax(-1)


@torch.no_grad()
def entropy(logits: Tensor) -> Tensor:
    """Entropy of the softmax over cells, as a share of the even one's, log P; no gradient.

    Args:
        logits: (B, ..., P).

    Returns:
        (B, ...); 0: a single cell, 1: all alike.
    """
    return torch.special.entr(logits.softmax(-1)).sum(-1) / math.log(logits.shape[-1])
