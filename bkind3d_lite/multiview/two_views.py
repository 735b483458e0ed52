"""Two views at a time, as EpipolarPose triangulates: optimal pairs, and their vector median.

A pair's pixels are first moved as little as it takes for their rays to meet: the polynomial method
of Hartley and Sturm (1997); Hartley and Zisserman, Multiple View Geometry, 12.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import torch
from torch import Tensor

from ..cameras import CameraRig, triangulate
from ..epipolar import fundamental, homogeneous


def corrected_pair(F: Tensor, px_i: Tensor, px_j: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest pixels that fulfil x_j^T F x_i = 0 exactly: least sum of squared shifts.

    Args:
        F: (3, 3) from view i to view j.
        px_i: (P, 2) undistorted pixels.
        px_j: (P, 2) likewise.

    Returns:
        Both, moved.
    """
    F, a, b = F.double(), px_i.double(), px_j.double()
    Ti, Tj = (_shifted(x) for x in (a, b))  # the pixel at the origin
    moved = Tj.mT @ F @ Ti
    Ri, fi = _turned(torch.linalg.svd(moved)[2][..., -1, :])
    Rj, fj = _turned(torch.linalg.svd(moved.mT)[2][..., -1, :])
    G = Rj @ moved @ Ri.mT  # epipoles at (1, 0, fi) and (1, 0, fj)
    t = _best_line(G, fi, fj)
    p, q = G[..., 1, 1] * t + G[..., 1, 2], G[..., 2, 1] * t + G[..., 2, 2]
    lines = torch.stack([t * fi, torch.ones_like(t), -t], -1), torch.stack([-fj * q, p, q], -1)
    back = (Ti @ Ri.mT, Tj @ Rj.mT)
    feet = [(M @ _foot(line)[..., None])[..., 0] for M, line in zip(back, lines)]
    return tuple((x[..., :2] / x[..., 2:]).to(px_i.dtype) for x in feet)  # type: ignore[return-value]


def _shifted(px: Tensor) -> Tensor:
    """Maps (P, 3, 3) that put the origin at each pixel."""
    T = torch.eye(3, dtype=px.dtype).repeat(len(px), 1, 1)
    T[:, :2, 2] = px
    return T


def _turned(epipole: Tensor) -> tuple[Tensor, Tensor]:
    """Rotations (P, 3, 3) that put epipoles (P, 3) at (1, 0, f), and f (P,)."""
    e = epipole / epipole[:, :2].norm(dim=-1, keepdim=True).clamp(min=1e-12)
    x, y, f = e.unbind(-1)
    o, one = torch.zeros_like(x), torch.ones_like(x)
    return torch.stack([x, y, o, -y, x, o, o, o, one], -1).unflatten(-1, (3, 3)), f


def _foot(line: Tensor) -> Tensor:
    """The point of each line (P, 3) nearest to the origin, homogeneous."""
    a, b, c = line.unbind(-1)
    return torch.stack([-a * c, -b * c, a * a + b * b], -1)


def _best_line(G: Tensor, fi: Tensor, fj: Tensor) -> Tensor:
    """Of the pencil of epipolar lines the parameter t (P,) of least cost: a root of degree 6."""
    (a, b), (c, d) = G[..., 1, 1:].unbind(-1), G[..., 2, 1:].unbind(-1)
    p, q = torch.stack([b, a], -1), torch.stack([d, c], -1)  # lowest power first
    circle = _product(p, p) + fj[:, None].square() * _product(q, q)
    near = torch.stack([torch.ones_like(fi), torch.zeros_like(fi), fi.square()], -1)
    left = torch.nn.functional.pad(_product(circle, circle), (1, 1))
    right = _product(_product(near, near), _product(p, q))
    t = _roots(left - (a * d - b * c)[:, None] * right)
    pt, qt = a[:, None] * t + b[:, None], c[:, None] * t + d[:, None]
    cost = t.square() / (1 + (fi[:, None] * t).square())
    cost = cost + qt.square() / (pt.square() + (fj[:, None] * qt).square()).clamp(min=1e-300)
    return t.gather(1, cost.argmin(1, keepdim=True))[:, 0]


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Products of polynomials, (P, m) and (P, n) to (P, m + n - 1)."""
    out = a.new_zeros(len(a), a.shape[1] + b.shape[1] - 1)
    for k in range(a.shape[1]):
        out[:, k : k + b.shape[1]] += a[:, k : k + 1] * b
    return out


def _roots(polynomial: Tensor) -> Tensor:
    """Real parts of the roots (P, 6) of polynomials (P, 7), lowest power first."""
    lead = polynomial[:, -1:]
    tiny = 1e-14 * polynomial.abs().amax(1, keepdim=True).clamp(min=1e-300)
    lead = torch.where(lead.abs() < tiny, tiny, lead)
    companion = torch.diag_embed(polynomial.new_ones(len(polynomial), 5), -1)
    companion[:, :, -1] = -polynomial[:, :-1] / lead
    return torch.linalg.eigvals(companion).real


def vector_median(points: Tensor) -> Tensor:
    """Of several readings of a point the one with the least sum of distances to the others.

    Args:
        points: (N, ..., 3); NaN readings do not count.

    Returns:
        (..., 3); NaN where there is no reading.
    """
    apart = (points[:, None] - points).norm(dim=-1).nansum(1)
    apart = torch.where(points.isfinite().all(-1), apart, torch.inf)
    best = apart.argmin(0)
    return points.gather(0, best[None, ..., None].expand(1, *points.shape[1:]))[0]


def median_of_pairs(
    rig: CameraRig, px: Tensor, pairs: Sequence[tuple[int, int]] | None = None
) -> Tensor:
    """EpipolarPose's triangulation: optimal two-view points of each pair, then their median.

    Args:
        rig: V cameras.
        px: (T, V, J, 2) pixels; NaN: not seen.
        pairs: of views, for example only neighbours; None: all.

    Returns:
        (T, J, 3) world; NaN where no pair saw the joint.
    """
    plain = replace(rig, distortion=torch.zeros_like(rig.distortion)).to(torch.float64)
    ideal = plain.px_from_flat(rig.to(torch.float64).flat_from_px(px.double()))
    readings = []
    for i, j in combinations(range(rig.views), 2) if pairs is None else pairs:
        a, b = ideal[:, i].flatten(0, 1), ideal[:, j].flatten(0, 1)
        both = (a.isfinite() & b.isfinite()).all(-1)
        world = a.new_full((len(a), 3), torch.nan)
        if both.any():
            meeting = torch.stack(corrected_pair(fundamental(plain, i, j), a[both], b[both]))
            world[both] = triangulate(plain.take((i, j)), meeting)
        readings.append(world.view(*px[:, 0].shape[:2], 3))
    return vector_median(torch.stack(readings)).float()


def epipolar_residual(F: Tensor, px_i: Tensor, px_j: Tensor) -> Tensor:
    """Sampson's distance: to first order how far pixels must move to fulfil x_j^T F x_i = 0.

    Hartley and Zisserman, 11.4.3.

    Args:
        F: (..., 3, 3).
        px_i: (..., P, 2).
        px_j: (..., P, 2).

    Returns:
        (..., P) in pixels.
    """
    there, back = homogeneous(px_i) @ F.mT, homogeneous(px_j) @ F
    steep = there[..., :2].square().sum(-1) + back[..., :2].square().sum(-1)
    return (there * homogeneous(px_j)).sum(-1).abs() / steep.sqrt().clamp(min=1e-12)
