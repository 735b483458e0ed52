"""Robust triangulation: 2D poses of several views to 3D, although some of them are wrong.

Iteratively reweighted DLT with Cauchy's weights (Holland and Welsch 1977), begun from the best of
all views and each pair of views; images whose left and right are swapped are put right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import torch
from torch import Tensor

from ..cameras import CameraRig, triangulate_flat
from ..shapes import shaped

CAUCHY_PX = 2.0  # residual at which a reading counts half, pixels of an image 256 wide
PLACELESS = 2.0  # robust cost of a reading whose joint has no place
SWAP_GAIN = 0.95  # robust cost of the swapped reading, as a share of the plain one, at most


@dataclass(frozen=True)
class Triangulated3D:
    """Points in space and how well each reading agrees with them.

    Attributes:
        world: (T, J, 3) in the rig's unit; NaN where fewer than two views saw the joint.
        confidence: (T, J) in [0, 1]: mean over views of how much each reading counts.
        residual: (T, V, J) pixels from reading to projection, lens taken out; NaN without one.
        swapped: (T, V) images whose left and right were exchanged.
        px: (T, V, J, 2) the readings after that exchange, lens taken out.
    """

    world: Tensor
    confidence: Tensor
    residual: Tensor
    swapped: Tensor
    px: Tensor

    def report(self, names: Sequence[str], cameras: Sequence[str]) -> str:
        """The median reprojection error of each joint and camera as a table.

        Args:
            names: of the joints.
            cameras: of the views.

        Returns:
            Lines of text, pixels.
        """
        middle = self.residual.nanmedian(0).values  # (V, J)
        wide = max(map(len, (*names, "all joints"))) + 2
        head = "reprojection, px".ljust(wide) + "".join(f"{c:>9}" for c in cameras) + f"{'all':>9}"
        rows = [(name, middle[:, j], self.residual[..., j]) for j, name in enumerate(names)]
        rows += [
            (
                "all joints",
                self.residual.transpose(1, 2).flatten(0, 1).nanmedian(0).values,
                self.residual,
            )
        ]
        lines = [
            name.ljust(wide)
            + "".join(f"{x:9.2f}" for x in own.tolist())
            + f"{float(every.flatten().nanmedian()):9.2f}"
            for name, own, every in rows
        ]
        share = (self.swapped & self.residual.isfinite().any(-1)).float().mean(0).tolist()
        swaps = "swapped".ljust(wide) + "".join(f"{100 * s:8.1f}%" for s in share)
        return "\n".join([head, *lines, swaps])


def robust_triangulate(
    rig: CameraRig,
    px: Tensor,
    weight: Tensor | None = None,
    pairs: Sequence[tuple[int, int]] = (),
    scale: float | None = None,
    rounds: int = 8,
) -> Triangulated3D:
    """Points from readings of which some are far off, or have left and right exchanged.

    Args:
        rig: V cameras.
        px: (T, V, J, 2) pixels; NaN: not seen.
        weight: (T, V, J) >= 0; None: 1 where seen.
        pairs: joints that are each other's mirror image; (): nothing is exchanged.
        scale: residual at which a reading counts half, pixels; None: 2 for an image 256 wide.
        rounds: of reweighting.

    Returns:
        The points with their residuals.
    """
    shaped(px, "T V J 2", "px")
    rig, px = _pinholes(rig, px)
    seen = px.isfinite().all(-1)
    weight = seen.double() if weight is None else torch.where(seen, weight.double(), 0.0)
    scale = CAUCHY_PX * max(rig.wh) / 256 if scale is None else scale
    found = _reweighted(rig, px, weight, scale, rounds)
    swapped = found.swapped
    for again in range(3 if pairs else 0):
        exchange = _better_swapped(rig, px, found.world, pairs, scale)
        if not again:
            exchange |= _better_together(rig, px, weight, pairs, scale) & ~exchange.any(1)[:, None]
        if not exchange.any():
            break
        px, weight = (mirrored(x, exchange, pairs) for x in (px, weight))
        swapped = swapped ^ exchange
        found = replace(_reweighted(rig, px, weight, scale, rounds), swapped=swapped)
    return replace(found, world=found.world.float())


def _pinholes(rig: CameraRig, px: Tensor) -> tuple[CameraRig, Tensor]:
    """The rig without its lenses' distortion, and the pixels it would have had; float64."""
    rig = rig.to(torch.float64)
    plain = replace(rig, distortion=torch.zeros_like(rig.distortion))
    return plain, plain.px_from_flat(rig.flat_from_px(px.double()))


def _meeting(rig: CameraRig, px: Tensor, weight: Tensor) -> Tensor:
    """Linear triangulation (T, J, 3) with pinholes."""
    flat = (px - rig.K[:, None, :2, 2]) @ torch.linalg.inv(rig.K[:, :2, :2]).mT
    return triangulate_flat(rig, flat, weight)


def mirrored(values: Tensor, images: Tensor, pairs: Sequence[tuple[int, int]]) -> Tensor:
    """Readings with left and right exchanged in some images.

    Args:
        values: (T, V, J, ...).
        images: (T, V) bool, where.
        pairs: joints that are each other's mirror image.

    Returns:
        The same shape.
    """
    chosen = images.view(*images.shape, *[1] * (values.ndim - 2))
    return torch.where(chosen, values[:, :, _exchanged(values.shape[2], pairs)], values)


