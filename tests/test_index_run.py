"""The index: recordings are found as `open_clip` knows them, and a broken one is a row."""

import shutil
from pathlib import Path

import pytest

from bkind3d_lite.__main__ import main
from bkind3d_lite.cameras import save_calibration
from bkind3d_lite.clips.synthetic import figure
from bkind3d_lite.clips.videos import write_video
from bkind3d_lite.workflows import index_run
from bkind3d_lite.workflows.index_run import (
    blueprint_of,
    find_sessions,
    index_sessions,
    names_of,
    read_sessions,
)


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Two cameras of the figure, 24 frames."""
    folder, clip = tmp_path_factory.mktemp("one") / "rec", figure(24, views=2)
    for v, name in enumerate(clip.rig.names):
        write_video(folder / f"{name}.mp4", clip.frames[:, v].numpy(), clip.fps, crf=10)
    save_calibration(clip.rig, folder / "calibration.toml")
    return folder


@pytest.fixture
def lab(recording, tmp_path):
    """A NeuroBlueprint project: two good sessions, one without a calibration, one truncated."""
    raw = tmp_path / "project" / "rawdata"
    places = {
        "good": "sub-001_id-b7/ses-001_date-20240131/behav",
        "late": "sub-001_id-b7/ses-002_date-20240201/behav",
        "lost": "sub-002/ses-001/behav",
        "torn": "sub-002/ses-002/behav",
    }
    for place in places.values():
        shutil.copytree(recording, raw / place)
    (raw / places["lost"] / "calibration.toml").unlink()
    film = next((raw / places["torn"]).glob("*.mp4"))
    film.write_bytes(film.read_bytes()[:300])
    (raw / "sub-001_id-b7" / ".hidden").mkdir()
    shutil.copytree(recording, raw.parent / "derivatives" / "sub-001" / "ses-001" / "behav")
    return raw.parent


def test_every_session_is_a_row_and_a_broken_one_says_why(lab, tmp_path, capsys):
    out = tmp_path / "sessions.csv"
    assert main(["index", str(lab), "--no-doctor", "--out", str(out)]) == 0
    assert "4 recordings, 2 not fit" in capsys.readouterr().out
    good, late, lost, torn = read_sessions(out)
    assert good["name"] == "sub-001_id-b7_ses-001_date-20240131"
    assert [good[k] for k in ("subject", "session", "date")] == ["001", "001", "20240131"]
    assert [good[k] for k in ("cameras", "frames", "verdict")] == ["2", "24", ""]
    assert float(good["hours"]) == pytest.approx(24 / float(good["fps"]) / 3600, abs=1e-4)
    assert good["rig"] == late["rig"] and len(good["rig"]) == 16
    assert good["fingerprint"] == late["fingerprint"]  # a copy is the same recording
    assert (lost["verdict"], lost["question"], lost["frames"]) == ("fail", "files", "")
    assert "calibration" in lost["finding"] and str(lab) in lost["finding"]
    assert torn["verdict"] == "fail" and ".mp4" in torn["finding"]
    assert Path(good["folder"]).is_absolute()


def test_the_doctor_is_asked_once_a_recording(recording, tmp_path, monkeypatch):
    asked = []

    def examined(folder, **how):
        asked.append(folder)
        if len(asked) == 1:
            raise MemoryError("just now")
        return index_run.Diagnosis(
            str(folder), [index_run.Check("rays", index_run.PASS, "they meet")]
        )

    monkeypatch.setattr(index_run, "examine", examined)
    for name in ("a", "b"):
        shutil.copytree(recording, tmp_path / "root" / name)
    out = tmp_path / "sessions.csv"
    rows = index_sessions(tmp_path / "root", out)
    assert [row["verdict"] for row in rows] == ["fail", "pass"]
    assert rows[0]["finding"] == "MemoryError: just now" and "index again" in rows[0]["remedy"]
    rows = index_sessions(tmp_path / "root", out)  # what has passed is asked about again
    assert [row["verdict"] for row in rows] == ["pass", "pass"] and len(asked) == 3
    assert index_sessions(tmp_path / "root", out) == rows and len(asked) == 3
    (tmp_path / "root" / "b" / "calibration.toml").unlink()
    again = index_sessions(tmp_path / "root", out)
    assert again[1]["verdict"] == "fail" and "calibration" in again[1]["finding"]


def test_a_rerun_that_is_stopped_keeps_the_verdicts_it_did_not_reach(
    recording, tmp_path, monkeypatch
):
    def examined(folder, **how):
        if folder.name == "a":
            raise KeyboardInterrupt
        return index_run.Diagnosis(str(folder), [index_run.Check("rays", index_run.PASS, "meet")])

    monkeypatch.setattr(index_run, "examine", examined)
    root, out = tmp_path / "root", tmp_path / "sessions.csv"
    for name in ("_first", "b", "c"):
        shutil.copytree(recording, root / name)
    rows = index_sessions(root, out)
    shutil.copytree(recording, root / "a")
    with pytest.raises(KeyboardInterrupt):
        index_sessions(root, out)
    assert read_sessions(out) == rows
    shutil.rmtree(root / "a")
    shutil.rmtree(root / "c")
    assert index_sessions(root, out) == rows[:2] == read_sessions(out)  # a vanished one goes


def test_the_first_failed_question_is_told_with_its_remedy():
    checks = [
        index_run.Check("lenses", "warn", "odd", remedy="look"),
        index_run.Check("rays", "fail", "they miss", remedy="recalibrate"),
        index_run.Check("ring", "fail", "flat"),
    ]
    row = index_run.verdict_of(index_run.Diagnosis("x", checks))
    assert list(row.values()) == ["fail", "rays", "they miss", "recalibrate"]


def test_folders_of_cameras_and_sub_folders_are_one_recording(recording, tmp_path):
    for name in ("plain", "inner", "cameras"):
        (tmp_path / name).mkdir()
        shutil.copy(recording / "calibration.toml", tmp_path / name)
    films = sorted(recording.glob("*.mp4"))
    for film in films:
        shutil.copy(film, tmp_path / "plain")
        for home in (tmp_path / "inner" / "videos", tmp_path / "cameras" / film.stem):
            home.mkdir(parents=True, exist_ok=True)
            shutil.copy(film, home / (film.name if home.name == "videos" else "film.mp4"))
    shutil.copytree(tmp_path / "plain", tmp_path / "plain" / "pilot")
    (tmp_path / "tracks").mkdir()
    (tmp_path / "tracks" / "keypoints.npz").touch()  # a result, whose film is no recording
    shutil.copy(films[0], tmp_path / "tracks" / "overlay.mp4")
    (tmp_path / "back").symlink_to(tmp_path)
    found = [str(path.relative_to(tmp_path)) for path in find_sessions(tmp_path)]
    assert found == ["cameras", "inner", "plain", "plain/pilot"]


def test_roots_without_recordings_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no videos or folders of images"):
        find_sessions(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        find_sessions(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="make it with: bkind3d index"):
        read_sessions(tmp_path / "sessions.csv")
    (tmp_path / "sessions.csv").write_text("name,folder\na,b\n")
    with pytest.raises(ValueError, match="no column verdict"):
        read_sessions(tmp_path / "sessions.csv")


def test_names_are_different_words():
    root = Path("/r")
    places = ["rawdata/sub-1/ses-1/behav", "rawdata/sub-1/ses-1/motion"]
    assert names_of([root / p for p in places], root) == [p.replace("/", "_") for p in places]
    assert names_of([root / "a b" / "c", root / "a_b" / "c"], root) == ["a_b_c_0", "a_b_c_1"]
    assert names_of([root], root) == ["r"]
    one, new = root / "rawdata" / "one" / "behav", root / "one"
    assert names_of([one], root) == ["one"]
    assert names_of([new, one], root, {str(one): "one"}) == ["one_0", "one"]  # it keeps its name
    assert names_of([one, root / "two" / "behav", new], root) == [
        "rawdata_one_behav",
        "two",
        "one",
    ]
    assert blueprint_of(root / "monday", root) == {"subject": "", "session": "", "date": ""}
