"""How two cameras stand to each other, from points that both see and some that are wrong.

Points lie on the plane z = 1: the lens and the intrinsics are known and taken out. RANSAC
(Fischler and Bolles 1981) with five points by PoseLib, or with eight and our own solver.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..epipolar import homogeneous, pose_from_essential, skew
from .two_views import epipolar_residual

MOST_SCORED = 4000  # pairs that eight_point_pose draws from and counts inliers among
FEWEST = 8  # pairs of points that a relative pose is asked of


@dataclass(frozen=True)
class RelativePose:
    """X_j = R X_i + t with |t| = 1, and which pairs of points (P,) agree with it."""

    R: Tensor
    t: Tensor
    inliers: Tensor


def five_point_pose(flat_i: Tensor, flat_j: Tensor, threshold: float, seed: int) -> RelativePose:
    """By five points, PoseLib's solver and refinement.

    Args:
        flat_i: (P, 2) on the plane z = 1, P >= 8.
        flat_j: (P, 2) likewise.
        threshold: epipolar distance of an inlier, in the points' unit.
        seed: of the draws.

    Returns:
        The pose; float64.

    Raises:
        ValueError: PoseLib is not installed.
    """
    try:
        import poselib
    except ModuleNotFoundError as error:
        raise ValueError(
            "cameras from poses need PoseLib; pip install poselib, "
            "or take the eight-point solver (--solver eight), which asks for cleaner points"
        ) from error
    camera = dict(model="SIMPLE_PINHOLE", width=1, height=1, params=[1.0, 0.0, 0.0])
    options = dict(max_epipolar_error=threshold, seed=seed, max_iterations=20_000)
    a, b = flat_i.double().numpy(), flat_j.double().numpy()
    pose, found = poselib.estimate_relative_pose(a, b, camera, camera, options, {})
    inliers = torch.tensor(found["inliers"], dtype=torch.bool)
    return RelativePose(torch.tensor(pose.R), torch.tensor(pose.t), inliers)


def eight_point_pose(
    flat_i: Tensor, flat_j: Tensor, threshold: float, seed: int, samples: int = 2000
) -> RelativePose:
    """By eight points: E of many samples at once, the one with most inliers, then of all those.

    Samples are drawn and judged among at most `MOST_SCORED` pairs, taken at random; the last fits
    are to all.

    Args:
        flat_i: (P, 2) on the plane z = 1, P >= 8.
        flat_j: (P, 2) likewise.
        threshold: Sampson distance of an inlier, in the points' unit.
        seed: of the draws.
        samples: how many are drawn.

    Returns:
        The pose; float64.
    """
    a, b = flat_i.double(), flat_j.double()
    random = torch.Generator().manual_seed(seed)
    some: slice | Tensor = slice(None)
    if len(a) > MOST_SCORED:
        some = torch.randperm(len(a), generator=random)[:MOST_SCORED]
    x, y = a[some], b[some]
    chosen = torch.rand(samples, len(x), generator=random).topk(FEWEST, 1).indices
    found = _essential_of(x[chosen], y[chosen])
    best = found[int((epipolar_residual(found, x, y) < threshold).sum(-1).argmax())]
    for _ in range(5):
        inliers = epipolar_residual(best, a, b) < threshold
        if inliers.sum() < FEWEST:
            break
        best = _essential_of(a[inliers], b[inliers])
    inliers = epipolar_residual(best, a, b) < threshold
    R, t = pose_from_essential(best, a[inliers], b[inliers])
    return RelativePose(R, t / t.norm(), inliers)


def _essential_of(a: Tensor, b: Tensor) -> Tensor:
    """Least-squares E (..., 3, 3) of pairs (..., P, 2) with singular values 1, 1, 0."""
    (Ta, a), (Tb, b) = _normalized(a), _normalized(b)
    rows = (b[..., :, None] * a[..., None, :]).flatten(-2)
    G = torch.linalg.svd(rows, full_matrices=rows.shape[-2] < 9)[2][..., -1, :]
    U, _, Vh = torch.linalg.svd(Tb.mT @ G.unflatten(-1, (3, 3)) @ Ta)
    return (U * U.new_tensor([1, 1, 0])) @ Vh


def _normalized(points: Tensor) -> tuple[Tensor, Tensor]:
    """Maps that give points (..., P, 2) mean 0 and mean distance sqrt 2; the points mapped."""
    middle = points.mean(-2, keepdim=True)
    scale = 2**0.5 / (points - middle).norm(dim=-1).mean(-1).clamp(min=1e-12)
    T = torch.diag_embed(torch.stack([scale, scale, torch.ones_like(scale)], -1))
    T[..., :2, 2] = -scale[..., None] * middle[..., 0, :]
    return T, homogeneous(points) @ T.mT


# ---- what cannot be solved -----------------------------------------------------------------------
def degenerate(flat_i: Tensor, flat_j: Tensor, threshold: float) -> str | None:
    """Why these points say nothing sure about two cameras.

    Args:
        flat_i: (P, 2) on the plane z = 1, without gross outliers.
        flat_j: (P, 2) likewise.
        threshold: what counts as noise, in the points' unit.

    Returns:
        The reason and its remedy; None: there is none.
    """
    a, b = flat_i.double(), flat_j.double()
    if min(_thickness(a), _thickness(b)) < threshold:
        return "their points lie on one line; let the animal move over the whole view"
    H = _homography(a, b)
    there = homogeneous(a) @ H.mT
    explained = (there[:, :2] / there[:, 2:] - b).norm(dim=-1) < 2 * threshold
    if explained.double().mean() < 0.8:
        return None
    S = torch.linalg.svdvals(H)
    moved = _after_rotation(H, a, b)
    if S[0] / S[2] < 1.1 and moved < 2 * threshold:
        return "they look from one place (no baseline); move one of them"
    return "their points lie on one plane; take moments with other poses, or joints off that plane"


def _thickness(points: Tensor) -> Tensor:
    """Standard deviation across the main direction of points (P, 2)."""
    return torch.linalg.svdvals(points - points.median(0).values)[1] / len(points) ** 0.5


def _homography(a: Tensor, b: Tensor) -> Tensor:
    """H with b ~ H a (3, 3), by DLT, reweighted by the median residual (H. and Z. 4.1)."""
    (Ta, x), (Tb, y) = _normalized(a), _normalized(b)
    rows = (skew(y)[..., None] * x[:, None, None, :]).flatten(-2)  # [y]_x H x = 0, (P, 3, 9)
    weight = torch.ones(len(a), dtype=a.dtype)
    H = torch.eye(3, dtype=a.dtype)
    for _ in range(10):
        H = torch.linalg.svd((rows * weight[:, None, None]).flatten(0, 1), full_matrices=False)[2]
        H = torch.linalg.inv(Tb) @ H[-1].view(3, 3) @ Ta
        there = homogeneous(a) @ H.mT
        far = (there[:, :2] / there[:, 2:] - b).norm(dim=-1)
        weight = (1 / (1 + (far / far.median().clamp(min=1e-9)).square())).sqrt()
    return H


def _after_rotation(H: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Median distance of b from a turned by the rotation nearest to H."""
    U, _, Vh = torch.linalg.svd(H)
    R = U @ Vh
    there = homogeneous(a) @ (R * torch.linalg.det(R).sign()).mT
    return (there[:, :2] / there[:, 2:] - b).norm(dim=-1).median()
