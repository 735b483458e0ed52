"""Player: `movie` plays a track with its pictures in a page, and without a kernel.

Its frames hold only what moves, rounded to about 1 / 10 000 of the region: 200 take less than 3 MB.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from torch import Tensor

from ..cameras import CameraRig
from ..clips.clip import MultiViewClip
from ..clips.image_tracks import Track2D
from ..clips.tracks import Skeleton, Track
from ..volumes import Grid
from .arrows import arrows
from .colours import GREY, skeleton_colours
from .films import filmstrip
from .scenes import CLEAR, THEMES, box_about, first_look, places, proportions, scene, themed
from .traces import (
    Points,
    arrow_mesh,
    bones,
    cube,
    moving,
    moving_arrow,
    rig_traces,
    trail,
    walk,
)

PIXELS = 112  # width of a view beside the skeleton
ALONE, BESIDE = 1.15, 0.9  # width over height of the scene, alone and beside views: a narrow page


def movie(
    track: Track,
    rig: CameraRig | None = None,
    truth: Points | None = None,
    truth_skeleton: Skeleton | None = None,
    centre: Grid | Tensor | Sequence[float] | None = None,
    side: float | None = None,
    *,
    every: int = 1,
    title: str = "",
    height: int | None = 640,
    clip: MultiViewClip | None = None,
    views: Sequence[int] | None = None,
    theme: str = "auto",
) -> go.Figure:
    """The track as a film that plays anywhere, without a kernel.

    The axes stand still about the places where the animal goes; `cameras` steps back to the rig.
    Where the track knows the heading, an arrow on the ground turns with it.

    Args:
        track: keypoints (T, K, 3) and learned edges.
        rig: its cameras stand about.
        truth: (T, J, 3) true joints, in grey.
        truth_skeleton: names and bones of the truth.
        centre: of the volume of discovery, which is outlined: a `Grid` (turned, too), or (3).
        side: of that volume in world units; none beside a `Grid`.
        every: shows every n-th frame.
        title: above the figure.
        height: in pixels.
        clip: a frame per row of the track: views beside the skeleton.
        views: which of them (default: the first four).
        theme: `light`, `dark` or `auto`.

    Returns:
        The figure.
    """
    parts = _parts(track, truth, truth_skeleton, every)
    near = _near(parts)
    decimals = max(0, math.floor(4 - math.log10((near[:, 1] - near[:, 0]).max())))
    cameras = [] if rig is None else rig_traces(rig)
    still = [_path(parts[0].points), *cameras, *_volume(centre, side)]
    panel = _Panel() if clip is None else _panel(clip, track, every, views)
    drawn = [part.first(decimals) for part in parts]
    look: dict[str, Any] = dict(title=title, height=height, ranges=near, theme=theme)
    figure = scene(drawn, panel.first, still, unit=track.unit, **look)
    figure.frames = _frames(parts, panel, decimals)
    far = box_about(*places(cameras), near.T) if cameras else near
    controls = _controls(figure, _shown_at(track, every), theme, near, far, wide=panel.wide)
    return figure.update_layout(margin_b=10, **panel.layout, **controls)


def _volume(
    centre: Grid | Tensor | Sequence[float] | None, side: float | None
) -> list[go.Scatter3d]:
    known = isinstance(centre, Grid) or side is not None
    return [cube(centre, side)] if centre is not None and known else []


def _path(points: Tensor) -> go.Scatter3d:
    return trail(points.mean(1), "path of the mean", width=2, visible="legendonly")


def _near(parts: Sequence[_Part | _Arrow]) -> np.ndarray:
    """The box (3, 2) about nearly all keypoints, and about the arrows' tips."""
    points = [part.points for part in parts if isinstance(part, _Part)]
    box = box_about(*points, percent=0.5, margin=0.02)
    ends = [np.nanpercentile(p.points, [0.1, 99.9], (0, 1)) for p in parts if isinstance(p, _Arrow)]
    return box_about(box.T, *ends, margin=0.02) if ends else box


# ---- what moves ----------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Part:
    """Points (T, K, 3) that move along a pen, with confidence (T, K) or without."""

    points: Tensor
    skeleton: Skeleton
    confidence: Tensor | None
    style: dict[str, Any]  # of `bones`

    def first(self, decimals: int) -> go.Scatter3d:
        """The whole trace, at the first frame."""
        sure = None if self.confidence is None else self.confidence[0]
        style = {"names": self.skeleton.names, "decimals": decimals, **self.style}
        return bones(self.points[0], self.skeleton.edges, sure, **style)

    def at(self, t: int, decimals: int) -> go.Scatter3d:
        """What another frame changes of it."""
        sure = None if self.confidence is None else self.confidence[t]
        pen = walk(self.skeleton.edges, self.points.shape[1])
        return go.Scatter3d(**moving(self.points[t], pen, sure, decimals=decimals))


