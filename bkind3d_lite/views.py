"""Views: every type has a picture, and pictures add up. Plotly for space, `overlays` for images, matplotlib for curves.

A viewer returns traces, `scene(*traces)` makes the figure; `movie` plays without a kernel. World units are the rig's.
Legible on white and on black pages: mid-grey text, no background.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import torch
from torch import Tensor
from torch.nn import functional as F

from .cameras import CameraRig
from .clips import Skeleton, Track
from .files import write_atomically
# views is the front door of the images, too
from .overlays import GREY, SAFE, closeups, drawn_frames, loss_curves, overlay, overlay_video, palette, strip, stroke  # noqa: F401
from .shapes import cells, shaped
from .volumes import Grid

CLEAR = "rgba(0,0,0,0)"
FAINT = "rgba(70,70,70,0.45)"  # gridlines: WebGL adds the colour whole, so this is faint on white and on black
CUBE = tuple((i, i | 1 << axis) for i in range(8) for axis in range(3) if not i & 1 << axis)  # corners as 3 bits x, y, z
FRUSTUM = ((0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 3), (3, 4), (4, 1))  # apex, then the image's corners around it
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
:root {{ color-scheme: light dark }} html, body {{ margin: 0; height: 100%; background: #fff }}
@media (prefers-color-scheme: dark) {{ html, body {{ background: #16181d }} }}</style><body>{figure}</body></html>"""


# ---- traces ------------------------------------------------------------------------------------------------------
def walk(edges: Sequence[tuple[int, int]], keypoints: int) -> list[int | None]:
    """The order in which a pen visits K points: both ends of each edge, then the points without one; None lifts the pen."""
    lone = sorted(set(range(keypoints)) - {int(k) for edge in edges for k in edge})
    return [k for i, j in edges for k in (int(i), int(j), None)] + [k for point in lone for k in (point, None)]


def _along(pen: Sequence[int | None], values: Sequence, lifted=None) -> list:
    return [lifted if k is None else values[k] for k in pen]


def _array(values) -> np.ndarray:
    """Numbers of a tensor (on any device, with or without gradients), an array or a list."""
    return np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, np.float64)


def _drawn(points, pen: Sequence[int | None], weight=None, size: float = 9.0, decimals: int = 4) -> dict:
    """What moves in a drawing of `points` (K, 3): coordinates (NaN: pen up), marker sizes and confidence along the pen."""
    rounded = [[round(c, decimals) if math.isfinite(c) else None for c in p] for p in _array(points).tolist()]
    x, y, z = ([None if k is None else rounded[k][axis] for k in pen] for axis in range(3))
    if weight is None:
        return dict(x=x, y=y, z=z)
    sure = [round(w, 2) for w in _array(weight).clip(0, 1).tolist()]
    sizes = [round(size * (0.5 + 0.5 * w), 1) for w in sure]
    return dict(x=x, y=y, z=z, customdata=_along(pen, sure), marker=dict(size=_along(pen, sizes, 0)))


def bones(points, edges, weight=None, colours=None, names: Sequence[str] | None = None, name: str = "skeleton", size: float = 9.0,
          width: float = 6.0, decimals: int = 4, **style) -> go.Scatter3d:
    """Keypoints (K, 3) joined by `edges`. A marker's size shows its confidence `weight` (K,), hovering tells name and value.

    colours: one for all, or K of them (default: `palette(K)`). `style` goes to `go.Scatter3d`.
    """
    points = _array(points)
    pen = walk(edges, len(points))
    paint = _paint(pen, colours or palette(len(points)))
    names = names or [f"k{k}" for k in range(len(points))]
    drawn = _drawn(points, pen, weight, size, decimals)
    drawn["marker"] = dict(size=size) | drawn.get("marker", {}) | paint | dict(opacity=1, line_width=0)
    hover = "%{text}" + ("" if weight is None else "<br>confidence %{customdata}") + "<br>%{x}, %{y}, %{z}<extra></extra>"
    return go.Scatter3d(**drawn, mode="lines+markers", line=paint | dict(width=width), text=_along(pen, list(names), ""),
                        hovertemplate=hover, name=name, **style)


def _paint(pen: Sequence[int | None], colours: str | Sequence[str]) -> dict:
    """One colour, or one per keypoint as a colour scale: unlike a list of colours, it reaches the legend and stays small."""
    if isinstance(colours, str):
        return dict(color=colours)
    last = max(1, len(colours) - 1)
    scale = [[k / last, colours[min(k, len(colours) - 1)]] for k in range(last + 1)]
    return dict(color=_along(pen, range(len(colours)), 0), colorscale=scale, cmin=0, cmax=last, showscale=False)


