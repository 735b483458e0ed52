"""Widgets: sliders on the plain functions of `explore`. A widget here is a shell: it chooses arguments and shows the figure drawn.

`controls(draw, ...)` shows a Plotly figure that is updated in place, or, where Plotly's FigureWidget cannot be had (no anywidget;
Colab), redraws it below the sliders. Nothing here knows what is drawn, but for the skeleton editor, which keeps an `Editing`.
"""

from __future__ import annotations

import sys
import time as clock
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import ipywidgets as ipw
import plotly.graph_objects as go
from IPython.display import clear_output, display
from torch import Tensor

from ..cameras import CameraRig
from ..clips.clip import Batch, MultiViewClip
from ..clips.tracks import Skeleton, Track
from ..model.discoverer import Discoverer
from ..model.objective import Objective
from ..volumes import Grid, overlap
from . import interactive
from .overlays import keypoint_colours
from .skeleton_edits import Editing, load_editing

WIDE = dict(layout=ipw.Layout(width="30em"), style=dict(description_width="8em"))


# ---- the shell ---------------------------------------------------------------------------------------------------
class Screen:
    """Where figures are shown: one FigureWidget updated in place, or an Output that is drawn anew. `widget` goes into a box."""

    def __init__(self, figure: go.Figure):
        self.figure = self._live(figure)
        self.widget = ipw.Output() if self.figure is None else self.figure
        if self.figure is None:
            self.show(figure)

    @staticmethod
    def _live(figure: go.Figure):
        if (
            "google.colab" in sys.modules
        ):  # needs a switch there that a notebook should not depend on
            return None
        try:
            return go.FigureWidget(figure)
        except ImportError:  # anywidget is missing
            return None

    def show(self, figure: go.Figure) -> None:
        """Put `figure` in place of what is shown. Traces that have not changed are not sent again; a turned view stays turned."""
        if self.figure is None:
            with self.widget:
                clear_output(wait=True)
                display(figure)
            return
        live = self.figure
        with live.batch_update():
            if [t.type for t in live.data] != [t.type for t in figure.data]:
                live.data = []
                live.add_traces(figure.data)
            else:
                for old, new in zip(live.data, figure.data):
                    if old != new:
                        old.update(new.to_plotly_json(), overwrite=True)
            live.layout.update(
                title=figure.layout.title,
                shapes=figure.layout.shapes,
                annotations=figure.layout.annotations,
            )


def controls(draw: Callable[..., go.Figure], **widgets: ipw.Widget) -> ipw.VBox:
    """Widgets named as the arguments of `draw`, above the figure that it draws; `.values()` tells what is chosen, `.seconds` the last answer's time."""

    def values() -> dict:
        return {name: widget.value for name, widget in widgets.items()}

    screen = Screen(draw(**values()))
    box = ipw.VBox(
        [ipw.HBox(list(widgets.values()), layout=ipw.Layout(flex_flow="row wrap")), screen.widget]
    )
    box.values, box.screen, box.seconds = values, screen, 0.0

    def answer(_change) -> None:
        start = clock.perf_counter()
        screen.show(draw(**values()))
        box.seconds = clock.perf_counter() - start

    for widget in widgets.values():
        widget.observe(answer, "value")
    return box


def integer(text: str, value: int, low: int, high: int) -> ipw.IntSlider:
    """A slider over whole numbers."""
    return ipw.IntSlider(value, low, max(low, high), 1, description=text, **WIDE)


def real(
    text: str, value: float, low: float, high: float, step: float | None = None
) -> ipw.FloatSlider:
    """A slider over real numbers."""
    return ipw.FloatSlider(
        value,
        min=low,
        max=high,
        step=step or (high - low) / 100,
        description=text,
        readout_format=".3g",
        **WIDE,
    )


def several(text: str, options: Sequence[str]) -> ipw.SelectMultiple:
    """A list of which any number may be on; all are, at first (ctrl-click turns one off)."""
    return ipw.SelectMultiple(
        options=list(options),
        value=list(options),
        rows=min(6, len(options)),
        description=text,
        **WIDE,
    )


