"""Views: `scene` adds traces up to one figure, `movie` plays a track with its pictures and without a kernel, `save_html` keeps it.

Every type's traces come from `traces`, images from `overlays`. World units are the rig's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import torch
from torch import Tensor

from ..cameras import CameraRig
from ..clips.clip import MultiViewClip
from ..clips.tracks import Skeleton, Track
from ..files import write_atomically
from .overlays import GREY, SAFE, data_uri, filmstrip, keypoint_colours
from .traces import array, bones, cube, moving, rig_traces, trail, walk

CLEAR = "rgba(0,0,0,0)"
FAINT = "rgba(70,70,70,0.45)"  # gridlines: WebGL adds the colour whole, so this is faint on white and on black
THEMES = {
    "auto": (CLEAR, "#808080"),
    "light": ("#ffffff", "#33383f"),
    "dark": ("#16181d", "#c9ced4"),
}  # paper, ink
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
:root {{ color-scheme: light dark }} html, body {{ margin: 0; height: 100%; background: #fff }}
@media (prefers-color-scheme: dark) {{ html, body {{ background: #16181d }} }}</style><body>{figure}</body></html>"""


# ---- one figure --------------------------------------------------------------------------------------------------
def _region(*points, percent: float = 0.0, margin: float = 0.08) -> np.ndarray:
    """Ranges (3, 2) of the finite points but `percent` at either end, plus a margin; no axis under 40 % of the longest."""
    cloud = np.concatenate([array(p).reshape(-1, 3) for p in points] or [np.zeros((0, 3))])
    cloud = cloud[np.isfinite(cloud).all(1)]
    low, high = (
        np.percentile(cloud, [percent, 100 - percent], 0)
        if len(cloud)
        else (-np.ones(3), np.ones(3))
    )
    half = (high - low) / 2 * (1 + 2 * margin)
    half = np.maximum(half, 0.4 * half.max() or 1.0)
    return np.stack([(low + high) / 2 - half, (low + high) / 2 + half], 1)


def _camera(ranges: np.ndarray) -> dict:
    """A first look from above and aside, near enough for the box to fill the scene. Plotly scales the box's sides to a geometric mean of 1."""
    extent = ranges[:, 1] - ranges[:, 0]
    ex, ey, ez = extent / extent.prod() ** (1 / 3)
    far = 1.41 * max(
        0.89 * ez + 0.45 * math.hypot(ex, ey), 0.7 * (0.78 * ex + 0.62 * ey)
    )  # what the box measures up and across, from there
    x, y, z = far * np.array([0.56, -0.70, 0.45])
    return dict(eye=dict(x=x, y=y, z=z), center=dict(x=0, y=0, z=-0.14), up=dict(x=0, y=0, z=1))


def _where(traces) -> list[np.ndarray]:
    return [
        np.stack([np.asarray(t[axis], np.float64).ravel() for axis in "xyz"], 1)
        for t in traces
        if getattr(t, "z", None) is not None and t.type != "image"
    ]


def _keys(traces) -> list[go.Scatter3d]:
    """Legend entries of many-coloured skeletons, whose lines the legend itself would draw in black: points nowhere, same group."""
    many = [
        t
        for t in traces
        if t.type == "scatter3d" and t.line.colorscale is not None and t.showlegend is not False
    ]
    for trace in many:
        trace.update(legendgroup=trace.name, showlegend=False)
    nowhere = dict(
        x=[None],
        y=[None],
        z=[None],
        mode="lines+markers",
        line=dict(color=SAFE[2], width=6),
        marker=dict(color=SAFE[0], size=9),
    )
    return [
        go.Scatter3d(**nowhere, name=t.name, legendgroup=t.name, legendrank=1, visible=t.visible)
        for t in many
    ]


def themed(figure: go.Figure, theme: str = "auto") -> go.Figure:
    """The figure in `light`, `dark` or `auto`: mid-grey text on no background, which reads on white and on black pages."""
    if theme not in THEMES:
        raise ValueError(f"theme = {theme!r}; expected {', '.join(THEMES)}")
    paper, ink = THEMES[theme]
    figure.update_layout(
        paper_bgcolor=paper,
        plot_bgcolor=CLEAR,
        font_color=ink,
        modebar=dict(bgcolor=CLEAR, color=GREY, activecolor=SAFE[1]),
    )
    figure.update_scenes(
        **{f"{a}axis": dict(color=ink, gridcolor=FAINT, zerolinecolor=FAINT) for a in "xyz"}
    )
    return figure


