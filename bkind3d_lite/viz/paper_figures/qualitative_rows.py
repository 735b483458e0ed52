"""Qualitative rows: keypoints in views and in space, at a few moments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from mpl_toolkits.mplot3d import Axes3D
from torch import Tensor

from ...clips.clip import MultiViewClip
from ...clips.tracks import Track
from ..colours import GREY, skeleton_colours
from ..films import cutouts, track_extent
from ..overlays import Edges
from ..plots import pose
from .style import DOUBLE, PAPER_STYLE, bare


def qualitative(
    clip: MultiViewClip,
    track: Track,
    times: Sequence[int] | None = None,
    views: Sequence[int] | None = None,
    pixels: int = 300,
) -> Figure:
    """A row per time: views with the projected keypoints, then the skeleton in 3D.

    Keypoints are vector graphics on the pictures; the truth, if it is known, is grey.

    Args:
        clip: what is shown.
        track: a row for each frame of the clip.
        times: frames to show (default: three, evenly spread).
        views: cameras to show (default: the first four).
        pixels: width of each picture.

    Returns:
        The figure, two columns wide.
    """
    times = [len(clip) * n // 6 for n in (1, 3, 5)] if times is None else list(times)
    views = list(range(min(4, clip.rig.views))) if views is None else list(views)
    rows = _Rows(clip, track, views, pixels=pixels)
    with plt.rc_context(PAPER_STYLE):
        tall = DOUBLE / (len(views) + 1.35)
        figure = plt.figure(figsize=(DOUBLE, tall * len(times) + 0.25))
        high, grid = figure.get_figheight(), _grid(figure, len(times), len(views))
        for r, t in enumerate(times):
            axes = [figure.add_subplot(grid[r, c]) for c in range(len(views))]
            rows.draw_views(axes, t)
            axes[0].text(-0.04, 0.5, f"{t / clip.fps:.2f} s", **_beside(axes[0]))
            for ax, v in zip(axes, views):
                ax.set_title(clip.rig.names[v] if r == 0 else "", pad=3)
            note = rows.draw_space(figure.add_subplot(grid[r, -1], projection="3d"), t)
        grey = "truth in grey, " if clip.truth is not None else ""
        figure.text(0.875, 1 - 0.055 / high, f"3D, {grey}{note}", ha="center", va="top")
    return figure


def _grid(figure: Figure, rows: int, views: int) -> GridSpec:
    return figure.add_gridspec(
        rows,
        views + 1,
        width_ratios=[1] * views + [1.3],
        left=0.03,
        right=0.985,
        top=1 - 0.22 / figure.get_figheight(),
        bottom=0.025,
        wspace=0.03,
        hspace=0.04,
    )


def _beside(ax: Axes) -> dict:
    """Style of words that run upwards at the left of a picture."""
    return dict(transform=ax.transAxes, rotation=90, ha="right", va="center")


@dataclass(frozen=True)
class _Rows:
    """Draws one time into axes."""

    clip: MultiViewClip
    track: Track
    views: list[int]
    pixels: int

    @property
    def side(self) -> float:
        return track_extent(self.track)

    @property
    def bones(self) -> Edges:
        return self.clip.skeleton.edges if self.clip.skeleton else ()

    def truth(self, t: int) -> Tensor | None:
        return None if self.clip.truth is None else self.clip.truth[t]

    def draw_views(self, axes: Sequence[Axes], t: int) -> None:
        """Every view, cut about the keypoints, with them and the truth in it."""
        images, near = cutouts(
            self.clip, self.track, t, t, views=self.views, side=self.side, pixels=self.pixels
        )
        px, truth = near.px_from_world(self.track.world[t][None])[0], self.truth(t)
        joints = None if truth is None else near.px_from_world(truth[None])[0]
        skeleton = self.track.skeleton
        for c, ax in enumerate(axes):
            H, W, _ = images[c].shape
            ax.imshow(images[c].numpy(), extent=(0, W, H, 0))
            if joints is not None:
                pose(ax, joints[c], self.bones, ["#ffffff"] * len(joints[c]), 0.6, 0)
            pose(ax, px[c], skeleton.edges, skeleton_colours(skeleton), 0.9, 8)
            ax.set(xlim=(0, W), ylim=(H, 0))
            ax.set_axis_off()

    def draw_space(self, ax: Axes3D, t: int) -> str:
        """The skeleton in 3D; the grid in words."""
        points, truth, skeleton = self.track.world[t], self.truth(t), self.track.skeleton
        cloud = (points if truth is None else truth).numpy()
        middle = (np.nanmin(cloud, 0) + np.nanmax(cloud, 0)) / 2
        if truth is not None:
            pose(ax, truth, self.bones, [GREY] * len(truth), 0.8, 2)
        pose(ax, points, skeleton.edges, skeleton_colours(skeleton), 1.1, 8)
        return bare(ax, middle, self.side / 2, self.track.unit)
