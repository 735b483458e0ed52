"""Where should the volume stand, and how do flat pictures vote for a place in it?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import plotly.graph_objects as go
import torch
from torch import Tensor

from ...cameras import CameraRig
from ...model.edges import strongest
from ...shapes import shaped
from ...volumes import Grid, fuse, unproject
from ..model_images import heat_images
from ..scenes import axis_ranges, scene
from ..traces import cube, rays, rig_traces, slices, volume_trace


# ---- the place of the volume ---------------------------------------------------------------------
def placing(
    rig: CameraRig, images: Tensor | None = None, voxels: int = 24
) -> Callable[..., go.Figure]:
    """Where should the volume stand?

    Expensive half: the rig's pictures.

    Args:
        rig: V cameras.
        images: (V, H, W, 3) uint8, put on the frusta.
        voxels: per side, to tell the size of one.

    Returns:
        draw(x, y, z, side): the cube in the rig, and how many views see all of it.
    """
    still = rig_traces(rig, images=images)
    ranges = axis_ranges(scene(still))

    def draw(x: float = 0.0, y: float = 0.0, z: float = 0.0, side: float = 400.0) -> go.Figure:
        grid = Grid(torch.tensor([float(x), float(y), float(z)]), float(side), 6)
        ndc = rig.ndc_from_world(grid.points.flatten(0, 2))
        share = (ndc.abs() <= 1).all(-1).float().mean(1)  # (V,)
        low = ", ".join(f"{n} {s:.0%}" for n, s in zip(rig.names, share.tolist()) if s < 1)
        title = (
            f"{int((share == 1).sum())} of {rig.views} views see all of it; "
            f"a voxel of {voxels} is {side / voxels:.1f} {rig.unit}"
        )
        title += f"<br><sup>cut off: {low}</sup>" if low else ""
        return scene(cube(grid), still, unit=rig.unit, ranges=_both(ranges, grid), title=title)

    return draw


def _both(ranges: Sequence[Sequence[float]], grid: Grid) -> np.ndarray:
    """Ranges (3, 2) that hold other ranges and a volume."""
    half, middle = 0.55 * grid.side, grid.centre.tolist()
    return np.array(
        [[min(low, c - half), max(high, c + half)] for (low, high), c in zip(ranges, middle)]
    )


# ---- votes ---------------------------------------------------------------------------------------
def spots(rig: CameraRig, points: Tensor, hw: tuple[int, int], sigma: float = 0.08) -> Tensor:
    """Ideal heatmaps of world points: Gaussians in every view.

    Args:
        rig: V cameras.
        points: (C, 3) world points.
        hw: height and width of a map.
        sigma: in half image widths.

    Returns:
        (V, C, h, w).
    """
    ndc = rig.ndc_from_world(shaped(points, "C 3", "points"))
    own, full = torch.zeros(1, 2, dtype=torch.long), torch.ones(1)  # an edge from a point to itself
    maps = [strongest(ndc[:, [c]], own, full, hw, sigma) for c in range(len(points))]
    return torch.stack(maps, 1)


def votes(
    rig: CameraRig, maps: Tensor, grid: Grid, point: Tensor | None = None
) -> Callable[..., go.Figure]:
    """How do flat pictures vote for a place?

    Expensive half: every view's map carried along its rays.

    Args:
        rig: V cameras.
        maps: (V, h, w), one heatmap per view.
        grid: N x N x N voxels.
        point: (3) the true place, if it is known.

    Returns:
        draw(views, how, share, planes): the fused volume of some views. views: names of those that
        vote (None: all); how: `mean`, `softmax`, `max`, `sum` (as `volumes.fuse`) or `product`;
        share: of the maximum, from which the surface begins; planes: three slices instead of it.
    """
    ndc = rig.ndc_from_world(grid.points.flatten(0, 2))
    volumes = unproject(shaped(maps, "V h w", "maps")[None, :, None], ndc[None])  # (1, V, 1, P)
    target = None if point is None else torch.as_tensor(point).float().reshape(1, 3)
    sight = [] if target is None else rays(rig, rig.px_from_world(target))
    still = [cube(grid, name="volume"), *rig_traces(rig, images=heat_images(maps))]

    def draw(
        views: Sequence[str] | None = None,
        how: str = "mean",
        share: float = 0.5,
        planes: bool = False,
    ) -> go.Figure:
        voters = [v for v in range(rig.views) if views is None or rig.names[v] in views]
        if not voters:
            return scene(still, unit=rig.unit, title="no view is left: nothing votes")
        fused = _fused(volumes[:, voters], how)
        cubic = fused.reshape([grid.voxels] * 3)
        if planes:
            shown = slices(cubic, grid, None if target is None else target[0])
        else:
            shown = [volume_trace(cubic, grid, share, "votes")]
        peak = grid.points.reshape(-1, 3)[int(fused.argmax())]
        title = f"{len(voters)} of {rig.views} views, {how}: peak at {_place(peak)}"
        if target is not None:
            off = float((peak - target[0]).norm())
            title += f", {off:.0f} {rig.unit} from the true place"
        lines = [sight[v] for v in voters] if sight else []
        return scene(shown, lines, still, unit=rig.unit, title=title)

    return draw


def _fused(volumes: Tensor, how: str) -> Tensor:
    """(1, V, 1, P) -> (1, 1, P)."""
    if how == "product":
        return volumes.clamp(min=1e-6).log().mean(1).exp()
    return fuse(volumes, how)


def _place(point: Tensor) -> str:
    return "(" + ", ".join(f"{c:.0f}" for c in point.tolist()) + ")"
