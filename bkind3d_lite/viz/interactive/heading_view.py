"""Which way does it face?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import plotly.graph_objects as go
from torch import Tensor

from ...clips.tracks import Track
from ..arrows import ARROW, arrows, moment, recent, solidity
from ..colours import GREY, SAFE, skeleton_colours
from ..scenes import CLEAR, box_about, themed
from ..traces import moving, walk


def from_above(track: Track, height: int = 560) -> Callable[..., go.Figure]:
    """Which way does it face? The animal from above, its path and the arrow of its heading.

    Args:
        track: T frames; without a heading there is no arrow.
        height: of the figure in pixels.

    Returns:
        draw(time): path, what was walked last, arrow and figure; x and y of the world, to scale.
    """
    corners = arrows(track)
    path, look = _line(track.origin, "path", GREY, width=1, opacity=0.6), _plan(track, height)

    def draw(time: int = 0) -> go.Figure:
        last = _line(recent(track, time), "last 2 s", SAFE[1], width=3)
        arrow = [] if corners is None else [_arrow(track, corners, time)]
        figure = go.Figure([path, last, *arrow, *_figure(track, time)], look)
        return themed(figure.update_layout(title_text=moment(track, time)))

    return draw


def _plan(track: Track, height: int) -> dict[str, Any]:
    """Axes to scale about all places where the animal goes."""
    corners = arrows(track)
    clouds = [track.world, *([] if corners is None else [corners])]
    (x, y, _), unit = box_about(*clouds, percent=0.05, margin=0.02).tolist(), track.unit
    plain = dict(zeroline=False, gridcolor="rgba(128,128,128,0.25)", constrain="domain")
    return dict(
        height=height,
        margin=dict(l=70, r=10, t=80, b=50),
        title=dict(x=0.01, y=0.985, yanchor="top"),
        legend=dict(orientation="h", x=0, y=1.01, yanchor="bottom", bgcolor=CLEAR),
        xaxis=plain | dict(range=x, title=f"x ({unit})"),
        yaxis=plain | dict(range=y, title=f"y ({unit})", scaleanchor="x"),
        uirevision="kept",
    )


def _line(points: Tensor, name: str, colour: str, width: float, **style: Any) -> go.Scatter:
    """The way (T, 3) seen from above."""
    x, y, _ = moving(points, range(len(points)), decimals=2).values()
    paint = dict(color=colour, width=width)
    return go.Scatter(x=x, y=y, mode="lines", line=paint, name=name, hoverinfo="skip", **style)


def _arrow(track: Track, corners: Tensor, time: int) -> go.Scatter:
    closed = [*range(corners.shape[1]), 0]
    x, y, _ = moving(corners[time], closed, decimals=2).values()
    inside = dict(fill="toself", fillcolor=ARROW, hoverinfo="skip", name="heading")
    return go.Scatter(
        x=x, y=y, mode="lines", line=dict(width=0), opacity=solidity(track, time), **inside
    )


def _figure(track: Track, time: int) -> list[go.Scatter]:
    """Bones in grey, keypoints in their colours above them."""
    points, names = track.world[time], track.skeleton.names
    pen = walk(track.skeleton.edges, 0)
    dots = moving(points, range(len(names)), track.confidence[time], decimals=2)
    x, y, _ = moving(points, pen, decimals=2).values()
    grey = dict(color=GREY, width=2.5)
    paint = dots["marker"] | dict(color=skeleton_colours(track.skeleton), opacity=1)
    return [
        go.Scatter(x=x, y=y, mode="lines", line=grey, hoverinfo="skip", showlegend=False),
        go.Scatter(
            x=dots["x"],
            y=dots["y"],
            mode="markers",
            marker=paint,
            text=list(names),
            customdata=dots["customdata"],
            hovertemplate="%{text}<br>confidence %{customdata}<br>%{x}, %{y}<extra></extra>",
            name="keypoints",
        ),
    ]
