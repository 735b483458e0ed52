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

PIECE = (
    1 << 18
)  # samples of all views and channels that are worked on at a time, to stay in a core's second cache


@dataclass(frozen=True)
class Grid:
    """A cube of N x N x N voxels: `side` world units about `centre` (3) or (B, 3), turned by `turn` (B) about the vertical z axis."""

    centre: Tensor
    side: float
    voxels: int
    turn: Tensor | None = None

    @property
    def points(self) -> Tensor:
        """Voxel centres in the world, (N, N, N, 3) or (B, N, N, N, 3), volume axes [z, y, x], last axis (x, y, z)."""
        local = cells(*[self.voxels] * 3, like=self.centre) * self.side / 2
        if self.turn is not None:
            c, s, o = self.turn.cos(), self.turn.sin(), torch.zeros_like(self.turn)
            R = torch.stack([c, -s, o, s, c, o, o, o, torch.ones_like(o)], -1).view(-1, 1, 1, 3, 3)
            local = local @ R.mT
        return local + self.centre[..., None, None, None, :]


def overlap(rig: CameraRig) -> tuple[Tensor, float]:
    """Centre (3) and side of a cube where the views overlap: nearest point to the rays of all images' centres, and the width seen there.

    A cropped image looks past its camera's optical axis, so the axis would not do. The side is the median over views of the shorter image side at the centre's depth. For parallel axes, which meet
    nowhere, the equations are damped towards the mean point at the cameras' own spread in front of them.
    """
    axes = rig.ray_from_px(rig.px_from_ndc(rig.K.new_zeros(rig.views, 1, 2)))[1][:, 0]
    across = torch.eye(3) - axes[:, :, None] * axes[:, None, :]
    spread = (rig.centres - rig.centres.mean(0)).norm(dim=-1).mean().clamp(min=1e-6)
    guess = (rig.centres + spread * axes).mean(0)
    right = (across @ (rig.centres - guess)[..., None]).sum(0) + 0
    centre = guess + torch.linalg.solve(across.sum(0) + 1e-3 * torch.eye(3), right)[:, 0]
    depth = rig.cam_from_world(centre[None])[:, 0, 2]
    if (depth <= 0).all():
        raise ValueError(
            "the cameras look away from each other: no volume is seen by them; check the rotations (R or R transposed)"
        )
    width = torch.stack([rig.wh[0] / rig.K[:, 0, 0], rig.wh[1] / rig.K[:, 1, 1]]).amin(0)
    return centre, float((width * depth)[depth > 0].median())


def unproject(maps: Tensor, ndc: Tensor) -> Tensor:
    """Bilinear samples of `maps` (B, V, C, h, w) at projected points `ndc` (B, V, P, 2) -> (B, V, C, P); outside: 0.

    Paper section 3.1: V_c(i) = H_c(i) sampled at P(i) V_coords.
    """
    shaped(maps, "B V C h w", "maps")
    flat = F.grid_sample(
        maps.flatten(0, 1), ndc.flatten(0, 1)[:, None].clamp(-1e4, 1e4), align_corners=False
    )
    return flat[:, :, 0].unflatten(0, maps.shape[:2])


def inside(ndc: Tensor) -> Tensor:
    """Which projected points (..., 2) lie in the image, (...) bool."""
    return (ndc.abs() <= 1).all(-1)


def fuse(volumes: Tensor, how: str = "softmax") -> Tensor:
    """(B, V, C, P) -> (B, C, P): over views, per channel, `softmax` weights sum_i softmax_i(V) V_i (paper), `mean`, `sum` or `max`."""
    if how == "softmax":
        return _SoftmaxFused.apply(volumes)
    if how not in ("mean", "sum", "max"):
        raise ValueError(f"fuse: how = {how!r}; expected softmax, mean, sum or max")
    return volumes.amax(1) if how == "max" else getattr(volumes, how)(1)


class _SoftmaxFused(torch.autograd.Function):
    """f = sum_i s_i V_i with s = softmax(V), whose slope is df/dV_i = s_i (1 + V_i - f): one new volume instead of four."""

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


