"""Lenses: OpenCV's distortion (k1, k2, p1, p2, k3) on the plane z = 1, and its inverse."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def _radial(r2: Tensor, k1: Tensor, k2: Tensor, k3: Tensor) -> Tensor:
    return 1 + r2 * (k1 + r2 * (k2 + r2 * k3))


def largest_radius2(distortion: Tensor) -> Tensor:
    """Squared radius up to which r -> r (1 + k1 r^2 + k2 r^4 + k3 r^6) grows.

    Past it the polynomial folds back, and a point far outside of the field of view would land
    inside the image.

    Args:
        distortion: (..., V, 5).

    Returns:
        (..., V, 1, 1); infinity if it always grows.
    """
    r2 = torch.linspace(0, 16, 1601, device=distortion.device, dtype=distortion.dtype)
    k1, k2, _, _, k3 = (c[..., None] for c in distortion.unbind(-1))
    falls = 1 + 3 * k1 * r2 + 5 * k2 * r2**2 + 7 * k3 * r2**3 <= 0
    first = torch.where(falls, r2, torch.full_like(r2, math.inf).expand(falls.shape)).amin(-1)
    return first[..., None, None]


def distort(flat: Tensor, distortion: Tensor) -> Tensor:
    """OpenCV's model on points of the plane z = 1.

    Beyond the radius where the polynomial stops growing its value there stands, so that points
    outside of the field of view stay outside (OpenCV lets them fold back into the image).

    Args:
        flat: (..., V, P, 2).
        distortion: (..., V, 5).

    Returns:
        (..., V, P, 2).
    """
    k1, k2, p1, p2, k3 = (c[..., None, None] for c in distortion.unbind(-1))
    r2 = flat.square().sum(-1, keepdim=True)
    limit, one = largest_radius2(distortion), torch.ones_like(r2)
    bounded, far = torch.minimum(r2, limit), r2 > limit
    shrink = torch.where(far, bounded / torch.where(far, r2, one), one).sqrt()
    x, y = (flat * shrink).split(1, -1)
    tangential = [
        2 * p1 * x * y + p2 * (bounded + 2 * x * x),
        p1 * (bounded + 2 * y * y) + 2 * p2 * x * y,
    ]
    return flat * _radial(bounded, k1, k2, k3) + torch.cat(tangential, -1)


def undistort(ideal: Tensor, distortion: Tensor, steps: int = 12) -> Tensor:
    """Inverse of `distort` by Newton's method on both coordinates.

    Args:
        ideal: (..., V, P, 2) distorted points on the plane z = 1.
        distortion: (..., V, 5).
        steps: of Newton's method.

    Returns:
        (..., V, P, 2).
    """
    k1, k2, p1, p2, k3 = (c[..., None] for c in distortion.unbind(-1))
    flat = ideal
    for _ in range(steps):
        x, y = flat.unbind(-1)
        r2 = x * x + y * y
        radial, slope = _radial(r2, k1, k2, k3), k1 + r2 * (2 * k2 + 3 * k3 * r2)
        a = radial + 2 * x * x * slope + 2 * p1 * y + 6 * p2 * x
        d = radial + 2 * y * y * slope + 6 * p1 * y + 2 * p2 * x
        b = 2 * x * y * slope + 2 * p1 * x + 2 * p2 * y
        u, v = (distort(flat, distortion) - ideal).unbind(-1)
        flat = flat - torch.stack([d * u - b * v, a * v - b * u], -1) / (a * d - b * b)[..., None]
    return flat