@dataclass(frozen=True)
class _Arrow:
    """The heading of every n-th frame, as an arrow on the ground with corners (T, 7, 3)."""

    track: Track
    corners: Tensor
    every: int

    @property
    def points(self) -> Tensor:
        return self.corners[:: self.every]

    def first(self, decimals: int) -> go.Mesh3d:
        """The whole trace, at the first frame."""
        return arrow_mesh(moving_arrow(self.track, self.corners, 0, decimals))

    def at(self, t: int, decimals: int) -> go.Mesh3d:
        """What another frame changes of it."""
        return go.Mesh3d(**moving_arrow(self.track, self.corners, t * self.every, decimals))


def _parts(
    track: Track, truth: Points | None, truth_skeleton: Skeleton | None, every: int
) -> list[_Part | _Arrow]:
    style: dict[str, Any] = dict(name="discovered", colours=skeleton_colours(track.skeleton))
    confidence = track.confidence[::every]
    shown = _Part(track.world[::every], track.skeleton, confidence=confidence, style=style)
    parts: list[_Part | _Arrow] = [shown]
    if truth is not None:
        style = dict(name="truth", colours=GREY, size=4.0, width=4.0)
        joints = torch.as_tensor(truth)[::every]
        skeleton = truth_skeleton or Skeleton((), ())
        parts.append(_Part(joints, skeleton, confidence=None, style=style))
    corners = arrows(track)
    return parts if corners is None else [*parts, _Arrow(track, corners, every)]


def _frames(parts: Sequence[_Part | _Arrow], panel: _Panel, decimals: int) -> list[go.Frame]:
    moved = list(range(len(parts) + len(panel.first)))  # numbers of the traces that a frame changes
    return [
        go.Frame(
            name=str(t),
            traces=moved,
            data=[*(part.at(t, decimals) for part in parts), *panel.at(t)],
        )
        for t in range(len(parts[0].points))
    ]


# ---- the views beside the skeleton ---------------------------------------------------------------
@dataclass(frozen=True)
class _Panel:
    """Picture and keypoints of every frame as traces, and the layout that puts them to the left."""

    frames: Sequence[tuple[go.Image, go.Scatter]] = ()
    layout: dict[str, Any] = field(default_factory=dict)

    @property
    def wide(self) -> float:
        return BESIDE if self.frames else ALONE

    @property
    def first(self) -> list:
        return list(self.frames[0]) if self.frames else []

    def at(self, t: int) -> list:
        """What another frame changes of it."""
        if not self.frames:
            return []
        image, points = self.frames[t]
        return [go.Image(source=image.source), go.Scatter(x=points.x, y=points.y)]


def _panel(clip: MultiViewClip, track: Track, every: int, views: Sequence[int] | None) -> _Panel:
    views = list(range(min(4, clip.rig.views))) if views is None else list(views)
    times = range(0, len(track.world), every)
    pages, px, (rows, columns) = filmstrip(clip, track, times, views, PIXELS)
    colours = skeleton_colours(track.skeleton) * len(views)
    paint = dict(size=5, color=colours, line=dict(width=0.5, color="#000"))
    share = min(0.42, 0.21 * columns)
    axis = dict(visible=False, fixedrange=True, constrain="domain")
    high = axis | dict(range=[rows * PIXELS, 0], scaleanchor="x", constraintoward="middle")
    layout = dict(
        annotations=[_name(clip.rig.names[v], n, columns) for n, v in enumerate(views)],
        scene_domain_x=[share, 1],
        yaxis=high,
        xaxis=axis | dict(range=[0, columns * PIXELS], domain=[0.01, share]),
    )
    return _Panel([(_still(page), _dots(p, paint)) for page, p in zip(pages, px)], layout)


def _still(page: str) -> go.Image:
    return go.Image(source=page, zsmooth="fast", hoverinfo="skip", xaxis="x", yaxis="y")


def _dots(px: Tensor, paint: dict[str, Any]) -> go.Scatter:
    """Keypoints (V, K, 2) of one frame in the mosaic's pixels."""
    x, y = (_rounded(px[..., axis]) for axis in (0, 1))
    style = dict(mode="markers", hoverinfo="skip", showlegend=False)
    return go.Scatter(x=x, y=y, marker=paint, **style)


def _name(text: str, place: int, columns: int) -> dict[str, Any]:
    """A view's name in the corner of its picture."""
    row, column = divmod(place, columns)
    return dict(
        text=text,
        x=PIXELS * column + 3,
        y=PIXELS * row + 2,
        xref="x",
        yref="y",
        xanchor="left",
        yanchor="top",
        showarrow=False,
        font=dict(color="#fff", size=12),
        bgcolor="rgba(0,0,0,0.45)",
        borderpad=1,
    )


def _rounded(values: Tensor) -> list[float | None]:
    return [round(v, 1) if math.isfinite(v) else None for v in values.flatten().tolist()]


