"""Scenes: `scene` adds traces up to one figure, `picture` shows an image, `save_html` keeps both.

Every type's traces come from `traces`, images from `overlays`. World units are the rig's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go

from ..files import write_atomically
from .colours import GREY, SAFE
from .notebook_figures import alone_html
from .overlays import data_uri
from .traces import Points, array

CLEAR = "rgba(0,0,0,0)"
# gridlines: WebGL adds the colour whole, so this is faint on white and on black
FAINT = "rgba(70,70,70,0.45)"
# paper, ink
THEMES = {
    "auto": (CLEAR, "#808080"),
    "light": ("#ffffff", "#33383f"),
    "dark": ("#16181d", "#c9ced4"),
}
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
:root {{ color-scheme: light dark }} html, body {{ margin: 0; height: 100%; background: #fff }}
@media (prefers-color-scheme: dark) {{ html, body {{ background: #16181d }} }}</style>
<body>{figure}</body></html>"""
TOOLS = ["zoom", "pan", "zoomin", "zoomout", "autoscale", "resetscale", "select", "lasso"]


# ---- where to look -------------------------------------------------------------------------------
def box_about(*points: Points, percent: float = 0.0, margin: float = 0.08) -> np.ndarray:
    """The box about points; no axis of it is under 40 % of the longest.

    Args:
        *points: clouds (..., 3); what is not finite is left out.
        percent: of the points at either end that may stay outside.
        margin: added on either side, as a share of the axis.

    Returns:
        (3, 2) ranges.
    """
    cloud = np.concatenate([array(p).reshape(-1, 3) for p in points] or [np.zeros((0, 3))])
    cloud = cloud[np.isfinite(cloud).all(1)]
    low, high = -np.ones(3), np.ones(3)
    if len(cloud):
        low, high = np.percentile(cloud, [percent, 100 - percent], 0)
    half = (high - low) / 2 * (1 + 2 * margin)
    half = np.maximum(half, 0.4 * half.max() or 1.0)
    return np.stack([(low + high) / 2 - half, (low + high) / 2 + half], 1)


def first_look(ranges: np.ndarray, width: float = 1.15) -> dict[str, dict]:
    """A camera above and aside, near enough for the box to fill the scene.

    Args:
        ranges: (3, 2) of the axes.
        width: of the scene on the page, as a multiple of its height (default: a narrow page).

    Returns:
        A Plotly scene's `camera`.
    """
    ex, ey, ez = proportions(ranges).values()
    # what the box measures up and across, from there
    up, across = 0.89 * ez + 0.45 * math.hypot(ex, ey), (0.78 * ex + 0.62 * ey) / width
    x, y, z = 1.41 * max(up, across) * np.array([0.56, -0.70, 0.45])
    return dict(eye=dict(x=x, y=y, z=z), center=dict(x=0, y=0, z=-0.14), up=dict(x=0, y=0, z=1))


def proportions(ranges: np.ndarray) -> dict[str, float]:
    """Sides of a box with equal axes. Plotly's own `data` goes by what it drew first, not by these.

    Args:
        ranges: (3, 2) of the axes.

    Returns:
        A Plotly scene's `aspectratio`; its geometric mean is 1.
    """
    extent = np.asarray(ranges)[:, 1] - np.asarray(ranges)[:, 0]
    return dict(zip("xyz", (extent / extent.prod() ** (1 / 3)).tolist()))


def places(traces: Iterable) -> list[np.ndarray]:
    """All points of traces in space.

    Args:
        traces: Plotly's; images and what is flat are left out.

    Returns:
        (P, 3) for each.
    """
    return [
        np.stack([np.asarray(t[axis], np.float64).ravel() for axis in "xyz"], 1)
        for t in traces
        if getattr(t, "z", None) is not None and t.type != "image"
    ]


# ---- one figure ----------------------------------------------------------------------------------
def themed(figure: go.Figure, theme: str = "auto") -> go.Figure:
    """Give a figure its colours.

    Args:
        figure: changed in place.
        theme: `light`, `dark` or `auto`: mid-grey text on no background, which reads on white and
            on black pages.

    Returns:
        The figure.

    Raises:
        ValueError: another theme.
    """
    if theme not in THEMES:
        raise ValueError(f"theme = {theme!r}; expected {', '.join(THEMES)}")
    paper, ink = THEMES[theme]
    bar = dict(bgcolor=CLEAR, color=GREY, activecolor=SAFE[1])
    figure.update_layout(paper_bgcolor=paper, plot_bgcolor=CLEAR, font_color=ink, modebar=bar)
    axis = dict(color=ink, gridcolor=FAINT, zerolinecolor=FAINT)
    figure.update_scenes(xaxis=axis, yaxis=axis, zaxis=axis)
    return figure


