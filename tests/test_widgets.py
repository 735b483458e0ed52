"""Widgets: thin shells - a moved slider shows what the plain function draws, live or drawn anew."""

import sys
from dataclasses import replace

import plotly.graph_objects as go
import pytest
import torch

from bkind3d_lite.clips import Track
from bkind3d_lite.viz import interactive, widgets
from bkind3d_lite.viz.skeleton_edits import Editing, load_editing
from bkind3d_lite.volumes import Grid


@pytest.fixture
def track(clip):
    return Track(clip.truth, torch.ones(len(clip), 8), clip.skeleton, 30.0)


def named(box, text: str):
    return next(w for w in box.children[0].children if getattr(w, "description", "") == text)


def test_a_slider_changes_the_live_figure_in_place(clip):
    pytest.importorskip("anywidget")
    box = widgets.gap_explorer(clip, 3)
    live, before = box.screen.figure, box.screen.figure.data[0].source
    named(box, "gap (frames)").value = 9
    assert box.screen.figure is live and live.data[0].source != before
    assert live.data[0].source == interactive.gaps(clip)(**box.values()).data[0].source


def test_traces_come_and_go(clip):
    pytest.importorskip("anywidget")
    point = clip.truth[5, 0]
    box = widgets.views_on_off(
        clip.rig,
        interactive.spots(clip.rig, point[None], (24, 36))[:, 0],
        Grid(point, 300.0, 12),
        point,
    )
    count = len(box.screen.figure.data)
    named(box, "views").value = ("cam0", "cam2")
    assert len(box.screen.figure.data) == count - 2
    named(box, "slices").value = True
    assert sum(t.type == "surface" for t in box.screen.figure.data) == 3


def test_without_a_live_figure_it_is_drawn_anew(clip, monkeypatch):
    shown = []
    monkeypatch.setitem(sys.modules, "google.colab", object())
    monkeypatch.setattr(widgets.shell, "display", shown.append)
    box = widgets.volume_placer(clip.rig)
    named(box, "side (mm)").value = named(box, "side (mm)").min
    assert len(shown) == 2 and all(type(f) is go.Figure for f in shown)


def test_the_editor_keeps_its_choices_in_a_file(track, tmp_path):
    box = widgets.skeleton_editor(track, tmp_path / "editing.toml")
    named(box, "keypoint").value = "tail"
    named(box, "mute (leave out)").value = True
    named(box, "keypoint").value = "neck"
    assert not named(box, "mute (leave out)").value  # another keypoint's state, and no edit
    named(box, "merge into").value = "nose"
    named(box, "keypoint").value = "nose"
    named(box, "name").value, named(box, "colour").value = "snout", "#123456"
    assert box.editing == Editing(
        {"nose": "snout"}, {"nose": "#123456"}, (("nose", "neck"),), ("tail",)
    )
    named(box, "save").click()
    assert load_editing(tmp_path / "editing.toml") == box.editing
    assert widgets.skeleton_editor(track, tmp_path / "editing.toml").editing == box.editing


def test_the_editor_shows_who_a_keypoint_is(track, clip, tmp_path):
    box = widgets.skeleton_editor(track, tmp_path / "editing.toml", clip)
    (who,) = (w for w in box.children if hasattr(w, "format"))
    first = who.value
    assert bytes(first[:2]) == b"\xff\xd8"  # a JPEG
    named(box, "keypoint").value = "tail"
    assert who.value != first


def test_a_chosen_recording_stays_chosen(tmp_path, monkeypatch):
    """After Run All and after a restart; a folder that is gone is not offered again."""
    monkeypatch.delenv("BKIND3D_CLIP", raising=False)
    kept, mine = tmp_path / "recording.txt", tmp_path / "mine"
    mine.mkdir()
    box = widgets.recording_chooser("example", kept)
    assert box.value == "example" and not kept.exists()
    box.value = str(mine)
    assert widgets.recording_chooser("example", kept).value == str(mine)
    mine.rmdir()
    assert widgets.recording_chooser("example", kept).value == "example"
    monkeypatch.setenv("BKIND3D_CLIP", "other")
    assert widgets.recording_chooser("example", kept).value == "other"


def test_a_bad_choice_is_said_and_not_kept(track, tmp_path):
    box = widgets.skeleton_editor(track, tmp_path / "editing.json")
    named(box, "keypoint").value = "tail"
    named(box, "name").value = "nose"
    assert "one name" in box.children[1].value and box.editing == Editing()


def test_the_heading_from_above(track):
    pytest.importorskip("anywidget")
    angle = torch.linspace(0, 3, len(track.world))
    turning = replace(track, heading=angle, heading_confidence=torch.full_like(angle, 0.5))
    box = widgets.heading_explorer(turning)
    named(box, "frame").value = 20
    figure = box.screen.figure
    assert "heading 88°, 50% sure" in figure.layout.title.text
    assert figure.layout.yaxis.scaleanchor == "x"  # to scale
    arrow, dots = (next(t for t in figure.data if t.name == n) for n in ("heading", "keypoints"))
    assert arrow.opacity < 0.3
    start, tip = ((arrow.x[0] + arrow.x[6]) / 2, arrow.y[0]), (arrow.x[3], arrow.y[3])
    assert tip[1] > start[1] and abs(tip[0] - start[0]) < 0.1 * (tip[1] - start[1])
    assert dots.x == pytest.approx(track.world[20, :, 0].tolist(), abs=0.01)
    assert "heading" not in {t.name for t in interactive.from_above(track)(0).data}


def test_the_other_shells_open(track, clip):
    pairs = torch.tensor([[0, 1], [1, 2], [2, 3]])
    box = widgets.edge_explorer(
        clip.rig.ndc_from_world(clip.truth[0]),
        pairs,
        torch.tensor([0.3, 1.0, 0.5]),
        clip.skeleton.names,
        (16, 24),
    )
    assert box.values()["keep"] == 3
    kept = widgets.keypoints_kept(track, clip.truth, track, clip.truth, clip.skeleton)
    named(kept, "keypoints kept").value = 2
    assert kept.values()["keypoints"] == 2 and kept.seconds > 0
