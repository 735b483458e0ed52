"""Volumes in space: a cube's outline, surfaces of equal value, and planes through them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from torch import Tensor
from torch.nn import functional as F

from ...shapes import cells, shaped
from ...volumes import Grid
from .points import outline

# corners as 3 bits x, y, z
CUBE = tuple((i, i | 1 << axis) for i in range(8) for axis in range(3) if not i & 1 << axis)


def cube(
    centre: Grid | Tensor | Sequence[float],
    side: float | None = None,
    name: str = "cube",
    colour: str = "#0072B2",
) -> go.Scatter3d:
    """Outline of a cubic volume.

    Args:
        centre: a `Grid` (turned, too), or the middle (3) of the cube.
        side: world units; none beside a `Grid`.
        name: in the legend.
        colour: as #rrggbb.

    Returns:
        One trace.
    """
    return outline(cube_corners(centre, side), CUBE, name, colour)


def cube_corners(centre: Grid | Tensor | Sequence[float], side: float | None = None) -> Tensor:
    """Corners of a cubic volume, in the order of `CUBE`.

    Args:
        centre: a `Grid` (turned, too), or the middle (3) of the cube.
        side: world units; none beside a `Grid`.

    Returns:
        (8, 3) world points.

    Raises:
        TypeError: a middle without a side.
    """
    if not isinstance(centre, Grid):
        if side is None:
            raise TypeError("a cube about a middle needs its side")
        centre = Grid(torch.as_tensor(centre, dtype=torch.float32), float(side), 2)
    # the centres of 2 x 2 x 2 cells of twice the side
    return replace(centre, side=2 * centre.side, voxels=2).points.reshape(-1, 3)[:8]


def volume_trace(
    values: Tensor,
    grid: Grid,
    share: float = 0.3,
    name: str = "volume",
    colours: str = "Viridis",
    **style: Any,
) -> go.Isosurface:
    """Surfaces of equal value, from a share of the maximum to the maximum.

    Averaged down to at most 24 voxels a side and float32, so that a notebook stays small.

    Args:
        values: (N, N, N), axes [z, y, x].
        grid: where its voxels stand; not turned.
        share: of the maximum, from which the surfaces begin.
        name: in the legend.
        colours: a Plotly colour scale.
        **style: goes to `go.Isosurface`.

    Returns:
        One trace.
    """
    small, lines = _small(values, grid)
    z, y, x = (axis.flatten().numpy() for axis in torch.meshgrid(*lines[::-1], indexing="ij"))
    most = float(small.max())
    return go.Isosurface(
        **dict(x=x, y=y, z=z),
        value=small.flatten().numpy(),
        isomin=share * most,
        isomax=most,
        surface_count=3,
        opacity=0.4,
        name=name,
        showlegend=True,
        caps=dict(x_show=False, y_show=False, z_show=False),
        colorscale=colours,
        showscale=False,
        **style,
    )


def slices(
    values: Tensor,
    grid: Grid,
    at: Sequence[float] | Tensor | None = None,
    name: str = "slices",
    colours: str = "Viridis",
    low: float = 0.1,
) -> list[go.Surface]:
    """Three planes through a volume.

    Averaged down to at most 24 voxels a side, float32; one colour scale from 0 (or the minimum, if
    that is less) to the maximum. Opacity grows from the minimum to the maximum, so that empty space
    is seen through.

    Args:
        values: (N, N, N), axes [z, y, x].
        grid: where its voxels stand; not turned.
        at: world point (3) that the planes share (default: the largest value's).
        name: in the legend.
        colours: a Plotly colour scale.
        low: opacity at the minimum.

    Returns:
        A trace per plane: x, y and z constant.
    """
    small, lines = _small(values, grid)
    if at is None:
        where = (small == small.max()).nonzero()[0].flip(0).tolist()
    else:
        where = [int((line - float(c)).abs().argmin()) for line, c in zip(lines, at)]
    style = _slice_style(small, name, colours, low)
    return [_plane(small, lines, axis, where[axis], style) for axis in range(3)]


def _slice_style(small: Tensor, name: str, colours: str, low: float) -> dict[str, Any]:
    least, most = min(0.0, float(small.min())), float(small.max())
    return dict(
        cmin=least,
        cmax=most if most > least else least + 1,
        opacityscale=[[0, low], [0.5, 0.85], [1, 1]],
        colorscale=colours,
        showscale=False,
        name=name,
        legendgroup=name,
        hovertemplate="%{surfacecolor:.3g}<extra></extra>",
    )


def _plane(
    small: Tensor, lines: Sequence[Tensor], axis: int, cell: int, style: dict[str, Any]
) -> go.Surface:
    """The plane on which `axis` (0: x, 1: y, 2: z) has the place of `cell`."""
    picked = small.select(2 - axis, cell).numpy()  # the volume's own axes run the other way
    u, v = (line.numpy() for a, line in enumerate(lines) if a != axis)
    rows, columns = np.meshgrid(v, u, indexing="ij")
    place = [columns, rows]
    place.insert(axis, np.full_like(rows, float(lines[axis][cell])))
    x, y, z = place
    return go.Surface(x=x, y=y, z=z, surfacecolor=picked, showlegend=axis == 0, **style)


def _small(values: Tensor, grid: Grid) -> tuple[Tensor, list[Tensor]]:
    """The volume averaged down to n <= 24 a side, float32, and world coordinates of its cells.

    (n, n, n), and n coordinates along each of x, y and z.
    """
    shaped(values, "N N N", "values")
    if grid.turn is not None and bool((grid.turn != 0).any()):
        raise ValueError(
            "the grid is turned about the vertical; "
            "surfaces and slices need an axis-aligned one (turn=None)"
        )
    n = min(24, len(values))
    line = cells(n)[:, 0].cpu() * grid.side / 2
    small = F.adaptive_avg_pool3d(values.detach().cpu()[None, None].float(), n)[0, 0]
    return small, [line + float(c) for c in grid.centre.reshape(-1)[:3]]
