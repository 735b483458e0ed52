"""Widgets: sliders on the plain functions of `interactive`.

A widget here is a shell: it chooses arguments and shows the figure drawn. `controls(draw, ...)`
shows a Plotly figure that is updated in place, or, where Plotly's FigureWidget cannot be had (no
anywidget; Colab), redraws it below the sliders. Nothing here knows what is drawn, but for the
skeleton editor, which keeps an `Editing`.
"""

from .editor import skeleton_editor
from .questions import (
    edge_explorer,
    gap_explorer,
    heading_explorer,
    keypoints_kept,
    losses_on_off,
    recording_chooser,
    views_on_off,
    volume_placer,
)
from .shell import Screen, controls, integer, real, several

__all__ = [
    "Screen",
    "controls",
    "edge_explorer",
    "gap_explorer",
    "heading_explorer",
    "integer",
    "keypoints_kept",
    "losses_on_off",
    "real",
    "recording_chooser",
    "several",
    "skeleton_editor",
    "views_on_off",
    "volume_placer",
]