def fused_volume(maps: Tensor, ndc: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """As `fuse(unproject(maps, ndc))`, a few points at a time, so that no volume of every view is ever held; `ndc` gets no gradient.

    dtype: number format of the volume (default: that of the maps).

    In training the views are sampled again in the backward pass: cheap beside the gigabyte that their volumes would take.
    """
    shaped(maps, "B V C h w", "maps")
    return _FusedVolume.apply(
        maps, ndc.expand(len(maps), -1, -1, -1).clamp(-1e4, 1e4), dtype or maps.dtype
    )


class _FusedVolume(torch.autograd.Function):
    """`_SoftmaxFused` of `unproject`, piece by piece: what one piece needs stays in a CPU's cache."""

    @staticmethod
    def forward(ctx, maps, ndc, dtype):
        ctx.save_for_backward(maps, ndc)
        fused = maps.new_empty(
            len(maps), ndc.shape[2], maps.shape[2], dtype=dtype
        )  # channels last, as the volume's network reads them
        for m, n, f in zip(maps, ndc, fused):
            for grid, into in zip(*_points(m, n, f)):
                votes = F.grid_sample(m, grid, align_corners=False)[:, :, 0]
                into.T.copy_(votes.softmax(0).mul_(votes).sum(0))
        return fused.movedim(-1, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx, slope):
        maps, ndc = ctx.saved_tensors
        found = maps.new_zeros(maps.shape)  # plain in memory, as the sampler's own gradients are
        for m, n, s, g in zip(maps, ndc, slope.movedim(1, -1), found):
            for grid, part in zip(*_points(m, n, s)):
                votes = F.grid_sample(m, grid, align_corners=False)[:, :, 0]
                weights = votes.softmax(0)
                fused = (weights * votes).sum(0)
                votes.sub_(fused).add_(1).mul_(weights).mul_(part.T)
                g += torch.ops.aten.grid_sampler_2d_backward(
                    votes[:, :, None], m, grid, 0, 0, False, [True, False]
                )[0]
        return found, None, None


def _points(
    maps: Tensor, ndc: Tensor, volume: Tensor
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """The same few points of ndc (V, P, 2), as grids (V, 1, p, 2), and of a volume (P, C); a GPU takes them all at once."""
    some = max(1, PIECE // maps[:, :, 0, 0].numel()) if maps.device.type == "cpu" else len(volume)
    return ndc[:, None].split(some, 2), volume.split(some)


def hull(moving: Tensor, ndc: Tensor, least: float = 0.02, blur: int = 1) -> Tensor:
    """Soft visual hull: mean over views of log(foreground), (B, P) in [log(least), 0].

    `moving` (B, V, 1, h, w) in [0, 1], `ndc` (B, V, P, 2). A view that does not
    see a point votes log(least) / 2: neither for it nor quite against, or a corner seen by one camera would win. blur: odd width in
    pixels of a tent filter on the foreground, which makes the hull highest along the middle of the body, not up to its rim.
    """
    if blur > 1:
        flat = moving.flatten(0, 1)
        for _ in range(2):
            flat = F.avg_pool2d(flat, blur, 1, blur // 2)
        moving = flat.view_as(moving)
    votes = unproject(moving, ndc)[:, :, 0].clamp(min=least).log()
    return torch.where(inside(ndc), votes, math.log(least) / 2).mean(1)


def soft_argmax(logits: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Expected point and confidence of a softmax over P cells; one function for 2D and 3D.

    logits (B, ..., P), points (P, D) or (B, P, D) -> (B, ..., D) and (B, ...). Confidence in [0, 1] is the geometric mean of
    a peak term, 1 - log(1 / p_max) / log P, and a spread term, 1 - (spread of the softmax) / (spread of the flat one):
    0 for a flat map, 1 for a single cell.
    """
    p = logits.softmax(-1)
    flat = p.flatten(1, -2)
    points = points.expand(len(p), -1, -1)
    mean = flat @ points
    variance = (flat @ points.square().sum(-1, keepdim=True) - mean.square().sum(-1, keepdim=True))[
        ..., 0
    ].clamp(min=0)
    even = (points - points.mean(1, keepdim=True)).square().sum(-1).mean(1)
    peak = 1 + flat.amax(-1).clamp(min=1e-12).log() / math.log(p.shape[-1])
    spread = 1 - (variance / even[:, None].clamp(min=1e-12)).clamp(min=1e-8).sqrt()
    weight = (peak.clamp(0, 1) * spread.clamp(0, 1)).clamp(min=1e-9).sqrt()
    return mean.unflatten(1, p.shape[1:-1]), weight.unflatten(1, p.shape[1:-1])


@torch.no_grad()
def entropy(logits: Tensor) -> Tensor:
    """Of the softmax over P cells, as a share of the even one's, log P: (B, ..., P) -> (B, ...); 0: a single cell, 1: all alike. No gradient."""
    return torch.special.entr(logits.softmax(-1)).sum(-1) / math.log(logits.shape[-1])