def movie_in_image(
    track: Track2D, clip: MultiViewClip, *, every: int = 1, title: str = "", pixels: int = 320
) -> go.Figure:
    """One camera's pictures with the keypoints, as a film that plays anywhere, without a kernel.

    Args:
        track: a row for each frame of the clip.
        clip: of that camera.
        every: shows every n-th frame.
        title: above the figure.
        pixels: width of the pictures, which are cut to where the animal goes.

    Returns:
        The figure.
    """
    times, edges = range(0, len(track), every), track.skeleton.edges
    pages, px, _ = filmstrip(clip, track.on_plane(), times, [0], pixels, total=3_000_000)
    paint = dict(size=8, color=skeleton_colours(track.skeleton), line=dict(width=1, color="#000"))
    axis = dict(visible=False, range=[0, pixels], constrain="domain")
    high = axis | dict(range=[pixels, 0], scaleanchor="x")
    shown = [[_still(page), _bars(p[0], edges), _dots(p, paint)] for page, p in zip(pages, px)]
    figure = go.Figure(shown[0])
    figure.frames = [
        go.Frame(name=str(t), data=data, traces=[0, 1, 2]) for t, data in enumerate(shown)
    ]
    buttons = _controls(figure, _shown_at(track, every), "auto")
    figure.update_layout(title=title, xaxis=axis, yaxis=high, height=640, **buttons)
    return themed(figure, "auto")


def _bars(px: Tensor, edges: Sequence[tuple[int, int]]) -> go.Scatter:
    """Bones between keypoints (K, 2) as one line that lifts its pen."""
    pen = torch.tensor([[i, j, j] for i, j in edges], dtype=torch.long).flatten()
    points = px[pen].clone()
    points[2::3] = torch.nan
    x, y = (_rounded(points[:, axis]) for axis in (0, 1))
    line = dict(color=GREY, width=2)
    return go.Scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip", showlegend=False)


# ---- buttons and slider --------------------------------------------------------------------------
def _shown_at(track: Track | Track2D, every: int) -> tuple[list[float], float]:
    """When every so many frames were, in seconds, and the usual step between them."""
    return track.clock["seconds"][::every].tolist(), every / track.fps


def _controls(
    figure: go.Figure,
    shown_at: tuple[list[float], float],
    theme: str,
    *boxes: np.ndarray,
    wide: float = ALONE,
) -> dict[str, Any]:
    """Play and pause, a slider over the frames, and (of two boxes) two buttons: animal, or rig."""
    (seconds, pause), ink = shown_at, THEMES[theme][1]
    play = [
        dict(label="▶ play", method="animate", args=_go_to(None, 1000 * pause)),
        dict(label="❚❚ pause", method="animate", args=_go_to([None], 0)),
    ]
    looks = [
        dict(label=label, method="relayout", args=_look_at(box, wide))
        for label, box in zip(("animal", "cameras"), boxes)
    ]
    steps = [
        dict(label=f"{second:.2f} s", method="animate", args=_go_to([str(t)], 0))
        for t, second in enumerate(seconds)
    ]
    menus = [_buttons(play, 0.02, "left"), _buttons(looks, 0.99, "right")]
    first: dict[str, Any] = {"scene_camera": first_look(boxes[0], wide)} if boxes else {}
    return first | dict(sliders=[_slider(steps, ink)], updatemenus=menus[: 1 + bool(looks)])


def _go_to(frame: list | None, pause: float) -> list:
    """Arguments of Plotly's `animate`: to a frame, or (None) through all, `pause` ms each."""
    moment = dict(duration=pause, redraw=True)
    still = dict(duration=0)
    return [frame, dict(mode="immediate", fromcurrent=True, transition=still, frame=moment)]


def _look_at(ranges: np.ndarray, wide: float) -> list[dict]:
    """Arguments of Plotly's `relayout`: the axes and the camera of another box."""
    axes = {f"scene.{a}axis.range": r.round(3).tolist() for a, r in zip("xyz", ranges)}
    space = {"scene.camera": first_look(ranges, wide), "scene.aspectratio": proportions(ranges)}
    return [axes | space]


def _buttons(buttons: list[dict], x: float, side: str) -> dict[str, Any]:
    return dict(
        buttons=buttons,
        type="buttons",
        direction="right",
        showactive=False,
        bgcolor=CLEAR,
        bordercolor=GREY,
        pad=dict(t=0, r=8),
        x=x,
        y=0,
        xanchor=side,
        yanchor="top",
    )


def _slider(steps: list[dict], ink: str) -> dict[str, Any]:
    bar = "#b0b0b0"
    return dict(
        steps=steps,
        active=0,
        x=0.02,
        len=0.96,
        y=0,
        pad=dict(t=42, b=8),
        ticklen=0,
        minorticklen=0,
        font=dict(color=CLEAR),
        bgcolor=bar,
        bordercolor=bar,
        currentvalue=dict(prefix="time ", xanchor="right", font=dict(color=ink)),
    )
