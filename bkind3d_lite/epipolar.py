"""Epipolar geometry: what two views of one point know about each other.

Pixels are those of pinhole cameras (undistorted, corner-origin); `F` maps a pixel of view i to its
line in view j: x_j^T F x_i = 0. Hartley and Zisserman, Multiple View Geometry (H. and Z. below),
chapters 9 and 11.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .cameras import CameraRig
from .shapes import shaped


def homogeneous(px: Tensor) -> Tensor:
    """Points with a 1 behind.

    Args:
        px: (..., 2).

    Returns:
        (..., 3).
    """
    return torch.cat([px, torch.ones_like(px[..., :1])], -1)


def skew(v: Tensor) -> Tensor:
    """The matrix of a cross product: skew(v) @ w = v x w.

    Args:
        v: (..., 3).

    Returns:
        (..., 3, 3).
    """
    shaped(v, "... 3", "v")
    (x, y, z), o = v.unbind(-1), torch.zeros_like(v[..., 0])
    return torch.stack([o, -z, y, z, o, -x, -y, x, o], -1).unflatten(-1, (3, 3))


def relative_pose(rig: CameraRig, i: int, j: int) -> tuple[Tensor, Tensor]:
    """From one camera to another: X_j = R X_i + t.

    Args:
        rig: the cameras.
        i: number of the one.
        j: number of the other.

    Returns:
        Rotation (..., 3, 3) and translation (..., 3), world units.
    """
    R = rig.R[..., j, :, :] @ rig.R[..., i, :, :].mT
    return R, rig.t[..., j, :] - (R @ rig.t[..., i, :, None])[..., 0]


def essential(R: Tensor, t: Tensor) -> Tensor:
    """E = [t]_x R of the pose X_j = R X_i + t (H. and Z. 9.6).

    Args:
        R: (..., 3, 3).
        t: (..., 3).

    Returns:
        (..., 3, 3).
    """
    return skew(t) @ R


def fundamental(rig: CameraRig, i: int, j: int) -> Tensor:
    """F = K_j^-T [t]_x R K_i^-1 of two cameras; the rig's distortion is not part of it.

    Args:
        rig: the cameras.
        i: number of the one.
        j: number of the other.

    Returns:
        (..., 3, 3).

    Raises:
        ValueError: i is j.
    """
    if i == j:
        raise ValueError(
            f"views {i} and {j} are the same camera: it has no epipolar geometry with itself"
        )
    Ki, Kj = (torch.linalg.inv(rig.K[..., v, :, :]) for v in (i, j))
    return Kj.mT @ essential(*relative_pose(rig, i, j)) @ Ki


def epipolar_lines(F: Tensor, px: Tensor) -> Tensor:
    """Lines in view j on which the pixels of view i must lie.

    Args:
        F: (..., 3, 3).
        px: (..., P, 2) of view i.

    Returns:
        (..., P, 3): a x + b y + c = 0 with a^2 + b^2 = 1.
    """
    lines = homogeneous(px) @ F.mT
    return lines / lines[..., :2].norm(dim=-1, keepdim=True).clamp(min=1e-12)


def line_distance(lines: Tensor, px: Tensor) -> Tensor:
    """Distance of pixels from lines.

    Args:
        lines: (..., P, 3) of any length.
        px: (..., P, 2).

    Returns:
        (..., P) in pixels.
    """
    return (lines * homogeneous(px)).sum(-1).abs() / lines[..., :2].norm(dim=-1).clamp(min=1e-12)


def epipolar_distance(F: Tensor, px_i: Tensor, px_j: Tensor) -> Tensor:
    """Symmetric epipolar distance: the mean of pixel to line in view j and in view i.

    Args:
        F: (..., 3, 3).
        px_i: (..., P, 2).
        px_j: (..., P, 2).

    Returns:
        (..., P) in pixels.
    """
    there = line_distance(epipolar_lines(F, px_i), px_j)
    back = line_distance(epipolar_lines(F.mT, px_j), px_i)
    return (there + back) / 2


def eight_point(px_i: Tensor, px_j: Tensor) -> Tensor:
    """F from pairs of pixels: the normalized 8-point algorithm (H. and Z. 11.2).

    The pixels are moved to mean 0 and mean distance sqrt(2) first (without which the equations mix
    1 and 10^6), and the smallest singular value is set to 0, so that all lines meet in the epipole.

    Args:
        px_i: (P, 2), P >= 8.
        px_j: (P, 2).

    Returns:
        (3, 3) of norm 1.

    Raises:
        ValueError: fewer than 8 pairs.
    """
    shaped(px_i, "P 2", "px_i")
    shaped(px_j, "P 2", "px_j")
    if len(px_i) != len(px_j) or len(px_i) < 8:
        raise ValueError(
            f"{len(px_i)} and {len(px_j)} pixels; the 8-point algorithm needs at least 8 pairs"
        )
    Ti, Tj = _normalizer(px_i.double()), _normalizer(px_j.double())
    a, b = homogeneous(px_i.double()) @ Ti.T, homogeneous(px_j.double()) @ Tj.T
    rows = (b[:, :, None] * a[:, None]).flatten(1)
    F = torch.linalg.svd(rows)[2][-1].view(3, 3)
    U, S, Vh = torch.linalg.svd(F)
    F = Tj.T @ (U * S.new_tensor([1, 1, 0]) * S) @ Vh @ Ti
    return (F / F.norm()).to(px_i.dtype)


def _normalizer(px: Tensor) -> Tensor:
    """The map (3, 3) that gives pixels (P, 2) mean 0 and mean distance sqrt(2)."""
    middle = px.mean(0)
    scale = 2**0.5 / (px - middle).norm(dim=-1).mean().clamp(min=1e-12)
    T = torch.diag(torch.stack([scale, scale, torch.ones_like(scale)]))
    T[:2, 2] = -scale * middle
    return T


def pose_from_essential(E: Tensor, flat_i: Tensor, flat_j: Tensor) -> tuple[Tensor, Tensor]:
    """R and t with X_j = R X_i + t from an essential matrix (H. and Z. 9.6.2).

    Of the four poses that it allows: the one that puts most points in front of both cameras
    (cheirality).

    Args:
        E: (3, 3).
        flat_i: (P, 2) on the plane z = 1.
        flat_j: (P, 2) likewise.

    Returns:
        R (3, 3) and t (3) of length 1, as the scale cannot be known.
    """
    U, _, Vh = torch.linalg.svd(E.double())
    U, Vh = U * torch.linalg.det(U), Vh * torch.linalg.det(Vh)
    W = U.new_tensor([[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    poses = [(U @ M @ Vh, sign * U[:, 2]) for M in (W, W.T) for sign in (1, -1)]
    a, b = flat_i.double(), flat_j.double()
    R, t = max(poses, key=lambda pose: int(_in_front(pose[0], pose[1], a, b).sum()))
    return R.to(E.dtype), t.to(E.dtype)


def _in_front(R: Tensor, t: Tensor, flat_i: Tensor, flat_j: Tensor) -> Tensor:
    """Which pairs meet in front of both cameras, (P,).

    Their depths z_i, z_j are those of the least-squares meeting z_j x_j = z_i R x_i + t.
    """
    a, b = homogeneous(flat_i) @ R.T, homogeneous(flat_j)
    meeting = torch.linalg.lstsq(torch.stack([-a, b], -1), t.expand(len(a), 3)[..., None])
    return (meeting.solution[..., 0] > 0).all(-1)