def _outline(points, edges, name: str, colour: str, width: float = 2, **style) -> go.Scatter3d:
    return go.Scatter3d(**_drawn(points, walk(edges, 0)), line=dict(color=colour, width=width), name=name,
                        **dict(mode="lines", hoverinfo="skip") | style)


def rig_traces(rig: CameraRig, depth: float | None = None, images: Tensor | None = None, colour: str = GREY) -> list:
    """Frusta of the V cameras, `depth` world units long (default: 12 % of the rig's radius), with their names.

    images: (V, H, W, 3) uint8 put on the far side of each frustum, coarsely.
    """
    centres = rig.centres
    depth = (0.12 * _radius(rig) or 1.0) if depth is None else depth
    corners = _at_depth(rig, torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]]), depth)
    points = torch.cat([centres[:, None], corners], 1).flatten(0, 1)
    edges = [(5 * v + i, 5 * v + j) for v in range(rig.views) for i, j in FRUSTUM]
    frusta = _outline(points, edges, "cameras", colour, legendgroup="cameras")
    labels = go.Scatter3d(**_drawn(centres, range(rig.views)), mode="text", text=list(rig.names), textposition="top center",
                          textfont=dict(color=colour), hoverinfo="text", name="camera names", legendgroup="cameras", showlegend=False)
    return [frusta, labels] + ([] if images is None else [_picture(rig, v, image, depth) for v, image in enumerate(images)])


def _radius(rig: CameraRig) -> float:
    return float((rig.centres - rig.centres.mean(0)).norm(dim=-1).mean())


def _at_depth(rig: CameraRig, ndc: Tensor, depth: float) -> Tensor:
    """World points (V, P, 3) seen at `ndc` (P, 2) in every view, `depth` in front of the camera."""
    flat = rig.flat_from_px(rig.px_from_ndc(ndc.expand(rig.views, -1, -1)))
    return depth * torch.cat([flat, torch.ones_like(flat[..., :1])], -1) @ rig.R + rig.centres[:, None]


def _picture(rig: CameraRig, view: int, image: Tensor, depth: float, across: int = 40) -> go.Mesh3d:
    h, w = max(2, round(across * rig.size[1] / rig.size[0])), across
    small = F.interpolate(image.movedim(-1, 0)[None].float(), (h, w), mode="area")[0].flatten(1).T.round().int().tolist()
    x, y, z = _at_depth(rig, cells(h, w).reshape(-1, 2), depth)[view].T.numpy().round(4)
    first = (torch.arange(h - 1)[:, None] * w + torch.arange(w - 1)).flatten()
    i, j, k = torch.cat([torch.stack([first, first + 1, first + w]), torch.stack([first + 1, first + w + 1, first + w])], 1).numpy()
    return go.Mesh3d(x=x, y=y, z=z, i=i, j=j, k=k, vertexcolor=["rgb({},{},{})".format(*c) for c in small], hoverinfo="skip",
                     lighting=dict(ambient=1, diffuse=0, specular=0), name=rig.names[view], legendgroup="cameras", showlegend=False)


def cube(centre: Grid | Tensor | Sequence[float], side: float | None = None, name: str = "cube", colour: str = "#0072B2") -> go.Scatter3d:
    """Outline of a cubic volume: a `Grid` (turned, too), or `centre` (3) and `side` in world units."""
    grid = centre if isinstance(centre, Grid) else Grid(torch.as_tensor(centre, dtype=torch.float32), float(side), 2)
    corners = replace(grid, side=2 * grid.side, voxels=2).points  # the centres of 2 x 2 x 2 cells of twice the side
    return _outline(corners.reshape(-1, 3)[:8], CUBE, name, colour)


def trail(points, name: str = "trail", colour: str = "#56B4E9", width: float = 3, **style) -> go.Scatter3d:
    """The path (T, 3) of one point through time; NaN lifts the pen."""
    return go.Scatter3d(**_drawn(points, range(len(points))), mode="lines", line=dict(color=colour, width=width), name=name,
                        hoverinfo="skip", **style)


def volume_trace(values: Tensor, grid: Grid, share: float = 0.3, name: str = "volume", colours: str = "Viridis", **style) -> go.Isosurface:
    """Surfaces of `values` (N, N, N), axes [z, y, x], between `share` of the maximum and the maximum.

    Averaged down to at most 24 voxels a side and kept as float32, so that a notebook stays small.
    """
    shaped(values, "N N N", "values")
    if grid.turn is not None and bool((grid.turn != 0).any()):
        raise ValueError("volume_trace: the grid is turned about the vertical; surfaces need an axis-aligned one (turn=None)")
    n = min(24, len(values))
    small = F.adaptive_avg_pool3d(values.detach()[None, None].float(), n).flatten().numpy()
    x, y, z = replace(grid, voxels=n, turn=None).points.reshape(-1, 3)[: n**3].float().T.contiguous().numpy()
    most = float(small.max())
    return go.Isosurface(x=x, y=y, z=z, value=small, isomin=share * most, isomax=most, surface_count=3, opacity=0.4, name=name, showlegend=True,
                         caps=dict(x_show=False, y_show=False, z_show=False), colorscale=colours, showscale=False, **style)