def scene(
    *traces: Any,
    unit: str = "mm",
    title: str = "",
    height: int | None = 560,
    ranges: Sequence | np.ndarray | None = None,
    theme: str = "auto",
) -> go.Figure:
    """One figure of all the traces: equal axes, z up, fixed ranges, legend above the box.

    Args:
        *traces: Plotly traces, or lists of them.
        unit: of the world, written at the axes.
        title: above the figure; `<br>` begins a second line.
        height: in pixels; None: the page's.
        ranges: (3, 2) of the axes (default: what holds all traces).
        theme: `light`, `dark`, or `auto`, which is legible on both.

    Returns:
        The figure.
    """
    flat = [t for trace in traces for t in (trace if isinstance(trace, (list, tuple)) else [trace])]
    ranges = box_about(*places(flat)) if ranges is None else np.asarray(ranges)
    space = dict(
        aspectmode="manual",
        aspectratio=proportions(ranges),
        camera=first_look(ranges),
        dragmode="turntable",
        domain=dict(x=[0, 1], y=[0, 1]),
        **_axes(ranges, unit),
    )
    layout = dict(scene=space, height=height, showlegend=True, uirevision="kept", **_head(title))
    return themed(go.Figure([*flat, *_keys(flat)], layout), theme)


def axis_ranges(figure: go.Figure) -> list:
    """Ranges of a scene's axes, to draw others in the same box.

    Args:
        figure: made by `scene`.

    Returns:
        Low and high of x, y and z.
    """
    return [figure.layout.scene[f"{a}axis"].range for a in "xyz"]


def _axes(ranges: np.ndarray, unit: str) -> dict[str, dict]:
    bare = dict(showbackground=False, showspikes=False, nticks=6)
    return {
        f"{a}axis": bare | dict(title=f"{a} ({unit})", range=r.tolist())
        for a, r in zip("xyz", ranges)
    }


def _head(title: str) -> dict[str, dict]:
    """Title, and the legend below it, at the top of a figure."""
    lines, two = title.count("<br>"), "<br>" in title
    return dict(
        title=dict(text=title, x=0.01, y=0.945 if two else 0.985, yanchor="top"),
        margin=dict(l=0, r=0, t=60 + 22 * lines, b=0),
        legend=dict(
            orientation="h",
            x=0.01,
            yref="container",
            y=0.915 if two else 0.955,
            yanchor="top",
            itemsizing="constant",
            bgcolor=CLEAR,
        ),
    )


def _keys(traces: Iterable) -> list[go.Scatter3d]:
    """Legend entries of many-coloured skeletons: points nowhere, of the same group.

    The legend itself would draw their lines in black.
    """
    skeletons = [
        t
        for t in traces
        if t.type == "scatter3d" and t.line.colorscale is not None and t.showlegend is not False
    ]
    for trace in skeletons:
        trace.update(legendgroup=trace.name, showlegend=False)
    nowhere = dict(
        **dict.fromkeys("xyz", [None]),
        mode="lines+markers",
        line=dict(color=SAFE[2], width=6),
        marker=dict(color=SAFE[0], size=9),
    )
    return [
        go.Scatter3d(**nowhere, name=t.name, legendgroup=t.name, legendrank=1, visible=t.visible)
        for t in skeletons
    ]


def picture(
    image: np.ndarray,
    title: str = "",
    height: int | None = None,
    theme: str = "auto",
    quality: int = 85,
) -> go.Figure:
    """An image as a Plotly figure without axes: what image widgets show and update in place.

    Args:
        image: (H, W, 3) uint8, RGB.
        title: above it; `<br>` begins a second line.
        height: of the image in pixels (default: by its proportions).
        theme: `light`, `dark` or `auto`.
        quality: of the JPEG, to 95.

    Returns:
        The figure.
    """
    H, W, _ = image.shape
    figure = go.Figure(go.Image(source=data_uri(image, quality), hoverinfo="skip", zsmooth="fast"))
    top = 34 + 20 * title.count("<br>") if title else 5
    figure.update_layout(
        height=height or min(640, round(780 * H / W)) + top,
        margin=dict(l=0, r=0, t=top, b=0),
        dragmode=False,
        title=dict(text=title, x=0.005, y=0.985, yanchor="top", font_size=15),
    )
    hidden = dict(visible=False, constrain="domain")
    figure.update_xaxes(range=[0, W], constraintoward="left", **hidden)
    figure.update_yaxes(range=[H, 0], constraintoward="top", scaleanchor="x", **hidden)
    return themed(figure, theme).update_layout(modebar_remove=TOOLS)


def save_html(figure: go.Figure, path: str | Path) -> Path:
    """Write one self-contained page that fills the window, light or dark as the system is.

    Plotly's script is included: the page needs no network. It says in words what it shows, and
    keys turn and play it.

    Args:
        figure: of `scene`, `picture` or `movie`.
        path: of the page.

    Returns:
        The path.
    """
    free = go.Figure(figure).update_layout(height=None)
    body = alone_html(free, "100vh", scrollZoom=True)
    page = PAGE.format(title=escape(figure.layout.title.text or "3D skeleton"), figure=body)
    return write_atomically(path, lambda temporary: temporary.write_text(page, encoding="utf-8"))