# ---- seven questions ---------------------------------------------------------------------------------------------
def gap_explorer(clip: MultiViewClip, gap: int = 6, views: Sequence[int] | None = None) -> ipw.VBox:
    """What moved between two frames? (`interactive.gaps`)"""
    T = len(clip)
    return controls(
        interactive.gaps(clip, views),
        time=integer("frame", T // 3, 0, T - 2),
        gap=integer("gap (frames)", gap, 1, min(60, T - 1)),
    )


def volume_placer(rig: CameraRig, images: Tensor | None = None, voxels: int = 24) -> ipw.VBox:
    """Where should the volume stand? (`interactive.placing`) `.values()` gives x, y, z and side for a recipe's centre and side."""
    middle, side = overlap(rig)
    sliders = {
        a: real(
            f"{a} ({rig.unit})", round(c, 1), round(c - side, 1), round(c + side, 1), side / 100
        )
        for a, c in zip("xyz", middle.tolist())
    }
    return controls(
        interactive.placing(rig, images, voxels),
        **sliders,
        side=real(
            f"side ({rig.unit})",
            round(side, 1),
            round(0.1 * side, 1),
            round(2 * side, 1),
            side / 100,
        ),
    )


def views_on_off(rig: CameraRig, maps: Tensor, grid: Grid, point: Tensor | None = None) -> ipw.VBox:
    """How do flat pictures vote for a place, and what if some are missing? maps (V, h, w) (`interactive.votes`)"""
    return controls(
        interactive.votes(rig, maps, grid, point),
        views=several("views", rig.names),
        share=real("surface from", 0.5, 0.1, 0.95),
        how=ipw.Dropdown(
            options=["mean", "product", "softmax", "max", "sum"], description="fused by", **WIDE
        ),
        planes=ipw.Checkbox(False, description="slices", **WIDE),
    )


def edge_explorer(
    ndc: Tensor,
    pairs: Tensor,
    weights: Tensor,
    names: Sequence[str] = (),
    hw: tuple[int, int] = (64, 64),
) -> ipw.VBox:
    """How can a drawing be a bottleneck? Width of the lines, edges kept, and the weight of one of them (`interactive.drawing`)."""
    order, own = weights.detach().argsort(descending=True)[:12].tolist(), weights.detach()
    label = [
        " - ".join(names[k] if names else f"k{k}" for k in pairs[e].tolist()) + f"  ({own[e]:.2f})"
        for e in order
    ]
    one = ipw.Dropdown(
        options=[("none", None), *((text, rank) for rank, text in enumerate(label))],
        value=None,
        description="change edge",
        **WIDE,
    )
    return controls(
        interactive.drawing(ndc, pairs, weights, names, hw),
        sigma=real("width sigma", 0.06, 0.02, 0.3),
        keep=integer("edges kept", len(own), 0, len(own)),
        edge=one,
        weight=real("its weight", 0.0, 0.0, 2 * float(own.max())),
    )


def losses_on_off(
    model: Discoverer, objective: Objective, batch: Batch, skeleton: Skeleton
) -> ipw.VBox:
    """What does each loss ask of the keypoints? (`interactive.pulls`)"""
    draw = interactive.pulls(model, objective, batch, skeleton)
    return controls(draw, terms=several("terms", draw.terms))


def keypoints_kept(
    known: Track, known_truth: Tensor, found: Track, truth: Tensor, skeleton: Skeleton
) -> ipw.VBox:
    """Are unnamed points worth anything, and how many of them? (`interactive.keeping`)"""
    K, T = found.world.shape[1], len(found.world)
    return controls(
        interactive.keeping(known, known_truth, found, truth, skeleton),
        keypoints=integer("keypoints kept", K, 1, K),
        time=integer("frame", 0, 0, T - 1),
    )


# ---- the editor --------------------------------------------------------------------------------------------------
def skeleton_editor(track: Track, path: str | Path = "editing.toml") -> ipw.VBox:
    """Name, recolour, mute and merge keypoints; `save` writes an `Editing` to `path`, `.editing` is the one shown.

    Begins with what `path` holds, if it is there. Exports use it by `load_editing(path).applied(track)`.
    """
    editing = load_editing(path) if Path(path).is_file() else Editing()
    draw, names, usual = (
        interactive.edited(track),
        track.skeleton.names,
        keypoint_colours(track.skeleton.names, track.skeleton.colours),
    )
    point = ipw.Dropdown(options=names, description="keypoint", **WIDE)
    name, colour = (
        ipw.Text(description="name", continuous_update=False, **WIDE),
        ipw.ColorPicker(description="colour", **WIDE),
    )
    mute = ipw.Checkbox(description="mute (leave out)", **WIDE)
    into = ipw.Dropdown(options=["-", *names], description="merge into", **WIDE)
    frame, save, note = (
        integer("frame", 0, 0, len(track.world) - 1),
        ipw.Button(description="save", icon="save"),
        ipw.HTML(),
    )
    screen = Screen(draw(editing))
    box = ipw.VBox(
        [
            ipw.HBox(
                [point, name, colour, mute, into, frame, save],
                layout=ipw.Layout(flex_flow="row wrap"),
            ),
            note,
            screen.widget,
        ]
    )
    box.editing, box.screen, busy = editing, screen, []

    def load(_=None) -> None:
        busy.append(1)  # showing a keypoint's state is no edit of it
        k, e = point.value, box.editing
        name.value, mute.value = e.names.get(k, k), k in e.mute
        colour.value = e.colours.get(k, usual[names.index(k)])
        into.value = next((group[0] for group in e.merge if k in group[1:]), "-")
        busy.clear()

    def change(_=None) -> None:
        if busy:
            return
        try:
            made = _with(
                box.editing,
                point.value,
                name.value,
                colour.value if colour.value != usual[names.index(point.value)] else None,
                mute.value,
                into.value,
            )
            screen.show(draw(made, frame.value))
            box.editing, note.value = made, ""
        except ValueError as error:
            note.value = f"<b>{error}</b>"

    def keep(_=None) -> None:
        note.value = f"saved {box.editing.save(path)}"

    for widget, act in (
        (point, load),
        (name, change),
        (colour, change),
        (mute, change),
        (into, change),
        (frame, change),
    ):
        widget.observe(act, "value")
    save.on_click(keep)
    load()
    return box


def _with(
    editing: Editing, k: str, name: str, colour: str | None, mute: bool, into: str
) -> Editing:
    """The editing with one keypoint's choices replaced."""
    groups = [tuple(n for n in group if n != k or group[0] == k) for group in editing.merge]
    if into not in ("-", k):
        groups = [(*group, k) if group[0] == into else group for group in groups]
        groups += [] if any(group[0] == into for group in groups) else [(into, k)]
    others = (
        {n: v for n, v in editing.names.items() if n != k},
        {n: v for n, v in editing.colours.items() if n != k},
    )
    return replace(
        editing,
        names=others[0] | ({k: name.strip()} if name.strip() not in ("", k) else {}),
        colours=others[1] | ({k: colour} if colour else {}),
        mute=tuple(n for n in editing.mute if n != k) + ((k,) if mute else ()),
        merge=tuple(g for g in groups if len(g) > 1),
    )