def _exchanged(joints: int, pairs: Sequence[tuple[int, int]]) -> Tensor:
    """Numbers (J,) of the joints with left and right exchanged."""
    order = torch.arange(joints)
    for left, right in pairs:
        order[left], order[right] = right, left
    return order


def _better_swapped(
    rig: CameraRig, px: Tensor, world: Tensor, pairs: Sequence[tuple[int, int]], scale: float
) -> Tensor:
    """Images (T, V) whose readings lie nearer to the projected points once left is right."""
    everywhere = torch.ones(px.shape[:2], dtype=torch.bool)
    known, order = world.isfinite().all(-1), _exchanged(px.shape[2], pairs)
    world = torch.where((known & known[:, order])[..., None], world, torch.nan)
    sides = [joint for pair in pairs for joint in pair]
    costs = [
        _cauchy_cost(_residual(rig, reading, world)[..., sides], scale)
        for reading in (px, mirrored(px, everywhere, pairs))
    ]
    return costs[1] < SWAP_GAIN * costs[0]


def _better_together(
    rig: CameraRig, px: Tensor, weight: Tensor, pairs: Sequence[tuple[int, int]], scale: float
) -> Tensor:
    """Images (T, V), one or two a moment, whose exchange makes a doubtful moment agree."""
    cost = _moment_cost(rig, px, weight, scale)
    best = torch.zeros(px.shape[:2], dtype=torch.bool)
    doubtful = (cost > 1.5 * cost.median()).nonzero()[:, 0]
    if not len(doubtful):
        return best
    lowest = SWAP_GAIN * cost[doubtful]
    singles = [(v,) for v in range(rig.views)]
    for views in [*singles, *(combinations(range(rig.views), 2) if rig.views > 2 else ())]:
        images = torch.zeros(len(doubtful), rig.views, dtype=torch.bool)
        images[:, list(views)] = True
        reading, counts = (mirrored(x[doubtful], images, pairs) for x in (px, weight))
        other = _moment_cost(rig, reading, counts, scale)
        best[doubtful] = torch.where((other < lowest)[:, None], images, best[doubtful])
        lowest = torch.minimum(lowest, other)
    return best


def _moment_cost(rig: CameraRig, px: Tensor, weight: Tensor, scale: float) -> Tensor:
    """Robust cost (T,) of all readings of each moment; one without a place must not be free."""
    residual = _reweighted(rig, px, weight, scale, 2).residual
    lost = ((weight > 0) & ~residual.isfinite()).flatten(1).sum(1)
    return _cauchy_cost(residual.flatten(1), scale) + PLACELESS * lost


def _cauchy_cost(residual: Tensor, scale: float) -> Tensor:
    """Robust cost of residuals in pixels, summed over the last axis."""
    return torch.log1p((residual.nan_to_num(0) / scale).square()).sum(-1)


def _residual(rig: CameraRig, px: Tensor, world: Tensor) -> Tensor:
    """Distance (T, V, J) of readings from the projected points, NaN where either is missing."""
    there = rig.px_from_world(world.nan_to_num(0))
    return torch.where(world.isfinite().all(-1)[..., None, :], (there - px).norm(dim=-1), torch.nan)


def _reweighted(
    rig: CameraRig, px: Tensor, weight: Tensor, scale: float, rounds: int
) -> Triangulated3D:
    """IRLS from the best start; weights also undo DLT's factor of each point's depth."""
    world = _best_start(rig, px, weight, scale)
    cauchy = torch.zeros_like(weight)
    for _ in range(rounds):
        residual = _residual(rig, px, world)
        cauchy = 1 / (1 + (residual / scale).square())
        depth = rig.cam_from_world(world.nan_to_num(0))[..., 2].abs()
        depth = depth.clamp(min=1e-6 * float(depth.max()))
        near = depth.mean(1, keepdim=True) / depth
        counts = torch.where(residual.isfinite(), weight * cauchy.sqrt() * near, 0.0)
        again = _meeting(rig, px, counts)
        world = torch.where(again.isfinite(), again, world)
    residual = _residual(rig, px, world)
    cauchy = 1 / (1 + (residual / scale).square())
    return Triangulated3D(
        world=world,
        confidence=cauchy.nan_to_num(0).mean(1).float(),
        residual=residual.float(),
        swapped=torch.zeros(px.shape[:2], dtype=torch.bool),
        px=px,
    )


def _best_start(rig: CameraRig, px: Tensor, weight: Tensor, scale: float) -> Tensor:
    """For each point the linear triangulation, of all views or of two, of lowest robust cost."""
    V = rig.views
    subsets = [list(range(V)), *(map(list, combinations(range(V), 2)) if V > 2 else ())]
    best, lowest = None, None
    for views in subsets:
        world = _meeting(rig.take(views), px[:, views], weight[:, views])
        residual = _residual(rig, px, world).movedim(1, -1)
        cost = torch.where(world.isfinite().all(-1), _cauchy_cost(residual, scale), torch.inf)
        if best is None or lowest is None:
            best, lowest = world, cost
            continue
        best = torch.where((cost < lowest)[..., None], world, best)
        lowest = torch.minimum(lowest, cost)
    assert best is not None
    return best
