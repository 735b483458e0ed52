"""The verb classify: labelled tracks and CalMS21 files to a table, a page and data."""

import json

import numpy as np
import pytest
import torch

from bkind3d_lite.clips import Skeleton, Track
from bkind3d_lite.tasks import Acts
from bkind3d_lite.workflows.classify_rows import table_of
from bkind3d_lite.workflows.classify_run import classify, labelled_parts

NAMES = ("lift", "nod", "other")


def recording(folder, seed, fps=30.0, names=NAMES):
    """Three points that walk about; in bouts one of them rises, or another swings."""
    random, T = np.random.default_rng(seed), 320
    truth = np.repeat(random.permutation([0, 1, 2, 2] * 2), 40)
    t = np.arange(T)
    world = np.zeros((T, 3, 3), np.float32)
    world[:, 1, 0] = world[:, 2, 1] = 100
    world[:, 1, 2] += 60 * (truth == 0)
    world[:, 2, 0] += 60 * np.sin(1.2 * t) * (truth == 1)
    world[..., :2] += random.normal(size=(T, 1, 2)).cumsum(0) * 5
    world += random.normal(size=world.shape) * 4
    track = Track(torch.from_numpy(world), torch.ones(T, 3), Skeleton(("a", "b", "c"), ()), fps)
    folder.mkdir(parents=True)
    track.save(folder / "keypoints.npz")
    Acts(tuple(names), truth).save(folder / "acts.npz")
    return folder


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    home = tmp_path_factory.mktemp("acts")
    train = [recording(home / f"train{n}", n) for n in range(3)]
    return train, [recording(home / f"test{n}", 10 + n) for n in range(2)]


@pytest.fixture(scope="module")
def rows(parts, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    how = dict(frame="body", seconds=0.7, epochs=6, batch=32, seeds=(0, 1), stride=3)
    return classify(*parts, out, **how), out


def test_poses_tell_what_the_centroid_does_not(rows):
    by_name = {row.name: row.scores for row in rows[0]}
    known = ["keypoints", "shuffled labels", "centroid alone", "centroid removed"]
    assert list(by_name) == known
    best = np.mean([s.mean for s in by_name["keypoints"]])
    assert best > 0.9
    assert best > by_name["centroid alone"][0].interval[1]
    assert by_name["shuffled labels"][0].mean < best - 0.2
    assert by_name["centroid removed"][0].mean > 0.9
    assert len(by_name["keypoints"]) == 2


def test_table_page_and_data_say_the_same(rows):
    found, out = rows
    table = table_of(found)
    assert table.splitlines()[0].endswith("| voted | lift | nod | other |")
    mean = np.mean([s.mean for s in found[0].scores])
    assert f"{mean:.3f} ±" in table.splitlines()[2]
    page = (out / "behaviour.html").read_text()
    assert f"{mean:.3f} ±" in page and page.count("data:image") == 3
    for cell in table.splitlines()[2].strip("| ").split(" | "):
        assert f"<td>{cell}</td>" in page
    data = json.loads((out / "behaviour.json").read_text())
    assert data["keypoints"][0]["mean"] == found[0].scores[0].mean


def test_recordings_that_do_not_fit_are_named(parts, tmp_path):
    other = recording(tmp_path / "fast", 5, fps=60.0)
    with pytest.raises(ValueError, match="30, 60 frames a second"):
        classify(parts[0], [other], tmp_path)
    strange = recording(tmp_path / "strange", 5, names=("leap", "nod", "other"))
    with pytest.raises(ValueError, match="class 'leap' is not among lift, nod, other"):
        classify(parts[0], [strange], tmp_path)


def test_calms21_is_read_by_its_own_names(tmp_path):
    random = np.random.default_rng(0)
    whole = {}
    for n in range(3):
        labels = np.repeat([0, 1, 1, 0], 30)
        points = random.random((120, 2, 2, 7)) * 20 + 300 * labels[:, None, None, None]
        entry = dict(keypoints=points.tolist(), scores=np.ones((120, 2, 7)).tolist())
        entry |= dict(annotations=labels.tolist(), metadata={"vocab": {"other": 0, "attack": 1}})
        whole[f"task1/train/mouse{n:03d}_task1_annotator1"] = entry
    path = tmp_path / "calms21.json"
    path.write_text(json.dumps({"annotator-id_0": whole}))
    (part, *_) = labelled_parts([path])
    assert part.fps == 30 and part.acts.names == ("other", "attack")
    found = classify([path], [path], tmp_path, seconds=0.7, epochs=3, batch=32)
    assert [row.name for row in found] == ["keypoints", "shuffled labels"]
    assert found[0].scores[0].mean > 0.8


def test_the_whole_command_line_has_a_parser():
    """Options that several verbs share must not clash with a verb's own."""
    from bkind3d_lite.workflows.arguments import VERBS, command_parser

    parser = command_parser()
    given = parser.parse_args(["classify", "--train", "a", "--test", "b", "--seeds", "0", "1"])
    assert given.seeds == [0, 1] and given.verb == "classify" and given.verb in VERBS


# ---- zoo -----------------------------------------------------------------------------------------
def test_the_zoo_lists_what_ships_with_its_card_s_scores(tmp_path):
    from bkind3d_lite.workflows.zoo import card_scores, zoo

    entries = {entry.path.stem: entry for entry in zoo()}
    assert {"rat", "human"} <= entries.keys()
    assert entries["rat"].keypoints == 18 and len(entries["rat"].cameras) == 6
    assert float(entries["rat"].scores["PMPJPE mm"]) < 15
    assert "PMPJPE mm" in entries["rat"].line()
    alone = entries["rat-cam1"]
    assert (alone.lift, alone.keypoints, alone.cameras) == ("flat", 10, ("cam1",))
    assert float(alone.scores["error %"]) < 7 and "1 camera " in alone.line()
    card = "# x\n\n| | error % |\n|---|---|\n| this checkpoint | 5.0 |\n| untrained | 8.0 |\n"
    assert card_scores(card) == {"error %": "5.0"} and card_scores("nothing") == {}
    with pytest.raises(FileNotFoundError, match="no checkpoint here"):
        zoo(tmp_path)


def test_a_part_of_other_keypoints_is_named(parts, tmp_path):
    odd = recording(tmp_path / "odd", 3)
    track = Track(torch.zeros(320, 2, 3), torch.ones(320, 2), Skeleton(("a", "b"), ()), 30.0)
    track.save(odd / "keypoints.npz")
    with pytest.raises(ValueError, match=r"odd: features \(320, 6\); expected 9 numbers a frame"):
        classify(parts[0][:1], [odd], tmp_path / "out", seconds=0.7, epochs=1)