def rays(rig: CameraRig, px: Tensor, length: float | None = None) -> list[go.Scatter3d]:
    """Lines of sight of pixels (V, P, 2), a colour per camera, `length` world units (default: past the rig's middle by 30 %)."""
    origin, along = rig.ray_from_px(shaped(px, "V P 2", "px"))
    length = 1.3 * _radius(rig) if length is None else length
    ends = torch.stack([origin.expand_as(along), origin + length * along], 2).flatten(1, 2)  # (V, 2 P, 3)
    pairs = [(2 * p, 2 * p + 1) for p in range(px.shape[1])]
    return [_outline(e, pairs, f"ray of {n}", c) for e, n, c in zip(ends, rig.names, palette(rig.views))]


# ---- figures -----------------------------------------------------------------------------------------------------
def _region(*points, percent: float = 0.0, margin: float = 0.08) -> np.ndarray:
    """Ranges (3, 2) of the finite points but `percent` at either end, plus a margin; no axis under 40 % of the longest."""
    cloud = np.concatenate([_array(p).reshape(-1, 3) for p in points] or [np.zeros((0, 3))])
    cloud = cloud[np.isfinite(cloud).all(1)]
    low, high = np.percentile(cloud, [percent, 100 - percent], 0) if len(cloud) else (-np.ones(3), np.ones(3))
    half = (high - low) / 2 * (1 + 2 * margin)
    half = np.maximum(half, 0.4 * half.max() or 1.0)
    return np.stack([(low + high) / 2 - half, (low + high) / 2 + half], 1)


def _camera(ranges: np.ndarray) -> dict:
    """A first look from above and aside, as far as the box needs. Plotly scales the box's sides to a geometric mean of 1."""
    extent = ranges[:, 1] - ranges[:, 0]
    far = 1.02 * np.linalg.norm(extent / extent.prod() ** (1 / 3))
    x, y, z = far * np.array([0.56, -0.70, 0.45])
    return dict(eye=dict(x=x, y=y, z=z), center=dict(x=0, y=0, z=-0.1), up=dict(x=0, y=0, z=1))


def _where(traces) -> list[np.ndarray]:
    return [np.stack([np.array(list(t[axis]), np.float64) for axis in "xyz"], 1) for t in traces if getattr(t, "x", None) is not None]


def _keys(traces) -> list[go.Scatter3d]:
    """Legend entries of many-coloured skeletons, whose lines the legend itself would draw in black: points nowhere, same group."""
    many = [t for t in traces if t.type == "scatter3d" and t.line.colorscale is not None and t.showlegend is not False]
    for trace in many:
        trace.update(legendgroup=trace.name, showlegend=False)
    nowhere = dict(x=[None], y=[None], z=[None], mode="lines+markers", line=dict(color=SAFE[2], width=6), marker=dict(color=SAFE[0], size=9))
    return [go.Scatter3d(**nowhere, name=t.name, legendgroup=t.name, legendrank=1, visible=t.visible) for t in many]


def scene(*traces, unit: str = "mm", title: str = "", height: int | None = 560, ranges=None) -> go.Figure:
    """One figure of all the traces (lists of traces are welcome): equal axes, z up, fixed ranges, legend above the box."""
    flat = [t for trace in traces for t in (trace if isinstance(trace, (list, tuple)) else [trace])]
    ranges = _region(*_where(flat)) if ranges is None else np.asarray(ranges)
    style = dict(color="#808080", gridcolor=FAINT, zerolinecolor=FAINT, showbackground=False, showspikes=False, nticks=6)
    axes = {f"{a}axis": style | dict(title=f"{a} ({unit})", range=r.tolist()) for a, r in zip("xyz", ranges)}
    return go.Figure([*flat, *_keys(flat)], dict(
        scene=dict(aspectmode="data", camera=_camera(ranges), dragmode="turntable", **axes), height=height, showlegend=True,
        title=dict(text=title, x=0.01, y=0.985, yanchor="top"), margin=dict(l=0, r=0, t=70, b=0), font=dict(color="#808080"), paper_bgcolor=CLEAR,
        legend=dict(orientation="h", x=0.01, y=1.0, yanchor="bottom", itemsizing="constant", bgcolor=CLEAR), uirevision="kept",
        modebar=dict(bgcolor=CLEAR, color=GREY, activecolor=SAFE[1])))