def scene(
    *traces,
    unit: str = "mm",
    title: str = "",
    height: int | None = 560,
    ranges=None,
    theme: str = "auto",
) -> go.Figure:
    """One figure of all the traces (lists of traces are welcome): equal axes, z up, fixed ranges, legend above the box.

    theme: `light`, `dark`, or `auto`, which is legible on both.
    """
    flat = [t for trace in traces for t in (trace if isinstance(trace, (list, tuple)) else [trace])]
    ranges = _region(*_where(flat)) if ranges is None else np.asarray(ranges)
    axes = {
        f"{a}axis": dict(
            showbackground=False,
            showspikes=False,
            nticks=6,
            title=f"{a} ({unit})",
            range=r.tolist(),
        )
        for a, r in zip("xyz", ranges)
    }
    return themed(
        go.Figure(
            [*flat, *_keys(flat)],
            dict(
                scene=dict(
                    aspectmode="data",
                    camera=_camera(ranges),
                    dragmode="turntable",
                    domain=dict(x=[0, 1], y=[0, 1]),
                    **axes,
                ),
                height=height,
                showlegend=True,
                title=dict(
                    text=title, x=0.01, y=0.945 if "<br>" in title else 0.985, yanchor="top"
                ),
                margin=dict(l=0, r=0, t=60 + 22 * title.count("<br>"), b=0),
                legend=dict(
                    orientation="h",
                    x=0.01,
                    yref="container",
                    y=0.915 if "<br>" in title else 0.955,
                    yanchor="top",
                    itemsizing="constant",
                    bgcolor=CLEAR,
                ),
                uirevision="kept",
            ),
        ),
        theme,
    )


def picture(
    image: np.ndarray,
    title: str = "",
    height: int | None = None,
    theme: str = "auto",
    quality: int = 85,
) -> go.Figure:
    """An RGB image (H, W, 3) uint8 as a Plotly figure without axes, as a JPEG: what image widgets show and update in place."""
    H, W, _ = image.shape
    figure = go.Figure(go.Image(source=data_uri(image, quality), hoverinfo="skip", zsmooth="fast"))
    top = 34 + 20 * title.count("<br>") if title else 5
    figure.update_layout(
        height=height or min(640, round(780 * H / W)) + top,
        margin=dict(l=0, r=0, t=top, b=0),
        dragmode=False,
        title=dict(text=title, x=0.005, y=0.985, yanchor="top", font_size=15),
    )
    figure.update_xaxes(visible=False, range=[0, W], constrain="domain", constraintoward="left")
    figure.update_yaxes(
        visible=False, range=[H, 0], constrain="domain", constraintoward="top", scaleanchor="x"
    )
    return themed(figure, theme).update_layout(
        modebar_remove=[
            "zoom",
            "pan",
            "zoomin",
            "zoomout",
            "autoscale",
            "resetscale",
            "select",
            "lasso",
        ]
    )


# ---- the film ----------------------------------------------------------------------------------------------------
def movie(
    track: Track,
    rig: CameraRig | None = None,
    truth=None,
    truth_skeleton: Skeleton | None = None,
    centre=None,
    side: float | None = None,
    every: int = 1,
    title: str = "",
    height: int | None = 640,
    clip: MultiViewClip | None = None,
    views: Sequence[int] | None = None,
    theme: str = "auto",
) -> go.Figure:
    """The track as a film that plays anywhere, without a kernel: keypoints and learned edges, `truth` (T, J, 3) in grey.

    clip: show its `views` (default: the first four) beside the skeleton, in step with it; the track has a row per frame. The axes
    stand still and hold the places where the animal goes; `cameras` steps back to the whole rig. `centre` (3) and `side` outline
    the volume of discovery. Frames hold only what moves, rounded to about 1 / 10 000 of the region: 200 take less than 3 MB.
    """
    found, K = track.world[::every], track.world.shape[1]
    cloud = [found] if truth is None else [found, torch.as_tensor(truth)[::every]]
    near = _region(*cloud, percent=0.5, margin=0.02)
    decimals = max(0, math.floor(4 - math.log10((near[:, 1] - near[:, 0]).max())))
    names, colours = (
        track.skeleton.names,
        keypoint_colours(track.skeleton.names, track.skeleton.colours),
    )
    parts = [(found, walk(track.skeleton.edges, K), track.confidence[::every])]
    first = [
        bones(
            found[0],
            track.skeleton.edges,
            track.confidence[0],
            colours,
            names,
            "discovered",
            decimals=decimals,
        )
    ]
    if truth is not None:
        joints, known = cloud[1], truth_skeleton or Skeleton((), ())
        parts.append((joints, walk(known.edges, joints.shape[1]), None))
        first.append(
            bones(joints[0], known.edges, None, GREY, known.names, "truth", 4.0, 4.0, decimals)
        )
    still = [trail(found.mean(1), "path of the mean", width=2, visible="legendonly")]
    still += rig_traces(rig) if rig is not None else []
    still += [cube(centre, side)] if side is not None else []
    strip_, panel = ([], {}) if clip is None else _strip(clip, track, every, views, colours)
    figure = scene(
        first,
        [frame for frame in strip_[:1] for frame in frame],
        still,
        unit=track.unit,
        title=title,
        height=height,
        ranges=near,
        theme=theme,
    )
    count = len(first) + (2 if strip_ else 0)
    figure.frames = [
        go.Frame(
            name=str(t),
            traces=list(range(count)),
            data=[
                go.Scatter3d(**moving(p[t], pen, None if w is None else w[t], decimals=decimals))
                for p, pen, w in parts
            ]
            + (_moved(strip_[t]) if strip_ else []),
        )
        for t in range(len(found))
    ]
    far = near if rig is None else _region(*_where(still[1:3]), near.T)
    labels = [f"{t * every / track.fps:.2f} s" for t in range(len(found))]
    return figure.update_layout(
        margin_b=10,
        **panel,
        **_controls(labels, 1000 * every / track.fps, near, far, THEMES[theme][1]),
    )


