"""The cohort page: measures without labels, failures with their remedy, films; nothing twice."""

import csv
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from bkind3d_lite.__main__ import main
from bkind3d_lite.cameras import save_calibration
from bkind3d_lite.clips.synthetic import figure
from bkind3d_lite.clips.tracks import Track
from bkind3d_lite.clips.videos import Video, write_video
from bkind3d_lite.workflows import cohort_run
from bkind3d_lite.workflows.cohort_page import write_cohort_page
from bkind3d_lite.workflows.cohort_run import CohortRow, cohort, drift_of, failures_of, looked_at
from bkind3d_lite.workflows.index_run import index_sessions


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Three sessions: a good track, one far off, none; and a broken recording."""
    root, clip = tmp_path_factory.mktemp("cohort"), figure(40, views=3)
    for name in ("good", "off", "todo", "broken"):
        home = root / "raw" / name
        for v, camera in enumerate(clip.rig.names):
            write_video(home / f"{camera}.mp4", clip.frames[:, v].numpy(), clip.fps, crf=10)
        save_calibration(clip.rig, home / "calibration.toml")
    (root / "raw" / "broken" / "calibration.toml").unlink()
    index_sessions(root / "raw", root / "sessions.csv", ask=False)
    sure = torch.ones(clip.truth.shape[:2])
    for name, shift in (("good", 0.0), ("off", 300.0)):
        track = Track(clip.truth + shift, sure, clip.skeleton, clip.fps)
        track.save(root / "tracks" / name / "keypoints.npz")
    return root


def test_every_session_is_a_row_with_its_remedy(lab, monkeypatch, capsys):
    words = ["cohort", lab / "sessions.csv", "--tracks", lab / "tracks", "--out", lab / "page"]
    assert main(list(map(str, words))) == 0
    assert "4 sessions, 3 with something to mend" in capsys.readouterr().out
    with open(lab / "page" / "cohort.csv", newline="") as file:
        broken, good, off, todo = csv.DictReader(file)
    assert float(good["on_animal"]) > 0.9 and good["failures"] == ""
    assert float(off["on_animal"]) < 0.3 and "points are off the animal (look at" in off["failures"]
    assert "calibration" in broken["failures"] and broken["hours"] == ""
    assert "not tracked yet (track it: bkind3d track --sessions" in todo["failures"]
    assert len(Video(lab / "page" / good["film"])) > 10
    page = (lab / "page" / "cohort.html").read_text(encoding="utf-8")
    assert 'src="films/good.mp4"' in page and "http" not in page.replace("https://", "")
    monkeypatch.setattr(cohort_run, "measured", lambda *_: pytest.fail("measured again"))
    rows = cohort(lab / "sessions.csv", lab / "tracks", lab / "page")
    assert rows[1].on_animal == pytest.approx(float(good["on_animal"]), rel=1e-3)


def test_what_is_remembered_is_of_one_track_one_recording_and_the_same_columns(lab, monkeypatch):
    asked, known = [], CohortRow("good", on_animal=0.9, film="films/good.mp4")
    (lab / "again" / "films").mkdir(parents=True)
    (lab / "again" / "films" / "good.mp4").touch()
    monkeypatch.setattr(cohort_run, "measured", lambda about, *_: asked.append(about) or known)
    path = lab / "tracks" / "good" / "keypoints.npz"
    about = {"name": "good", "verdict": "pass", "fingerprint": "of monday"}

    def measured_anew(about):
        asked.clear()
        row = cohort_run._remembered(about, path.parent, lab / "again")
        assert row.on_animal == 0.9 and row.name == "good"
        return bool(asked)

    assert measured_anew(about) and not measured_anew(about)
    assert measured_anew(about | {"fingerprint": "of tuesday"})
    assert not measured_anew(about | {"fingerprint": "of tuesday"})
    memory = lab / "again" / "rows" / "good.json"
    memory.write_text(memory.read_text().replace('"turning"', '"spinning"'))  # another version's
    assert measured_anew(about | {"fingerprint": "of tuesday"})
    memory.write_text('{"name": "good", "track": "of a version before"}')
    assert measured_anew(about) and not measured_anew(about)


def test_a_track_of_another_length_is_a_row_that_says_so(lab, tmp_path):
    world = torch.rand(7, 4, 3)
    skeleton = figure(1).skeleton
    track = Track(world, torch.ones(7, 4), replace(skeleton, names=tuple("abcd"), edges=()), 30.0)
    track.save(tmp_path / "good" / "keypoints.npz")
    rows = cohort(lab / "sessions.csv", tmp_path, tmp_path / "page")
    (what, _) = rows[1].failures[0]
    assert "a track of 7 frames for a recording of 40" in what


def test_drift_is_of_the_shape_and_not_of_place_or_heading():
    figure_at = torch.randn(6, 3)
    turn = torch.linspace(0, 7, 200)
    c, s, o = turn.cos(), turn.sin(), torch.zeros(200)
    spin = torch.stack([c, -s, o, s, c, o, o, o, o + 1], -1).view(-1, 3, 3)
    moves = torch.einsum("tij,kj->tki", spin, figure_at) + torch.linspace(0, 9, 200)[:, None, None]
    assert drift_of(moves) < 1e-3
    grows = moves - moves.mean(1, keepdim=True)
    grows = grows * torch.linspace(1, 1.5, 200)[:, None, None]
    assert drift_of(grows) == pytest.approx(0.45 / 1.05 - 0.05 / 1.05, abs=0.02)
    grows[:50, 2] = math.nan  # not seen in the first fifth
    assert drift_of(grows) == pytest.approx(0.45 / 1.05 - 0.05 / 1.05, abs=0.02)


def test_each_failure_has_its_remedy():
    fine = CohortRow("a", 1.0, on_animal=0.9, at_end=0.9, room=0.1, body=0.8, drift=0.01)
    assert failures_of(fine) == []
    assert failures_of(CohortRow("unknown")) == []
    wrong = replace(fine, on_animal=0.6, at_end=0.3, room=0.7, body=0.2, drift=0.4, dead=2)
    found = failures_of(replace(wrong, keypoints=8))
    assert len(found) == 5 and all(what and remedy for what, remedy in found)
    assert found[-1][0].startswith("2 of 8 keypoints do not move")


def test_what_is_looked_at_is_spread_over_the_session():
    times = looked_at(100_000)
    assert len(times) == cohort_run.LOOKED and times[0] == 0 and times[-1] == 99_999
    assert torch.equal(looked_at(9), torch.arange(9))


def test_names_cannot_write_into_the_page(tmp_path):
    row = dict(vars(CohortRow('<img src=x onerror="1">')), failures=(("<b>", "&"),))
    assert math.isnan(row["hours"])
    page = write_cohort_page(tmp_path / "c.html", [row]).read_text(encoding="utf-8")
    assert "<img" not in page and "&lt;b&gt;" in page and np.isnan(row["drift"])
