"""Sliding: the largest, the smallest and the mean of the pixels around every pixel.

Of small windows, one axis after the other: on a processor several times as fast as PyTorch's
pooling.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def largest(x: Tensor, k: int) -> Tensor:
    """Sliding maximum over k x k pixels.

    Args:
        x: (..., H, W), floats.
        k: odd.

    Returns:
        The same shape; behind an edge there is nothing.
    """
    return _largest_along(_largest_along(x, k, -2), k, -1)


def smallest(x: Tensor, k: int) -> Tensor:
    """Sliding minimum over k x k pixels.

    Args:
        x: (..., H, W), floats.
        k: odd.

    Returns:
        The same shape; behind an edge there is nothing.
    """
    return -largest(-x, k)


def _largest_along(x: Tensor, k: int, axis: int) -> Tensor:
    """Of windows of 1, 2, 4 ... and at last k pixels: each is the larger of two smaller ones."""
    found = F.pad(x, [0, 0] * (-axis - 1) + [k // 2, k // 2], value=-torch.inf)
    wide = 1
    while wide < k:
        step = min(wide, k - wide)
        rest = found.shape[axis] - step
        found = torch.maximum(found.narrow(axis, 0, rest), found.narrow(axis, step, rest))
        wide += step
    return found


def box_mean(x: Tensor, k: int, times: int = 1, zeros: bool = False) -> Tensor:
    """Sliding mean over k x k pixels.

    Args:
        x: (..., H, W).
        k: odd.
        times: one after the other; two of them are a tent filter.
        zeros: behind an edge everything is 0; otherwise there is nothing.

    Returns:
        The same shape.
    """
    for _ in range(times):
        for axis in (-2, -1):
            x = _mean_along(x, k, axis, zeros)
    return x


def _mean_along(x: Tensor, k: int, axis: int, zeros: bool) -> Tensor:
    n, reach = x.shape[axis], k // 2
    wider = F.pad(x, [0, 0] * (-axis - 1) + [reach, reach])
    total = wider.narrow(axis, 0, n).clone()
    for step in range(1, k):
        total += wider.narrow(axis, step, n)
    if zeros:
        return total / k
    place = torch.arange(n, device=x.device)
    there = place.clamp(max=reach) + (n - 1 - place).clamp(max=reach) + 1
    return total / (there if axis == -1 else there[:, None])
