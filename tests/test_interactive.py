"""Explore: the plain functions under the sliders draw what they say, with no widget about."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from bkind3d_lite.clips import Skeleton, Track
from bkind3d_lite.model import build
from bkind3d_lite.model.edges import edge_maps
from bkind3d_lite.viz import interactive
from bkind3d_lite.viz.interactive import edge_drawing
from bkind3d_lite.viz.skeleton_edits import Editing
from bkind3d_lite.volumes import Grid


def number(figure, after: str) -> float:
    return float(re.search(after + r" \(?(-?[\d.]+)", figure.layout.title.text)[1])


def test_no_gap_no_change(clip):
    draw = interactive.gaps(replace(clip, frames=clip.frames[:1].expand(9, -1, -1, -1, -1)))
    assert number(draw(0, 5), "mean") == 0
    moving = interactive.gaps(clip)
    assert number(moving(0, 12), "mean") > number(moving(0, 1), "mean") > 0
    assert "frame 39 " in moving(38, 20).layout.title.text  # stays inside the clip


def test_a_volume_beyond_the_views_is_said_to_be(clip):
    draw = interactive.placing(clip.rig, clip.frames[0])
    assert draw(0, 0, 50, 10).layout.title.text.startswith("4 of 4")
    far = draw(0, 0, 50, 4000)
    assert far.layout.title.text.startswith("0 of 4") and "cut off: cam0" in far.layout.title.text
    assert far.layout.scene.xaxis.range[1] > 2000


@pytest.mark.parametrize("how", ["mean", "product", "softmax", "max", "sum"])
def test_all_views_together_vote_for_the_point(clip, how):
    point = clip.truth[5, 0]
    maps = interactive.spots(clip.rig, point[None], (40, 60), 0.06)[:, 0]
    grid = Grid(point + torch.tensor([20.0, -30, 10]), 300.0, 24)
    draw = interactive.votes(clip.rig, maps, grid, point)
    if how not in ("max", "sum"):
        assert float(re.search(r", (\d+) mm from", draw(how=how).layout.title.text)[1]) <= 25
    assert draw(["cam1"], how).layout.title.text.startswith("1 of 4")
    assert sum(t.type == "surface" for t in draw(planes=True, how=how).data) == 3
    assert "nothing votes" in draw([]).layout.title.text


def test_spots_peak_where_points_project(clip):
    maps = interactive.spots(clip.rig, clip.truth[5, :2], (64, 96))
    px = clip.rig.px_from_world(clip.truth[5, :2])
    at = maps.flatten(2).argmax(-1)
    torch.testing.assert_close(torch.stack([at % 96, at // 96], -1) + 0.5, px, atol=0.75, rtol=0)


def test_heat_is_dark_at_zero_and_bright_at_most():
    tones = interactive.heat(torch.tensor([[[0.0, 0.5, 1.0, 9.0]]]), 1.0).astype(int).sum(-1)[0, 0]
    assert tones[0] < tones[1] < tones[2] == tones[3]


def test_the_drawing_is_the_library_drawing(clip, monkeypatch):
    ndc, pairs = clip.rig.ndc_from_world(clip.truth[3]), torch.tensor([[0, 1], [1, 2], [2, 3]])
    weights, seen = torch.tensor([0.2, 1.0, 0.5]), []
    monkeypatch.setattr(
        edge_drawing,
        "heat",
        lambda maps, *_: seen.append(maps) or np.zeros((*maps.shape, 3), np.uint8),
    )
    draw = interactive.drawing(ndc, pairs, weights, hw=(24, 36))
    draw(sigma=0.1, keep=2)
    torch.testing.assert_close(
        seen[-1],
        (weights[1:, None, None] * edge_maps(ndc, pairs[1:], (24, 36), 0.1)).amax(1),
        atol=1e-5,
        rtol=1e-4,
    )
    assert "edge 1 - 2 at 0.00" in draw(edge=0, weight=0.0).layout.title.text
    draw(keep=0)
    assert not seen[-1].any()


def test_pulls_add_up_and_leave_the_model_alone(clip, seen, tiny):
    recipe = tiny
    model, objective = build(recipe)
    batch = clip.batch([4], 5, recipe.data.image_wh, seen)
    before = objective.length.average.clone()
    chain = Skeleton(tuple("abcde"), ((0, 1), (1, 2), (2, 3), (3, 4)))
    draw = interactive.pulls(model, objective, batch, chain, reach=50.0)
    assert torch.equal(objective.length.average, before) and all(
        p.grad is None for p in model.parameters()
    )
    assert set(draw.terms) == {"reconstruct", "cover", "separate", "length"}

    def steps(terms):
        trace = next(t for t in draw(terms).data if t.name == "pull" and t.type == "scatter3d")
        ends = np.array([[v for v in trace[a] if v is not None] for a in "xyz"], float).T.reshape(
            -1, 2, 3
        )
        return ends[:, 1] - ends[:, 0]

    whole = steps(None)
    assert np.linalg.norm(whole, axis=1).max() == pytest.approx(50, abs=0.1)
    np.testing.assert_allclose(sum(steps([term]) for term in draw.terms), whole, atol=0.01)
    assert not steps([]).any()


def test_more_keypoints_predict_better(clip):
    known, found = (
        Track(x, torch.linspace(1, 0.2, 8).expand(len(x), 8), clip.skeleton, 30.0)
        for x in (clip.truth[:30], clip.truth[30:])
    )
    draw = interactive.keeping(known, clip.truth[:30], found, clip.truth[30:], clip.skeleton)
    assert len(draw.errors) == 8 and draw.errors[-1] < 3 < draw.errors[0]
    assert draw(3, 2).layout.title.text.startswith("3 keypoints") and draw(3).data[-1].x == (3,)


def test_the_edited_skeleton_is_shown_by_its_names(clip):
    draw = interactive.edited(Track(clip.truth, torch.ones(len(clip), 8), clip.skeleton, 30.0))
    shown = draw(Editing({"nose": "snout"}, mute=("tail",)), 3)
    texts = next(t.text for t in shown.data if t.mode == "text")
    assert "snout" in texts and "tail" not in texts and len(texts) == 7
