"""Cameras from the poses they saw: where each stands, without any calibration pattern.

Intrinsics are known. Pairs of cameras by RANSAC over the joints of all moments, the best pairs
chained, all refined together; lengths are relative until one is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import torch
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree
from torch import Tensor

from ..cameras import CameraRig, triangulate_flat
from ..epipolar import homogeneous
from ..shapes import shaped
from .bundle import adjusted
from .relative_poses import FEWEST, RelativePose, degenerate, five_point_pose
from .robust import CAUCHY_PX, Triangulated3D, mirrored, robust_triangulate

Solver = Callable[[Tensor, Tensor, float, int], RelativePose]
FREE = "free"  # the unit of a rig whose scale nobody gave
FEWEST_AGREE = 0.25  # share of the pairs of points that must agree with a pose
WORST_PX = 4.0  # median residual of a rig that is believed, pixels of an image 256 wide


@dataclass(frozen=True)
class FoundCameras:
    """A rig that nobody calibrated, and what it makes of the poses it was found from.

    Attributes:
        rig: z up as far as level cameras tell, the origin amid the points.
        points: the joints in space, of every moment.
        agreeing: {(i, j): share of their pairs of points that agreed}, of the chained cameras.
    """

    rig: CameraRig
    points: Triangulated3D
    agreeing: dict[tuple[int, int], float]


@dataclass(frozen=True)
class _Link:
    """Two cameras' relative pose and how far it is to be trusted."""

    pose: RelativePose
    trust: float
    share: float


def find_cameras(
    rig: CameraRig,
    px: Tensor,
    pairs: Sequence[tuple[int, int]] = (),
    bone: tuple[int, int, float] | None = None,
    *,
    solver: Solver = five_point_pose,
    seed: int = 0,
) -> FoundCameras:
    """Rotations and places of static cameras from 2D poses.

    Args:
        rig: V cameras; only their intrinsics and lenses count.
        px: (T, V, J, 2) pixels of one person or animal; NaN: not seen.
        pairs: joints that are each other's mirror image, to put swapped images right.
        bone: two joints and the length between them; None: the unit stays "free" and the cameras
            stand 1000 of it from their middle.
        solver: of relative poses: `five_point_pose` or `eight_point_pose`.
        seed: of the draws.

    Returns:
        The cameras.

    Raises:
        ValueError: the poses cannot tell: too few points, on a line or a plane, no baseline,
            readings that agree on nothing; one camera; a bone without length.
    """
    shaped(px, "T V J 2", "px")
    _askable(rig, bone)
    flat = rig.to(torch.float64).flat_from_px(px.double())
    flat = flat.transpose(0, 1).flatten(1, 2)  # (V, P, 2)
    noise = CAUCHY_PX * max(rig.wh) / 256
    links = _links(rig, flat, noise, solver, seed)
    found, tree = _chained(rig, flat, links)
    found = _refined(found, px, pairs, noise)
    points = robust_triangulate(found, px, None, pairs)
    middle = float(points.residual.nanmedian()) * 256 / max(rig.wh)
    if middle > WORST_PX:
        raise ValueError(
            f"{', '.join(rig.names)}: no cameras fit these poses (median residual {middle:.1f} px "
            "of 256); are all views of one person, the frames synchronous, the intrinsics right?"
        )
    found, world = _levelled(found, points.world.double())
    found, world = _scaled(found, world, bone)
    points = replace(points, world=world.float())
    return FoundCameras(found.to(torch.float32), points, {ij: links[ij].share for ij in tree})


def _askable(rig: CameraRig, bone: tuple[int, int, float] | None) -> None:
    """Refuse what no search could answer."""
    if rig.views < 2:
        raise ValueError(
            f"cameras are found from two views at least; here is {', '.join(rig.names) or 'none'}: "
            "give the poses of another camera"
        )
    if bone is not None and not 0 < bone[2] < float("inf"):
        raise ValueError(
            f"a length of {bone[2]:g} between two joints (--length); it must be above 0"
        )


