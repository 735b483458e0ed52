"""Pseudo labels: what 2D poses make of a clip, and that the file says how."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from bkind3d_lite.__main__ import main
from bkind3d_lite.clips.clip import open_clip
from bkind3d_lite.clips.pseudo_labels import load_labels, pseudo_labels
from bkind3d_lite.evaluation import mpjpe
from bkind3d_lite.files import bundled
from bkind3d_lite.poses2d import read_people

HUMAN = bundled("data_samples") / "human" / "test"


@pytest.fixture(scope="module")
def human():
    return open_clip(HUMAN)


@pytest.fixture(scope="module")
def poses():
    people = read_people(HUMAN / "poses2d.npz")
    return people.chosen(torch.zeros(people.px.shape[:2], dtype=torch.long))


def error(labels, clip):
    joints = [clip.skeleton.names.index(name) for name in labels.names]
    return float(mpjpe(labels.world, clip.truth[labels.frames][:, joints]).nanmean())


def test_robust_labels_are_better_than_the_median_and_that_than_plain_ones(human, poses):
    found = {
        how: error(pseudo_labels(human, poses, how), human) for how in ("robust", "plain", "median")
    }
    assert found["robust"] < 45 < found["median"] < found["plain"], found


def test_true_marks_give_the_truth_and_the_truth_is_itself(human):
    marks = pseudo_labels(human, None, "marks", times=slice(0, 40))
    truth = pseudo_labels(human, None, "truth", times=slice(0, 40))
    assert len(marks.frames) == len(truth.frames) == 40
    assert error(truth, human) == 0 < error(marks, human) < 8
    assert truth.names == human.skeleton.names


def test_found_cameras_travel_with_their_labels(human, poses, tmp_path):
    pytest.importorskip("poselib")
    labels = pseudo_labels(human, poses, cameras="found")
    again = load_labels(labels.save(tmp_path / "labels.npz"))
    assert again.names == labels.names and again.source == labels.source
    assert again.source["cameras"] == "found" and again.rig.unit == "free"
    small = again.of(human.resized((128, 128)))
    seen = small.truth[again.frames].isfinite().all(-1).all(-1)
    px = small.rig.px_from_world(small.truth[again.frames][seen]).transpose(1, 2)
    marks = poses.px[seen].transpose(1, 2) / 2
    assert (px - marks).norm(dim=-1).nanmedian() < 1
    assert small.truth[1].isnan().all()


def test_labels_of_another_recording_are_refused(human, poses, tmp_path):
    labels = pseudo_labels(human, None, "truth")
    with pytest.raises(ValueError, match="reach to frame 999"):
        labels.of(human.at(range(100)))
    np.savez(tmp_path / "a.npz", x=1)
    with pytest.raises(ValueError, match="a.npz: no labels in it"):
        load_labels(tmp_path / "a.npz")
    with pytest.raises(ValueError, match="made of 2D poses"):
        pseudo_labels(human)
    with pytest.raises(ValueError, match="how = 'nice'"):
        pseudo_labels(human, poses, "nice")


def test_nothing_to_label_is_refused(human, poses, tmp_path):
    with pytest.raises(ValueError, match="times 900:950: none of the 125 rows of the poses"):
        pseudo_labels(human, poses, times=slice(900, 950))
    with pytest.raises(ValueError, match="none of the 1000 rows of the clip"):
        pseudo_labels(human, None, "truth", times=slice(1000, None))
    with pytest.raises(ValueError, match="not one joint of 5 frames"):
        pseudo_labels(human, poses, times=slice(0, 5), least=2.0)
    path = pseudo_labels(human, None, "truth").save(tmp_path / "labels.npz")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="labels.npz: no labels in it"):
        load_labels(path)


def test_readings_that_the_detector_doubts_make_no_labels(human, poses):
    doubted = replace(poses.at(range(5)), px=poses.px[:5].clone(), weight=poses.weight[:5].clone())
    doubted.px[0, 1, 3], doubted.weight[0, 1, 3] = torch.tensor([3.0, 200]), 0.05
    left_out = replace(doubted, px=doubted.px.clone())
    left_out.px[0, 1, 3] = torch.nan
    for how in ("robust", "median"):
        world = [pseudo_labels(human, x, how).world[0, 3] for x in (doubted, left_out)]
        assert_close(*world)


def test_the_verb_writes_labels_and_says_what_is_wrong(tmp_path, capsys):
    out = tmp_path / "labels.npz"
    given = ["pseudo", str(HUMAN), "--poses", str(HUMAN / "poses2d.npz"), "--out", str(out)]
    assert main([*given, "--times", "0:50"]) == 0
    assert "all joints" in capsys.readouterr().out
    labels = load_labels(out)
    assert_close(labels.frames, torch.arange(0, 400, 8))
    assert main([*given, "--times", "now"]) == 1
    assert "expected FROM:TO" in capsys.readouterr().err


def test_keypoints_that_nobody_labelled_are_poses_too(tmp_path):
    """The shipped network's keypoints, projected: labels of them are what it tracks in one volume,
    and nearly what it tracks in several, though so few frames tell no heading."""
    from bkind3d_lite.training.checkpoints import load
    from bkind3d_lite.training.image_tracking import discovered_poses
    from bkind3d_lite.training.tracking import track

    model, recipe, _ = load(bundled("data_samples") / "checkpoints" / "rat.safetensors")
    rat = open_clip(bundled("data_samples") / "rat" / "test", wh=(128, 128)).at(range(0, 40, 4))
    found = discovered_poses(model, recipe, rat)
    assert found.px.shape == (10, 6, recipe.keypoints, 2) and found.cameras == rat.rig.names
    labels = pseudo_labels(rat, found)
    once = recipe.with_(turns=1, realign=False)  # as an image's keypoints are found
    assert_close(labels.world, track(model, once, rat).world, atol=1.0, rtol=0)
    away = (labels.world - track(model, recipe, rat).world).norm(dim=-1)
    assert recipe.volume.turns > 1 and away.median() < 10
