"""The editor: keypoints named, recoloured, muted and merged by hand, and kept in a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import ipywidgets as ipw

from ...clips.clip import MultiViewClip
from ...clips.tracks import Track
from .. import interactive
from ..colours import skeleton_colours
from ..films import keypoint_crops
from ..overlays import jpeg
from ..skeleton_edits import Editing, load_editing
from .shell import WIDE, Screen, in_rows, integer, one_of


def skeleton_editor(
    track: Track, path: str | Path = "editing.toml", clip: MultiViewClip | None = None
) -> ipw.VBox:
    """Name, recolour, mute and merge keypoints.

    Begins with what `path` holds, if it is there. Exports use it by
    `load_editing(path).applied(track)`.

    Args:
        track: as it came.
        path: where the button `save` writes the `Editing`.
        clip: whose frames the track's rows are: pictures tell who the chosen keypoint is.

    Returns:
        A box; `.editing` is the one shown, `.screen` its `Screen`.
    """
    return _Editor(track, Path(path), clip).box


class _Editor:
    """The widgets of the editor and what they do."""

    def __init__(self, track: Track, path: Path, clip: MultiViewClip | None = None):
        self.track, self.clip, self.who = track, clip, ipw.Image(format="jpeg")
        self.path, self.names = path, track.skeleton.names
        self.usual = dict(zip(self.names, skeleton_colours(track.skeleton)))
        self.draw, self.busy = interactive.edited(track), False
        self.point = one_of("keypoint", self.names)
        self.name = ipw.Text(description="name", continuous_update=False, **WIDE)
        self.colour = ipw.ColorPicker(description="colour", **WIDE)
        self.mute = ipw.Checkbox(description="mute (leave out)", **WIDE)
        self.into = one_of("merge into", ["-", *self.names])
        self.frame = integer("frame", 0, 0, len(track.world) - 1)
        self.button, self.note = ipw.Button(description="save", icon="save"), ipw.HTML()
        editing = load_editing(path) if path.is_file() else Editing()
        self.screen = Screen(self.draw(editing))
        choices = [self.name, self.colour, self.mute, self.into, self.frame]
        row = in_rows([self.point, *choices, self.button])
        pictures = [] if clip is None else [self.who]
        self.box = ipw.VBox([row, self.note, *pictures, self.screen.widget])
        self.box.editing, self.box.screen = editing, self.screen
        self.point.observe(self.load, "value")
        for widget in choices:
            widget.observe(self.change, "value")
        self.button.on_click(self.save)
        self.load()

    def load(self, _change: object = None) -> None:
        """Show a keypoint's own state, which is no edit of it."""
        self.busy = True
        k, editing = self.point.value, self.box.editing
        self.name.value, self.mute.value = editing.names.get(k, k), k in editing.mute
        self.colour.value = editing.colours.get(k, self.usual[k])
        self.into.value = next((group[0] for group in editing.merge if k in group[1:]), "-")
        if self.clip is not None:
            self.who.value = jpeg(keypoint_crops(self.clip, self.track, self.names.index(k)))
        self.busy = False

    def edited(self) -> Editing:
        """The editing with what the widgets say of a keypoint."""
        k, colour = self.point.value, self.colour.value
        chosen = colour if colour != self.usual[k] else None
        name, mute, into = self.name.value, self.mute.value, self.into.value
        return _with(self.box.editing, k, name=name, colour=chosen, mute=mute, into=into)

    def change(self, _change: object = None) -> None:
        """Take over what the widgets say of a keypoint; a bad choice is told, and not taken."""
        if self.busy:
            return
        try:
            made = self.edited()
            self.screen.show(self.draw(made, self.frame.value))
            self.box.editing, self.note.value = made, ""
        except ValueError as error:
            self.note.value = f"<b>{error}</b>"

    def save(self, _button: object = None) -> None:
        """Write the file."""
        self.note.value = f"saved {self.box.editing.save(self.path)}"


def _with(
    editing: Editing, k: str, *, name: str, colour: str | None, mute: bool, into: str
) -> Editing:
    """The editing with one keypoint's choices replaced."""
    names = {n: v for n, v in editing.names.items() if n != k}
    colours = {n: v for n, v in editing.colours.items() if n != k}
    return replace(
        editing,
        names=names | ({k: name.strip()} if name.strip() not in ("", k) else {}),
        colours=colours | ({k: colour} if colour else {}),
        mute=tuple(n for n in editing.mute if n != k) + ((k,) if mute else ()),
        merge=_regrouped(editing.merge, k, into),
    )


def _regrouped(
    merge: tuple[tuple[str, ...], ...], k: str, into: str
) -> tuple[tuple[str, ...], ...]:
    """The groups with one keypoint taken out of another's, and put `into` one ("-": none)."""
    groups = [tuple(n for n in group if n != k or group[0] == k) for group in merge]
    if into not in ("-", k):
        groups = [(*group, k) if group[0] == into else group for group in groups]
        groups += [] if any(group[0] == into for group in groups) else [(into, k)]
    return tuple(g for g in groups if len(g) > 1)
