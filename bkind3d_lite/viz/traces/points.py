"""Points and lines in space: a pen that visits keypoints along their edges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike
from torch import Tensor

from ..colours import keypoint_colours

Points = Tensor | ArrayLike
Pen = Sequence[int | None]


# ---- the pen -------------------------------------------------------------------------------------
def walk(edges: Sequence[tuple[int, int]], keypoints: int) -> list[int | None]:
    """The order in which a pen visits points: both ends of each edge, then points without one.

    Args:
        edges: pairs of points that are joined.
        keypoints: K, how many points there are.

    Returns:
        Numbers of points; None lifts the pen.
    """
    pen: list[int | None] = [k for i, j in edges for k in (int(i), int(j), None)]
    lone = sorted(set(range(keypoints)) - {int(k) for edge in edges for k in edge})
    return pen + [k for point in lone for k in (point, None)]


def _at_pen(pen: Pen, values: Sequence, lifted: Any = None) -> list:
    """`values` in the order of the pen; `lifted` where it is up."""
    return [lifted if k is None else values[k] for k in pen]


def array(values: Points) -> np.ndarray:
    """Numbers as NumPy has them.

    Args:
        values: a tensor (on any device, with or without gradients), an array or a list.

    Returns:
        float64, of the same shape.
    """
    return np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, np.float64)


def moving(
    points: Points,
    pen: Pen,
    confidence: Points | None = None,
    size: float = 9.0,
    decimals: int = 4,
) -> dict[str, Any]:
    """What moves in a drawing of points.

    Args:
        points: (K, 3), NaN where unknown.
        pen: the order in which they are visited.
        confidence: (K,) in [0, 1]; markers of doubtful points are smaller.
        size: of a marker in pixels.
        decimals: of the coordinates.

    Returns:
        Coordinates (None: pen up), marker sizes and confidence along the pen, as a
        `go.Scatter3d` takes them.
    """
    rounded = [
        [round(c, decimals) if math.isfinite(c) else None for c in p]
        for p in array(points).tolist()
    ]
    x, y, z = ([None if k is None else rounded[k][axis] for k in pen] for axis in range(3))
    place = dict(x=x, y=y, z=z)
    if confidence is None:
        return place
    sure = [round(w, 2) for w in array(confidence).clip(0, 1).tolist()]
    sizes = [round(size * (0.5 + 0.5 * w), 1) for w in sure]
    return place | dict(customdata=_at_pen(pen, sure), marker=dict(size=_at_pen(pen, sizes, 0)))


# ---- drawings ------------------------------------------------------------------------------------
def bones(
    points: Points,
    edges: Sequence[tuple[int, int]],
    confidence: Points | None = None,
    colours: str | Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    name: str = "skeleton",
    *,
    size: float = 9.0,
    width: float = 6.0,
    decimals: int = 4,
    **style: Any,
) -> go.Scatter3d:
    """Keypoints joined by bones; hovering tells a point's name, confidence and place.

    Args:
        points: (K, 3), NaN where unknown.
        edges: pairs of points that are joined.
        confidence: (K,) in [0, 1], shown by the markers' sizes.
        colours: one for all, or K of them (default: `keypoint_colours(names)`).
        names: of the points (default: k0, k1, ...).
        name: of the whole in the legend.
        size: of a marker in pixels.
        width: of a bone in pixels.
        decimals: of the coordinates.
        **style: goes to `go.Scatter3d`.

    Returns:
        One trace.
    """
    points = array(points)
    pen = walk(edges, len(points))
    names = list(names or [f"k{k}" for k in range(len(points))])
    paint = _paint(pen, colours or keypoint_colours(names))
    drawn = moving(points, pen, confidence, size, decimals)
    flat = dict(opacity=1, line_width=0)
    drawn["marker"] = dict(size=size) | drawn.get("marker", {}) | paint | flat
    sure = "" if confidence is None else "<br>confidence %{customdata}"
    return go.Scatter3d(
        **drawn,
        mode="lines+markers",
        line=paint | dict(width=width),
        text=_at_pen(pen, names, ""),
        hovertemplate="%{text}" + sure + "<br>%{x}, %{y}, %{z}<extra></extra>",
        name=name,
        **style,
    )


def _paint(pen: Pen, colours: str | Sequence[str]) -> dict[str, Any]:
    """One colour, or one per keypoint as a colour scale.

    Unlike a list of colours, a scale reaches the legend and stays small.
    """
    if isinstance(colours, str):
        return dict(color=colours)
    last = max(1, len(colours) - 1)
    scale = [[k / last, colours[min(k, len(colours) - 1)]] for k in range(last + 1)]
    tones = _at_pen(pen, range(len(colours)), 0)
    return dict(color=tones, colorscale=scale, cmin=0, cmax=last, showscale=False)


def outline(
    points: Points,
    edges: Sequence[tuple[int, int]],
    name: str,
    colour: str,
    width: float = 2,
    **style: Any,
) -> go.Scatter3d:
    """Lines alone: the edges of a shape.

    Args:
        points: (P, 3).
        edges: pairs of points that are joined.
        name: in the legend.
        colour: as #rrggbb.
        width: of a line in pixels.
        **style: goes to `go.Scatter3d`.

    Returns:
        One trace.
    """
    line = dict(color=colour, width=width)
    style = dict(mode="lines", hoverinfo="skip") | style
    return go.Scatter3d(**moving(points, walk(edges, 0)), line=line, name=name, **style)


def trail(
    points: Points, name: str = "trail", colour: str = "#56B4E9", width: float = 3, **style: Any
) -> go.Scatter3d:
    """The path of one point through time.

    Args:
        points: (T, 3); NaN lifts the pen.
        name: in the legend.
        colour: as #rrggbb.
        width: of the line in pixels.
        **style: goes to `go.Scatter3d`.

    Returns:
        One trace.
    """
    return go.Scatter3d(
        **moving(points, range(len(array(points)))),
        mode="lines",
        line=dict(color=colour, width=width),
        name=name,
        hoverinfo="skip",
        **style,
    )
