"""Editing: what a person decides about keypoints reaches exports, and comes back from its file."""

import csv

import numpy as np
import pytest
import torch

from bkind3d_lite.clips import Skeleton, Track
from bkind3d_lite.viz import drawn_frames, movie, palette
from bkind3d_lite.viz.skeleton_edits import Editing, editing_path, load_editing

CHOICE = Editing({"k0": "snout", "k3": "tail"}, {"k0": "#FF0000"}, (("k1", "k2"),), ("k4",))


@pytest.fixture
def track():
    random = torch.Generator().manual_seed(0)
    edges = ((0, 1), (1, 2), (2, 3), (3, 4))
    return Track(
        100 * torch.randn(7, 5, 3, generator=random),
        torch.rand(7, 5, generator=random),
        Skeleton(tuple(f"k{k}" for k in range(5)), edges),
        30.0,
    )


@pytest.mark.parametrize("kind", ["toml", "json"])
def test_it_comes_back_from_its_file(kind, tmp_path):
    assert load_editing(CHOICE.save(tmp_path / f"editing.{kind}")) == CHOICE
    assert load_editing(Editing().save(tmp_path / f"none.{kind}")) == Editing()


def test_each_training_has_choices_of_its_own(tmp_path):
    """The same weights, the same file; a training step, another."""
    model = torch.nn.Linear(3, 2)
    before = editing_path(tmp_path, model)
    assert before == editing_path(tmp_path, model) and before.parent == tmp_path
    with torch.no_grad():
        model.weight[0, 0] += 1e-3
    assert editing_path(tmp_path, model) != before


def test_no_choice_changes_nothing(track):
    same = Editing().applied(track)
    assert (
        same.skeleton == track.skeleton
        and torch.equal(same.world, track.world)
        and torch.allclose(same.confidence, track.confidence)
    )


def test_merged_is_the_mean_by_confidence_and_edges_follow(track):
    made = CHOICE.applied(track)
    assert made.skeleton.names == ("snout", "k1", "tail") and CHOICE.gone == {"k2", "k4"}
    assert made.skeleton.edges == ((0, 1), (1, 2))  # 1-2 fell into itself, 3-4 went with k4
    assert made.skeleton.colours[0] == "#ff0000" and made.skeleton.colours[1:] == tuple(
        palette(5)[k] for k in (1, 3)
    )
    w = track.confidence[:, 1:3]
    by_hand = (w[:, :1] * track.world[:, 1] + w[:, 1:] * track.world[:, 2]) / w.sum(1, keepdim=True)
    torch.testing.assert_close(made.world[:, 1], by_hand)
    assert (made.confidence[:, 1] <= w.amax(1) + 1e-6).all() and (
        made.confidence[:, 1] >= w.amin(1) - 1e-6
    ).all()


def test_an_unknown_point_gives_way_to_a_known_one(track):
    track.world[2, 1], track.world[3, 1:3] = torch.nan, torch.nan
    made = Editing(merge=(("k1", "k2"),)).applied(track)
    torch.testing.assert_close(made.world[2, 1], track.world[2, 2])
    assert made.world[3, 1].isnan().all()


def test_exports_and_pictures_use_it(track, clip, tmp_path):
    made = CHOICE.applied(track)
    with open(made.save(tmp_path / "k.csv"), newline="") as file:
        assert [h for h in next(csv.reader(file)) if h.endswith("_x")] == [
            "snout_x",
            "k1_x",
            "tail_x",
        ]
    assert list(np.load(made.save(tmp_path / "k.npz"))["names"]) == ["snout", "k1", "tail"]
    film = movie(made)
    assert "snout" in film.data[0].text and film.data[0].line.colorscale[0][1] == "#ff0000"
    few = Track(
        clip.truth[:2] * 0 + torch.tensor([0.0, 0, 50]), torch.ones(2, 8), clip.skeleton, clip.fps
    )
    red = Editing({}, dict.fromkeys(clip.skeleton.names, "#ff0000")).applied(few)
    drawn = next(drawn_frames(clip, red, [0, 1])).astype(int)
    assert ((drawn[..., 0] > 240) & (drawn[..., 1:].max(-1) < 15)).sum() > 20


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (Editing(mute=("k9",)), "k9"),
        (Editing(merge=(("k1",),)), "two members"),
        (Editing(merge=(("k1", "k2"), ("k2", "k3"))), "two groups"),
        (Editing(colours={"k1": "red"}), "#rrggbb"),
        (Editing({"k1": "a", "k2": "a"}), "one name"),
        (Editing(mute=tuple(f"k{k}" for k in range(5))), "no keypoint"),
    ],
)
def test_a_bad_choice_is_named(track, bad, says):
    with pytest.raises(ValueError, match=says):
        bad.applied(track)


def test_a_file_that_is_none_is_named(tmp_path):
    (tmp_path / "e.json").write_text('{"color": {}}')
    with pytest.raises(ValueError, match="color"):
        load_editing(tmp_path / "e.json")
    with pytest.raises(ValueError, match="toml"):
        Editing().save(tmp_path / "e.yaml")