def _strip(
    clip: MultiViewClip,
    track: Track,
    every: int,
    views: Sequence[int] | None,
    colours: Sequence[str],
) -> tuple[list[tuple], dict]:
    """Picture and keypoints of every frame as traces, and the layout that puts them to the left of the scene."""
    views = list(range(min(4, clip.rig.views))) if views is None else list(views)
    pixels = 112
    pages, px, (rows, columns) = filmstrip(
        clip, track, range(0, len(track.world), every), views, pixels
    )
    paint = dict(size=5, color=list(colours) * len(views), line=dict(width=0.5, color="#000"))
    frames = [
        (
            go.Image(source=page, zsmooth="fast", hoverinfo="skip", xaxis="x", yaxis="y"),
            go.Scatter(
                x=_rounded(p[..., 0]),
                y=_rounded(p[..., 1]),
                mode="markers",
                marker=paint,
                hoverinfo="skip",
                showlegend=False,
            ),
        )
        for page, p in zip(pages, px)
    ]
    share = min(0.42, 0.21 * columns)
    names = [
        dict(
            text=clip.rig.names[v],
            x=pixels * (n % columns) + 3,
            y=pixels * (n // columns) + 2,
            xref="x",
            yref="y",
            xanchor="left",
            yanchor="top",
            showarrow=False,
            font=dict(color="#fff", size=12),
            bgcolor="rgba(0,0,0,0.45)",
            borderpad=1,
        )
        for n, v in enumerate(views)
    ]
    axis = dict(visible=False, fixedrange=True, constrain="domain")
    return frames, dict(
        annotations=names,
        scene_domain_x=[share, 1],
        yaxis=axis | dict(range=[rows * pixels, 0], scaleanchor="x", constraintoward="middle"),
        xaxis=axis | dict(range=[0, columns * pixels], domain=[0.01, share]),
    )


def _rounded(values: Tensor) -> list:
    return [round(v, 1) if math.isfinite(v) else None for v in values.flatten().tolist()]


def _moved(traces: tuple[go.Image, go.Scatter]) -> list:
    return [go.Image(source=traces[0].source), go.Scatter(x=traces[1].x, y=traces[1].y)]


def _controls(
    labels: Sequence[str], pause: float, near: np.ndarray, far: np.ndarray, ink: str
) -> dict:
    """Play and pause, a slider over the frames, and two buttons that look at the animal or at the whole rig."""

    def go_to(frame, wait: float) -> list:
        return [
            frame,
            dict(
                mode="immediate",
                fromcurrent=True,
                transition=dict(duration=0),
                frame=dict(duration=wait, redraw=True),
            ),
        ]

    def look(ranges: np.ndarray) -> list:
        return [
            {f"scene.{a}axis.range": r.round(3).tolist() for a, r in zip("xyz", ranges)}
            | {"scene.camera": _camera(ranges)}
        ]

    quiet = dict(
        type="buttons",
        direction="right",
        showactive=False,
        bgcolor=CLEAR,
        bordercolor=GREY,
        pad=dict(t=0, r=8),
    )
    play = [
        dict(label="▶ play", method="animate", args=go_to(None, pause)),
        dict(label="❚❚ pause", method="animate", args=go_to([None], 0)),
    ]
    views = [
        dict(label="animal", method="relayout", args=look(near)),
        dict(label="cameras", method="relayout", args=look(far)),
    ]
    steps = [
        dict(label=label, method="animate", args=go_to([str(t)], 0))
        for t, label in enumerate(labels)
    ]
    slider = dict(
        steps=steps,
        active=0,
        x=0.02,
        len=0.96,
        y=0,
        pad=dict(t=42, b=8),
        ticklen=0,
        minorticklen=0,
        font=dict(color=CLEAR),
        bgcolor="#b0b0b0",
        bordercolor="#b0b0b0",
        currentvalue=dict(prefix="time ", xanchor="right", font=dict(color=ink)),
    )
    return dict(
        sliders=[slider],
        updatemenus=[
            quiet | dict(buttons=play, x=0.02, y=0, xanchor="left", yanchor="top"),
            quiet | dict(buttons=views, x=0.99, y=0, xanchor="right", yanchor="top"),
        ],
    )


def save_html(figure: go.Figure, path: str | Path) -> Path:
    """Write one self-contained page (Plotly's script included, no network) that fills the window, light or dark as the system is."""
    config = dict(responsive=True, displaylogo=False, plotlyServerURL="", scrollZoom=True)
    free = go.Figure(figure).update_layout(height=None)
    body = free.to_html(
        config, full_html=False, include_plotlyjs=True, default_height="100vh", auto_play=False
    )
    page = PAGE.format(title=escape(figure.layout.title.text or "3D skeleton"), figure=body)
    return write_atomically(path, lambda temporary: temporary.write_text(page, encoding="utf-8"))
