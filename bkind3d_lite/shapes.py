"""Shapes: the promise in a signature, checked at the door, and the centres of a grid.

The alphabet of axes, used in every docstring and message of this package:
B batch, V views, K keypoints, E edges, C channels, T time, J joints, P points, h w maps, H W images, N voxels per side.
"""

import torch
from torch import Tensor


def shaped(x: Tensor, axes: str, name: str = "input") -> Tensor:
    """Return `x` if its shape fits `axes`, else raise one clear `ValueError`.

    `axes` are blank-separated: a number must match exactly, a letter any size (the same letter twice: the same size),
    a leading `...` any number of axes. `shaped(ndc, "B V K 2")`.
    """
    wanted, sizes = axes.split(), tuple(x.shape)
    tail = wanted[1:] if wanted[0] == "..." else wanted
    fits = len(sizes) >= len(tail) if len(tail) < len(wanted) else len(sizes) == len(tail)
    bound: dict[str, int] = {}
    for letter, size in zip(tail, sizes[len(sizes) - len(tail) :]) if fits else ():
        fits &= size == (int(letter) if letter.isdigit() else bound.setdefault(letter, size))
    if not fits:
        raise ValueError(f"{name}: expected shape ({axes}), got {sizes}")
    return x


def cells(*size: int, like: Tensor | None = None) -> Tensor:
    """Centres of a regular grid on [-1, 1]^n, last axis ordered (x, y[, z]).

    `cells(H, W)` is (H, W, 2); `cells(D, H, W)` is (D, H, W, 3). Corner-origin: the outermost centres lie half a cell
    inside the border, so `grid_sample(..., align_corners=False)` reads cell i exactly at `cells`. Device and dtype of `like`.
    """
    like = torch.zeros(()) if like is None else like
    axes = [(2 * torch.arange(n, device=like.device, dtype=like.dtype) + 1) / n - 1 for n in size]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], -1)


def segment_distance2(points: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Squared distance of `points` (..., 2) to the segments a-b (..., 2), broadcast; exact, in closed form."""
    along = b - a
    s = ((points - a) * along).sum(-1) / along.square().sum(-1).clamp(min=1e-12)
    return (points - a - s.clamp(0, 1)[..., None] * along).square().sum(-1)