# ---- pairs ---------------------------------------------------------------------------------------
def _links(
    rig: CameraRig, flat: Tensor, noise: float, solver: Solver, seed: int
) -> dict[tuple[int, int], _Link]:
    """Relative poses of all pairs that allow one; refused if they do not connect the cameras."""
    links, reasons = {}, {}
    for i, j in combinations(range(rig.views), 2):
        link = _link(flat[i], flat[j], noise / float(rig.K[[i, j], 0, 0].mean()), solver, seed)
        if isinstance(link, _Link):
            links[i, j] = link
        else:
            reasons[i, j] = f"{rig.names[i]} and {rig.names[j]}: {link}"
    reached = {0}
    for _ in range(rig.views):
        reached |= {v for ij in links for v in ij if reached & set(ij)}
    if len(reached) < rig.views:
        lost = next(v for v in range(rig.views) if v not in reached)
        raise ValueError(next(text for ij, text in reasons.items() if lost in ij))
    return links


def _link(a: Tensor, b: Tensor, threshold: float, solver: Solver, seed: int) -> _Link | str:
    """Two cameras' relative pose, or why there is none."""
    both = (a.isfinite() & b.isfinite()).all(-1)
    a, b = a[both], b[both]
    if len(a) < FEWEST:
        return f"{len(a)} joints that both see, at least {FEWEST} are needed; give more frames"
    pose = solver(a, b, threshold, seed)
    share = float(pose.inliers.double().mean())
    if pose.inliers.sum() < FEWEST or share < FEWEST_AGREE:
        return (
            f"only {100 * share:.0f} % of their joints agree on any relative pose; "
            "are the frames synchronous, and is it the same person?"
        )
    a, b = a[pose.inliers], b[pose.inliers]
    if reason := degenerate(a, b, threshold):
        return reason
    there, here = homogeneous(a) @ pose.R.mT, homogeneous(b)
    parallax = torch.linalg.cross(there, here).norm(dim=-1) / (
        there.norm(dim=-1) * here.norm(dim=-1)
    )
    return _Link(pose, len(a) * float(parallax.square().median()) + 1e-9, share)


# ---- all of them ---------------------------------------------------------------------------------
def _chained(
    rig: CameraRig, flat: Tensor, links: dict[tuple[int, int], _Link]
) -> tuple[CameraRig, list[tuple[int, int]]]:
    """The cameras along the tree of the most trusted pairs, each new one at its own scale."""
    V = rig.views
    cost = torch.zeros(V, V, dtype=torch.float64)
    for (i, j), link in links.items():
        cost[i, j] = 1 / link.trust
    tree = minimum_spanning_tree(cost.numpy())
    busiest = max(links, key=lambda ij: links[ij].trust)[0]
    order, before = breadth_first_order(tree, busiest, directed=False)
    R = torch.eye(3, dtype=torch.float64).repeat(V, 1, 1)
    t = torch.zeros(V, 3, dtype=torch.float64)
    known, edges = [int(order[0])], []
    for j in map(int, order[1:]):
        i = int(before[j])
        edges.append((min(i, j), max(i, j)))
        turn, step = _towards(links[edges[-1]].pose, i < j)
        R[j] = turn @ R[i]
        length = 1.0
        if len(known) > 1:
            chain = replace(rig.to(torch.float64), R=R, t=t).take(known)
            length = _step_length(chain, flat[known], known.index(i), (turn, step), flat[j])
        t[j] = turn @ t[i] + length * step
        known.append(j)
    return replace(rig.to(torch.float64), R=R, t=t), edges


def _towards(pose: RelativePose, forward: bool) -> tuple[Tensor, Tensor]:
    """The pose from i to j, or back."""
    if forward:
        return pose.R, pose.t
    return pose.R.mT, -(pose.R.mT @ pose.t)


def _step_length(
    chain: CameraRig, flat: Tensor, i: int, pose: tuple[Tensor, Tensor], new: Tensor
) -> float:
    """How long the step to a new camera is: median ratio of depths in camera i, known over new."""
    world = triangulate_flat(chain, flat.nan_to_num(0), flat.isfinite().all(-1).double())
    known = chain.cam_from_world(world.nan_to_num(0))[i, :, 2]
    R, t = pose
    pair = replace(
        chain.take([i, i]),
        R=torch.stack([torch.eye(3, dtype=R.dtype), R]),
        t=torch.stack([torch.zeros_like(t), t]),
    )
    both = torch.stack([flat[i], new])
    depth = triangulate_flat(pair, both.nan_to_num(0), both.isfinite().all(-1).double())[:, 2]
    ratio = known / depth
    ratio = ratio[world.isfinite().all(-1) & ratio.isfinite() & (ratio > 0)]
    return float(ratio.median()) if len(ratio) else 1.0