def movie(track: Track, rig: CameraRig | None = None, truth=None, truth_skeleton: Skeleton | None = None, centre=None,
          side: float | None = None, every: int = 1, title: str = "", height: int | None = 640) -> go.Figure:
    """The track as a film that plays anywhere, without a kernel: keypoints and learned edges, `truth` (T, J, 3) in grey.

    The axes stand still and hold the places where the animal goes; `cameras` steps back to the whole rig. `centre` (3) and
    `side` outline the volume of discovery. Frames hold only what moves, rounded to about 1 / 10 000 of the region.
    """
    found, K = track.world[::every], track.world.shape[1]
    cloud = [found] if truth is None else [found, torch.as_tensor(truth)[::every]]
    near = _region(*cloud, percent=0.5)
    decimals = max(0, math.floor(4 - math.log10((near[:, 1] - near[:, 0]).max())))
    moving = [(found, walk(track.skeleton.edges, K), track.weight[::every])]
    first = [bones(found[0], track.skeleton.edges, track.weight[0], None, track.skeleton.names, "discovered", decimals=decimals)]
    if truth is not None:
        joints, known = cloud[1], truth_skeleton or Skeleton((), ())
        moving.append((joints, walk(known.edges, joints.shape[1]), None))
        first.append(bones(joints[0], known.edges, None, GREY, known.names, "truth", 4.0, 4.0, decimals))
    still = [trail(found.mean(1), "path of the mean", width=2, visible="legendonly")]
    still += rig_traces(rig) if rig is not None else []
    still += [cube(centre, side)] if side is not None else []
    figure = scene(first, still, unit=track.unit, title=title, height=height, ranges=near)
    figure.frames = [go.Frame(name=str(t), traces=list(range(len(moving))), data=[
        go.Scatter3d(**_drawn(p[t], pen, None if w is None else w[t], decimals=decimals)) for p, pen, w in moving]) for t in range(len(found))]
    far = near if rig is None else _region(*_where(still[1:3]), near.T)
    labels = [f"{t * every / track.fps:.2f} s" for t in range(len(found))]
    return figure.update_layout(margin_b=10, **_controls(labels, 1000 * every / track.fps, near, far))


def _controls(labels: Sequence[str], pause: float, near: np.ndarray, far: np.ndarray) -> dict:
    """Play and pause, a slider over the frames, and two buttons that look at the animal or at the whole rig."""
    def go_to(frame, wait: float) -> list:
        return [frame, dict(mode="immediate", fromcurrent=True, transition=dict(duration=0), frame=dict(duration=wait, redraw=True))]

    def look(ranges: np.ndarray) -> list:
        return [{f"scene.{a}axis.range": r.round(3).tolist() for a, r in zip("xyz", ranges)} | {"scene.camera": _camera(ranges)}]

    quiet = dict(type="buttons", direction="right", showactive=False, bgcolor=CLEAR, bordercolor=GREY, pad=dict(t=0, r=8))
    play = [dict(label="▶ play", method="animate", args=go_to(None, pause)), dict(label="❚❚ pause", method="animate", args=go_to([None], 0))]
    views = [dict(label="animal", method="relayout", args=look(near)), dict(label="cameras", method="relayout", args=look(far))]
    steps = [dict(label=label, method="animate", args=go_to([str(t)], 0)) for t, label in enumerate(labels)]
    slider = dict(steps=steps, active=0, x=0.02, len=0.96, y=0, pad=dict(t=42, b=8), ticklen=0, minorticklen=0,
                  font=dict(color=CLEAR), bgcolor="#b0b0b0", bordercolor="#b0b0b0",
                  currentvalue=dict(prefix="time ", xanchor="right", font=dict(color="#808080")))
    return dict(sliders=[slider], updatemenus=[quiet | dict(buttons=play, x=0.02, y=0, xanchor="left", yanchor="top"),
                                               quiet | dict(buttons=views, x=0.99, y=0, xanchor="right", yanchor="top")])


def save_html(figure: go.Figure, path: str | Path) -> Path:
    """Write one self-contained page (Plotly's script included, no network) that fills the window, light or dark as the system is."""
    config = dict(responsive=True, displaylogo=False, plotlyServerURL="", scrollZoom=True)
    free = go.Figure(figure).update_layout(height=None)
    body = free.to_html(config, full_html=False, include_plotlyjs=True, default_height="100vh", auto_play=False)
    page = PAGE.format(title=escape(figure.layout.title.text or "3D skeleton"), figure=body)
    return write_atomically(path, lambda temporary: temporary.write_text(page, encoding="utf-8"))
