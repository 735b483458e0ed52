"""Plots: small matplotlib helpers that take `ax` - images in a row, poses, loss curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from mpl_toolkits.mplot3d import Axes3D
from numpy.typing import ArrayLike
from torch import Tensor

from ..clips.tracks import Track
from .arrows import ARROW, arrows, moment, recent, solidity
from .colours import GREY, SAFE, palette, skeleton_colours
from .descriptions import described
from .overlays import Edges, overlay


def strip(
    images: Tensor,
    ndc: Tensor | None = None,
    edges: Edges = (),
    ax: Axes | None = None,
    **style: Any,
) -> Axes:
    """A row of views in one matplotlib axes.

    Args:
        images: (V, H, W, 3) uint8.
        ndc: (V, K, 2) projected keypoints.
        edges: pairs of keypoints that are joined.
        ax: axes to draw in (default: of a new figure).
        **style: as in `overlay`.

    Returns:
        The axes.
    """
    picture = overlay(images, ndc, edges, **dict(columns=len(images)) | style)
    if ax is None:
        wide_high = (12, 12 * picture.shape[0] / picture.shape[1])
        figure, ax = plt.subplots(figsize=wide_high, layout="constrained")
        drawn = (
            "" if ndc is None else f", {ndc.shape[-2]} keypoints and {len(edges)} edges drawn in"
        )
        described(figure, f"{len(images)} pictures side by side{drawn}.")
    ax.imshow(picture)
    ax.set_axis_off()
    return ax


def pose(
    ax: Axes | Axes3D,
    points: Tensor | ArrayLike,
    edges: Edges,
    colours: Sequence[str],
    width: float = 2,
    size: float = 22,
) -> None:
    """Keypoints and bones, each half of a bone in its end's colour; unknown points are left out.

    Args:
        ax: axes of D = 2 or 3 dimensions.
        points: (K, D).
        edges: pairs of points that are joined.
        colours: K of them.
        width: of the bones, in typographic points.
        size: of the keypoints, in points squared.
    """
    points = np.asarray(points.detach().cpu() if isinstance(points, Tensor) else points, np.float64)
    for i, j in edges:
        middle = (points[i] + points[j]) / 2
        for a, b, colour in ((points[i], middle, colours[i]), (middle, points[j], colours[j])):
            ax.plot(*zip(a, b), color=colour, linewidth=width, solid_capstyle="round")
    style: dict[str, Any] = dict(c=list(colours), s=size, linewidths=0)
    style |= dict(depthshade=False) if points.shape[1] == 3 else dict(zorder=3)
    ax.scatter(*points.T, **style)


def top_view(track: Track, time: int = 0, ax: Axes | None = None) -> Axes:
    """The animal from above, to scale: its path, the arrow of its heading, and the figure.

    Args:
        track: T frames; without a heading there is no arrow.
        time: row of the track.
        ax: axes to draw in (default: of a new figure).

    Returns:
        The axes.
    """
    ax = plt.subplots(figsize=(5.5, 5.5), layout="constrained")[1] if ax is None else ax
    for way, colour, width in ((track.origin, GREY, 0.7), (recent(track, time), SAFE[1], 2)):
        ax.plot(*way.T[:2].numpy(), color=colour, linewidth=width, zorder=1)
    corners = arrows(track)
    if corners is not None:
        solid = solidity(track, time)
        ax.fill(*corners[time].T[:2].numpy(), color=ARROW, alpha=solid, linewidth=0, zorder=1.5)
    colours = skeleton_colours(track.skeleton)
    pose(ax, track.world[time, :, :2], track.skeleton.edges, colours, width=1.5, size=12)
    ax.set(xlabel=f"x ({track.unit})", ylabel=f"y ({track.unit})", title=moment(track, time))
    ax.set_aspect("equal", "datalim")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def boxed(ax: Axes3D, middle: ArrayLike, half: float, unit: str) -> Axes3D:
    """Equal 3D axes, their unit in the labels, seen from above and aside.

    Args:
        ax: axes of three dimensions.
        middle: (3) of the cube that they hold.
        half: of its side, world units.
        unit: of the world.

    Returns:
        The axes.
    """
    for axis, c in zip("xyz", np.asarray(middle, np.float64)):
        ax.set(**{f"{axis}lim": (c - half, c + half)})
        ax.set(**{f"{axis}label": f"{axis} ({unit})"})
        getattr(ax, f"{axis}axis").set_major_locator(plt.MaxNLocator(4))
    ax.set_box_aspect((1, 1, 1), zoom=0.85)
    ax.view_init(25, -60)
    ax.tick_params(labelsize=7, pad=-1)
    return ax


def loss_curves(
    rows: Sequence[Mapping],
    ax: Axes | None = None,
    skip: Sequence[str] = ("step", "seconds", "rate"),
) -> Axes:
    """One curve a term, smoothed over 2 % of the rows, on a logarithmic axis.

    Terms that are still zero (a warm-up) begin where they begin.

    Args:
        rows: of losses.csv: `step` and a column per term; text is read as numbers.
        ax: axes to draw in (default: of a new figure).
        skip: columns that are no terms.

    Returns:
        The axes.
    """
    ax = plt.subplots(figsize=(7, 3.6), layout="constrained")[1] if ax is None else ax
    # of all rows: some terms begin after a warm-up
    terms = [key for key in dict.fromkeys(k for row in rows for k in row) if key not in skip]
    colours = (c for c in palette(len(terms) + 1) if c != SAFE[3])  # yellow is lost on white
    steps = np.array([float(row["step"]) for row in rows])
    for term, colour in zip(terms, colours):
        values = np.array([_number(row.get(term)) for row in rows])
        values[values <= 0] = np.nan
        ax.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
        smooth = _smooth(values, max(1, len(rows) // 50))
        ax.plot(steps, smooth, color=colour, linewidth=1.8, label=term)
    ax.set(xlabel="step", ylabel="loss (weighted)", yscale="log")
    ax.spines[["top", "right"]].set_visible(False)
    if terms:
        ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return ax


def _number(cell: str | float | None) -> float:
    """A cell of the table; NaN where it is empty or missing."""
    return np.nan if cell is None else float(cell or "nan")


def _smooth(values: np.ndarray, width: int) -> np.ndarray:
    """Centred mean over 2 `width` + 1 values; NaN is left out of it and stays."""
    finite = np.isfinite(values)
    kernel = np.ones(min(2 * width + 1, len(values)))
    total = np.convolve(np.where(finite, values, 0.0), kernel, "same")
    count = np.convolve(finite.astype(float), kernel, "same")
    return np.where(finite, total / np.maximum(count, 1), np.nan)