def _refined(
    rig: CameraRig, px: Tensor, pairs: Sequence[tuple[int, int]], noise: float
) -> CameraRig:
    """Cameras and points in turns: what does not fit loses weight, swapped images are put right."""

    def rows(values: Tensor) -> Tensor:  # (T, V, J, ...) to (P, V, ...)
        return values.transpose(1, 2).flatten(0, 1)

    rig = adjusted(rig, rows(px), rows(px).isfinite().all(-1).double(), noise)
    points = robust_triangulate(rig, px, None, pairs)
    px = mirrored(px, points.swapped, pairs)
    for _ in range(4):
        fit = (1 / (1 + (points.residual / noise).square())).sqrt().nan_to_num(0)
        before, rig = rig, adjusted(rig, rows(px), rows(fit), noise / 2)
        if (rig.R - before.R).abs().max() < 3e-4:
            break
        points = robust_triangulate(rig, px)
    return rig


# ---- the world -----------------------------------------------------------------------------------
def _levelled(rig: CameraRig, world: Tensor) -> tuple[CameraRig, Tensor]:
    """The world with z up, if the cameras stand level, and its origin amid the points.

    Level cameras' x axes lie in the ground plane: up is what is square to all of them (as
    panoramas are straightened, Brown and Lowe 2007), on the side of the images' tops.
    """
    sideways, top = rig.R[:, 0], -rig.R[:, 1].mean(0)
    _, S, Vh = torch.linalg.svd(sideways)
    up = Vh[-1] * (Vh[-1] @ top).sign() if S[1] > 0.2 * S[0] else top
    up = up / up.norm()
    ahead = rig.R[0, 2] - (rig.R[0, 2] @ up) * up
    ahead = ahead / ahead.norm().clamp(min=1e-9)
    turn = torch.stack([torch.linalg.cross(ahead, up), ahead, up])  # rows: new x, y, z
    middle = world.flatten(0, 1).nanmedian(0).values
    moved = replace(rig, t=rig.t + rig.R @ middle, R=rig.R @ turn.mT)
    return moved, (world - middle) @ turn.mT


def _scaled(
    rig: CameraRig, world: Tensor, bone: tuple[int, int, float] | None
) -> tuple[CameraRig, Tensor]:
    """The rig and its points at the scale at which a bone has its length."""
    if bone is None:
        far = float((rig.centres - rig.centres.mean(0)).norm(dim=-1).mean())
        return replace(rig, t=rig.t * 1000 / far, unit=FREE), world * 1000 / far
    found = float((world[:, bone[0]] - world[:, bone[1]]).norm(dim=-1).nanmedian())
    if not found > 0:
        raise ValueError("the two joints of the given length are never seen together")
    return replace(rig, t=rig.t * (bone[2] / found)), world * (bone[2] / found)


def onto(found: CameraRig, given: CameraRig) -> CameraRig:
    """A found rig in another's world: turned, shifted and scaled as a whole, by the cameras alone.

    Args:
        found: V cameras.
        given: the same cameras.

    Returns:
        A rig whose cameras lie near those of the other.
    """
    found, given = found.to(torch.float64), given.to(torch.float64)
    U, _, Vh = torch.linalg.svd((given.R.mT @ found.R).sum(0))
    turn = U @ torch.diag(U.new_tensor([1, 1, float(torch.det(U @ Vh))])) @ Vh
    a, b = found.centres, given.centres
    x, y = (a - a.mean(0)) @ turn.mT, b - b.mean(0)
    factor = (x * y).sum() / x.square().sum()
    R = found.R @ turn.mT
    centres = factor * x + b.mean(0)
    return replace(found, R=R, t=-(R @ centres[..., None])[..., 0], unit=given.unit)


def camera_errors(found: CameraRig, given: CameraRig) -> Tensor:
    """How far each pair's rotation and direction are from those of a given rig.

    Args:
        found: V cameras.
        given: the same cameras.

    Returns:
        (V (V - 1) / 2, 2) degrees: of the relative rotation, and of the direction of t.
    """
    errors = []
    for i, j in combinations(range(found.views), 2):
        poses = []
        for rig in (found.to(torch.float64), given.to(torch.float64)):
            R = rig.R[j] @ rig.R[i].mT
            poses.append((R, rig.t[j] - R @ rig.t[i]))
        (R, t), (R0, t0) = poses
        turn = torch.acos((((R.mT @ R0).trace() - 1) / 2).clamp(-1, 1))
        aside = torch.acos((t @ t0 / (t.norm() * t0.norm())).clamp(-1, 1))
        errors.append(torch.stack([turn, aside]))
    return torch.rad2deg(torch.stack(errors))
