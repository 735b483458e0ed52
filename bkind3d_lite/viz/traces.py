"""Traces: every type has a picture, and pictures add up. A function here returns Plotly traces; `views.scene` makes the figure.

World units are the rig's. Colours are told apart by colour-blind eyes; left is blue and right is orange where names say which.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
import torch
from torch import Tensor
from torch.nn import functional as F

from ..cameras import CameraRig
from ..shapes import cells, shaped
from ..volumes import Grid
from .overlays import GREY, keypoint_colours, palette

CUBE = tuple(
    (i, i | 1 << axis) for i in range(8) for axis in range(3) if not i & 1 << axis
)  # corners as 3 bits x, y, z
FRUSTUM = (
    (0, 1),
    (0, 2),
    (0, 3),
    (0, 4),
    (1, 2),
    (2, 3),
    (3, 4),
    (4, 1),
)  # apex, then the image's corners around it


def walk(edges: Sequence[tuple[int, int]], keypoints: int) -> list[int | None]:
    """The order in which a pen visits K points: both ends of each edge, then the points without one; None lifts the pen."""
    lone = sorted(set(range(keypoints)) - {int(k) for edge in edges for k in edge})
    return [k for i, j in edges for k in (int(i), int(j), None)] + [
        k for point in lone for k in (point, None)
    ]


def at_pen(pen: Sequence[int | None], values: Sequence, lifted=None) -> list:
    """`values` in the order of the pen; `lifted` where it is up."""
    return [lifted if k is None else values[k] for k in pen]


def array(values) -> np.ndarray:
    """Numbers of a tensor (on any device, with or without gradients), an array or a list."""
    return np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, np.float64)


def moving(
    points, pen: Sequence[int | None], confidence=None, size: float = 9.0, decimals: int = 4
) -> dict:
    """What moves in a drawing of `points` (K, 3): coordinates (NaN: pen up), marker sizes and confidence along the pen."""
    rounded = [
        [round(c, decimals) if math.isfinite(c) else None for c in p]
        for p in array(points).tolist()
    ]
    x, y, z = ([None if k is None else rounded[k][axis] for k in pen] for axis in range(3))
    if confidence is None:
        return dict(x=x, y=y, z=z)
    sure = [round(w, 2) for w in array(confidence).clip(0, 1).tolist()]
    sizes = [round(size * (0.5 + 0.5 * w), 1) for w in sure]
    return dict(
        x=x, y=y, z=z, customdata=at_pen(pen, sure), marker=dict(size=at_pen(pen, sizes, 0))
    )


def bones(
    points,
    edges,
    confidence=None,
    colours=None,
    names: Sequence[str] | None = None,
    name: str = "skeleton",
    size: float = 9.0,
    width: float = 6.0,
    decimals: int = 4,
    **style,
) -> go.Scatter3d:
    """Keypoints (K, 3) joined by `edges`. A marker's size shows its confidence `confidence` (K,), hovering tells name and value.

    colours: one for all, or K of them (default: `keypoint_colours(names)`). `style` goes to `go.Scatter3d`.
    """
    points = array(points)
    pen = walk(edges, len(points))
    names = list(names or [f"k{k}" for k in range(len(points))])
    paint = _paint(pen, colours or keypoint_colours(names))
    drawn = moving(points, pen, confidence, size, decimals)
    drawn["marker"] = (
        dict(size=size) | drawn.get("marker", {}) | paint | dict(opacity=1, line_width=0)
    )
    hover = (
        "%{text}"
        + ("" if confidence is None else "<br>confidence %{customdata}")
        + "<br>%{x}, %{y}, %{z}<extra></extra>"
    )
    return go.Scatter3d(
        **drawn,
        mode="lines+markers",
        line=paint | dict(width=width),
        text=at_pen(pen, list(names), ""),
        hovertemplate=hover,
        name=name,
        **style,
    )


def _paint(pen: Sequence[int | None], colours: str | Sequence[str]) -> dict:
    """One colour, or one per keypoint as a colour scale: unlike a list of colours, it reaches the legend and stays small."""
    if isinstance(colours, str):
        return dict(color=colours)
    last = max(1, len(colours) - 1)
    scale = [[k / last, colours[min(k, len(colours) - 1)]] for k in range(last + 1)]
    return dict(
        color=at_pen(pen, range(len(colours)), 0),
        colorscale=scale,
        cmin=0,
        cmax=last,
        showscale=False,
    )


def _outline(points, edges, name: str, colour: str, width: float = 2, **style) -> go.Scatter3d:
    return go.Scatter3d(
        **moving(points, walk(edges, 0)),
        line=dict(color=colour, width=width),
        name=name,
        **dict(mode="lines", hoverinfo="skip") | style,
    )


def rig_traces(
    rig: CameraRig, depth: float | None = None, images: Tensor | None = None, colour: str = GREY
) -> list:
    """Frusta of the V cameras, `depth` world units long (default: 12 % of the rig's radius, 28 % with images), with their names.

    images: (V, H, W, 3) uint8 put on the far side of each frustum, coarsely.
    """
    centres = rig.centres
    depth = ((0.12 if images is None else 0.28) * radius(rig) or 1.0) if depth is None else depth
    corners = _at_depth(rig, torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]]), depth)
    points = torch.cat([centres[:, None], corners], 1).flatten(0, 1)
    edges = [(5 * v + i, 5 * v + j) for v in range(rig.views) for i, j in FRUSTUM]
    frusta = _outline(points, edges, "cameras", colour, legendgroup="cameras")
    labels = go.Scatter3d(
        **moving(centres, range(rig.views)),
        mode="text",
        text=list(rig.names),
        textposition="top center",
        textfont=dict(color=colour),
        hoverinfo="text",
        name="camera names",
        legendgroup="cameras",
        showlegend=False,
    )
    return [frusta, labels] + (
        [] if images is None else [_picture(rig, v, image, depth) for v, image in enumerate(images)]
    )


def radius(rig: CameraRig) -> float:
    """Mean distance of the cameras from their middle."""
    return float((rig.centres - rig.centres.mean(0)).norm(dim=-1).mean())


def _at_depth(rig: CameraRig, ndc: Tensor, depth: float) -> Tensor:
    """World points (V, P, 3) seen at `ndc` (P, 2) in every view, `depth` in front of the camera."""
    flat = rig.flat_from_px(rig.px_from_ndc(ndc.expand(rig.views, -1, -1)))
    return (
        depth * torch.cat([flat, torch.ones_like(flat[..., :1])], -1) @ rig.R + rig.centres[:, None]
    )


def _picture(rig: CameraRig, view: int, image: Tensor, depth: float, across: int = 48) -> go.Mesh3d:
    h, w = max(2, round(across * rig.wh[1] / rig.wh[0])), across
    small = (
        F.interpolate(torch.as_tensor(image).movedim(-1, 0)[None].float(), (h, w), mode="area")[0]
        .flatten(1)
        .T.round()
        .byte()
        .numpy()
    )
    at = torch.cartesian_prod(torch.linspace(-1, 1, h), torch.linspace(-1, 1, w)).flip(
        -1
    )  # up to the image's rim
    x, y, z = _at_depth(rig, at, 0.998 * depth)[view].T.numpy().round(4)
    first = (torch.arange(h - 1)[:, None] * w + torch.arange(w - 1)).flatten()
    i, j, k = (
        torch.cat(
            [
                torch.stack([first, first + 1, first + w]),
                torch.stack([first + 1, first + w + 1, first + w]),
            ],
            1,
        )
        .int()
        .numpy()
    )
    return go.Mesh3d(
        x=x,
        y=y,
        z=z,
        i=i,
        j=j,
        k=k,
        vertexcolor=["#" + bytes(c).hex() for c in small],
        hoverinfo="skip",
        lighting=dict(ambient=1, diffuse=0, specular=0),
        name=rig.names[view],
        legendgroup="cameras",
        showlegend=False,
    )


def cube(
    centre: Grid | Tensor | Sequence[float],
    side: float | None = None,
    name: str = "cube",
    colour: str = "#0072B2",
) -> go.Scatter3d:
    """Outline of a cubic volume: a `Grid` (turned, too), or `centre` (3) and `side` in world units."""
    grid = (
        centre
        if isinstance(centre, Grid)
        else Grid(torch.as_tensor(centre, dtype=torch.float32), float(side), 2)
    )
    corners = replace(
        grid, side=2 * grid.side, voxels=2
    ).points  # the centres of 2 x 2 x 2 cells of twice the side
    return _outline(corners.reshape(-1, 3)[:8], CUBE, name, colour)


def trail(
    points, name: str = "trail", colour: str = "#56B4E9", width: float = 3, **style
) -> go.Scatter3d:
    """The path (T, 3) of one point through time; NaN lifts the pen."""
    return go.Scatter3d(
        **moving(points, range(len(points))),
        mode="lines",
        line=dict(color=colour, width=width),
        name=name,
        hoverinfo="skip",
        **style,
    )


def volume_trace(
    values: Tensor,
    grid: Grid,
    share: float = 0.3,
    name: str = "volume",
    colours: str = "Viridis",
    **style,
) -> go.Isosurface:
    """Surfaces of `values` (N, N, N), axes [z, y, x], between `share` of the maximum and the maximum.

    Averaged down to at most 24 voxels a side and kept as float32, so that a notebook stays small.
    """
    small, (x, y, z) = _small(values, grid)
    z, y, x = (axis.flatten().numpy() for axis in torch.meshgrid(z, y, x, indexing="ij"))
    small = small.flatten().numpy()
    most = float(small.max())
    return go.Isosurface(
        x=x,
        y=y,
        z=z,
        value=small,
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
    at: Sequence[float] | None = None,
    name: str = "slices",
    colours: str = "Viridis",
    low: float = 0.1,
) -> list:
    """Three planes through `values` (N, N, N), axes [z, y, x], at the world point `at` (3) (default: the largest value).

    Averaged down to at most 24 voxels a side, float32; one colour scale from 0 (or the minimum, if that is less) to the maximum. The opacity
    grows from `low` at the minimum to 1, so that empty space is seen through.
    """
    small, lines = _small(values, grid)
    where = (
        (small == small.max()).nonzero()[0].flip(0)
        if at is None
        else [int((line - float(c)).abs().argmin()) for line, c in zip(lines, at)]
    )
    least, most = min(0.0, float(small.min())), float(small.max())
    style = dict(
        cmin=least,
        cmax=most if most > least else least + 1,
        opacityscale=[[0, low], [0.5, 0.85], [1, 1]],
        colorscale=colours,
        showscale=False,
        name=name,
        legendgroup=name,
        hovertemplate="%{surfacecolor:.3g}<extra></extra>",
    )
    planes = []
    for axis in range(3):  # x, y, z; the volume's own axes run the other way
        picked = small.select(2 - axis, int(where[axis])).numpy()
        u, v = (line.numpy() for a, line in enumerate(lines) if a != axis)
        rows, columns = np.meshgrid(v, u, indexing="ij")
        spots = [rows, columns][::-1]
        spots.insert(axis, np.full_like(rows, float(lines[axis][int(where[axis])])))
        planes.append(
            go.Surface(
                x=spots[0],
                y=spots[1],
                z=spots[2],
                surfacecolor=picked,
                showlegend=axis == 0,
                **style,
            )
        )
    return planes


def _small(values: Tensor, grid: Grid) -> tuple[Tensor, list[Tensor]]:
    """The volume averaged down to n <= 24 a side, float32, and the n world coordinates of its cells along x, y and z."""
    shaped(values, "N N N", "values")
    if grid.turn is not None and bool((grid.turn != 0).any()):
        raise ValueError(
            "the grid is turned about the vertical; surfaces and slices need an axis-aligned one (turn=None)"
        )
    n = min(24, len(values))
    line = cells(n)[:, 0].cpu() * grid.side / 2
    return F.adaptive_avg_pool3d(values.detach().cpu()[None, None].float(), n)[0, 0], [
        line + float(c) for c in grid.centre.reshape(-1)[:3]
    ]


def rays(rig: CameraRig, px: Tensor, length: float | None = None) -> list[go.Scatter3d]:
    """Lines of sight of pixels (V, P, 2), a colour per camera, `length` world units (default: past the rig's middle by 30 %)."""
    origin, along = rig.ray_from_px(shaped(px, "V P 2", "px"))
    length = 1.3 * radius(rig) if length is None else length
    ends = torch.stack([origin.expand_as(along), origin + length * along], 2).flatten(
        1, 2
    )  # (V, 2 P, 3)
    pairs = [(2 * p, 2 * p + 1) for p in range(px.shape[1])]
    return [
        _outline(e, pairs, "lines of sight", c, legendgroup="rays", showlegend=v == 0)
        for v, (e, c) in enumerate(zip(ends, palette(rig.views)))
    ]
