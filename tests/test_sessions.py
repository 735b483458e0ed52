"""Sessions: one model for several recordings of rigs of their own, evenly, and to the same digits
when it goes on."""

import csv
from dataclasses import replace
from itertools import islice

import pytest
import torch
from test_training import TINY

from bkind3d_lite import distributed
from bkind3d_lite.__main__ import main
from bkind3d_lite.cameras import save_calibration
from bkind3d_lite.clips.clip import SurveyedClip
from bkind3d_lite.clips.sessions import Sessions, held_apart, session_places, session_turns
from bkind3d_lite.clips.survey import survey
from bkind3d_lite.clips.synthetic import figure
from bkind3d_lite.clips.videos import write_video
from bkind3d_lite.model import placed
from bkind3d_lite.recipes import write_recipe
from bkind3d_lite.training import batches, begin, resume, save, train
from bkind3d_lite.training import session_training as together
from bkind3d_lite.training.checkpoints import read_header

SMALL = TINY.with_(by_heading=False, steps=4, warmup=0)


@pytest.fixture(scope="module")
def sessions():
    """Two rigs, of three cameras and of two, and recordings of other lengths."""
    clips = figure(30, views=3), figure(24, views=2, seed=1, wh=(80, 64))
    parts = tuple(SurveyedClip(clip, survey(clip)) for clip in clips)
    return Sessions(parts, ("three", "two"), held_out=("another",))


# ---- whose turn it is ----------------------------------------------------------------------------
def test_every_session_has_its_turn_in_every_round_and_none_depends_on_the_start():
    turns = list(islice(session_turns(3, seed=5), 30))
    for i in range(0, 30, 3):
        assert {number for number, _ in turns[i : i + 3]} == {0, 1, 2}
        assert {before for _, before in turns[i : i + 3]} == {i // 3}
    assert len({tuple(turns[i + j][0] for j in range(3)) for i in range(0, 30, 3)}) > 1
    assert list(islice(session_turns(3, seed=5, start=7), 20)) == turns[7:27]


def test_batches_are_of_one_rig_each_and_go_on_where_they_stood(sessions):
    run = begin(SMALL, sessions.clip)
    drawn = list(islice(together.session_batches(run, sessions), 6))
    assert sorted(batch.rig.views for batch in drawn) == [2] * 6  # views_per_step
    assert {batch.rig.names for batch in drawn} >= {sessions.parts[1].clip.rig.names}
    run.step = 3
    for batch, again in zip(drawn[3:], together.session_batches(run, sessions)):
        assert torch.equal(batch.now, again.now) and torch.equal(batch.index, again.index)


def test_one_session_alone_is_the_clip(sessions):
    part, run = sessions.parts[0], begin(SMALL, sessions.clip)
    alone = together.session_batches(run, Sessions((part,), ("three",)))
    for _, a, b in zip(range(3), alone, batches(run, part.clip, part.survey)):
        assert torch.equal(a.now, b.now) and torch.equal(a.turn, b.turn)


def test_ranks_share_the_pairs_of_one_process(sessions, monkeypatch):
    run = begin(SMALL.with_(batch=2), sessions.clip)
    whole = list(islice(together.session_batches(run, sessions), 3))
    parts = []
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    half = begin(SMALL, sessions.clip)
    for rank in (0, 1):
        monkeypatch.setattr(distributed, "rank", lambda: rank)
        parts.append(list(islice(together.session_batches(half, sessions), 3)))
    for both, a, b in zip(whole, *parts):
        assert torch.equal(both.now, torch.cat([a.now, b.now]))


# ---- training ------------------------------------------------------------------------------------
def test_a_run_goes_on_to_the_same_digits(sessions, tmp_path):
    """Its batches are of two and of three cameras, and its checkpoint names both sessions."""
    recipe = SMALL.with_(views_per_step=None)

    def stepped(run, steps):
        run.clip = sessions.fingerprint
        for step in train(run, together.session_batches(run, sessions)):
            yield step.batch.rig.views
            if step.index == steps:
                break

    whole = begin(recipe, sessions.clip, seed=1)
    assert sorted(stepped(whole, 4)) == [2, 2, 3, 3]
    half = begin(recipe, sessions.clip, seed=1)
    list(stepped(half, 2))
    save(half, tmp_path / "c.safetensors")
    header = read_header(tmp_path / "c.safetensors")["clip"]
    assert [s["name"] for s in header["sessions"]] == ["three", "two"]
    assert header["held_out"] == ["another"]
    later = resume(tmp_path / "c.safetensors", sessions.clip)
    list(stepped(later, 4))
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(later.model.state_dict()[name], weight), name


def test_the_walk_of_all_sessions_teaches_one_look(sessions, monkeypatch):
    run, lessons = begin(SMALL.with_(by_heading=True), sessions.clip), []

    def teach(walks, steps):
        lessons.append(([clip for clip, *_ in walks], steps))

    monkeypatch.setattr(together, "teach_look", teach)
    found = together.oriented_sessions(run.model, sessions.parts, teach=7)
    assert all(part.survey.heading is not None for part in found)
    assert lessons == [([part.clip for part in sessions.parts], 7)]


def test_one_place_for_the_volume_of_all(sessions):
    follows = SMALL.with_(animal_side=None, views_per_step=None)
    parts = sessions.parts
    sides = [placed(follows, p.clip.rig, p.survey) for p in parts]
    chosen = together.placed_together(follows, sides).volume.animal_side
    assert chosen == pytest.approx(min(s.volume.animal_side for s in sides), rel=0.01)
    room = SMALL.with_(mode="room", side=None, centre=None)
    cubes = [room.with_(side=2.0, centre=(x, 0.0, 0.0)) for x in (-1.0, 3.0)]
    volume = together.placed_together(room, cubes).volume
    assert volume.side == 6.0 and volume.centre == (1.0, 0.0, 0.0)


def test_what_no_volume_serves_is_refused(sessions):
    clips = dict(zip(sessions.names, (part.clip for part in sessions.parts)))
    together.refuse_mixed(clips, SMALL)
    with pytest.raises(ValueError, match="two has another rig than three.*mode=animal"):
        together.refuse_mixed(clips, SMALL.with_(mode="room"))
    metres = replace(clips["two"], rig=replace(clips["two"].rig, unit="m"))
    with pytest.raises(ValueError, match="two is measured in m, three in mm"):
        together.refuse_mixed(clips | {"two": metres}, SMALL)


# ---- where they lie ------------------------------------------------------------------------------
def test_sessions_by_folders_or_by_a_table(tmp_path):
    for name in ("a/day1/video", "a/day2/video", "b/day1/video"):
        (tmp_path / name).mkdir(parents=True)
    folders = [tmp_path / "a/day1/video", tmp_path / "a/day2/video"]
    assert list(session_places(folders)) == ["day1/video", "day2/video"]
    table = tmp_path / "sessions.csv"
    rows = [("one", "a/day1/video", "pass"), ("", "b/day1/video", "warn"), ("x", "no", "fail")]
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("name", "folder", "verdict"), *rows])
    found = session_places([table])
    assert list(found) == ["one", "b/day1/video"] and all(p.is_dir() for p in found.values())
    assert list(held_apart(found, ["one"])) == ["b/day1/video"]
    for places, held, said in (
        ([table], ["two"], "--held-out two: no such session; there are one, b/day1"),
        ([table], list(found), "nothing is left"),
        ([folders[0], folders[0]], [], "stands twice"),
    ):
        with pytest.raises(ValueError, match=said):
            held_apart(session_places(places), held)
    (tmp_path / "bad.csv").write_text("name\nx\n")
    with pytest.raises(ValueError, match="bad.csv: no column `folder`"):
        session_places([tmp_path / "bad.csv"])


def test_the_command_trains_on_folders_of_two_rigs(sessions, tmp_path, capsys):
    for name, part in zip(("three", "two"), sessions.parts):
        for v, camera in enumerate(part.clip.rig.names):
            frames = part.clip.frames[:, v].numpy()
            write_video(tmp_path / name / f"{camera}.mp4", frames, part.clip.fps, crf=8)
        save_calibration(part.clip.rig, tmp_path / name / "calibration.toml")
    (tmp_path / "rest").mkdir()
    write_recipe(SMALL.with_(steps=2), tmp_path / "small.toml")
    places = [str(tmp_path / name) for name in ("three", "two", "rest")]
    out = ["--out", str(tmp_path / "run"), "--force", "--pictures-every", "0"]
    words = ["train", "--sessions", *places, "--held-out", "rest", *out]
    assert not main([*words, "--recipe", str(tmp_path / "small.toml")])
    header = read_header(tmp_path / "run/checkpoint.safetensors")
    assert header["step"] == 2 and header["clip"]["held_out"] == ["rest"]
    card = (tmp_path / "run/card.md").read_text()
    assert "| three | 3 | 30 |" in card and "| rest | | | | held out |" in card
    assert main([*words[:2], *places[:1], *out, "--resume"])
    assert "was trained on the sessions three, two, this is the sessions three" in (
        capsys.readouterr().err
    )
    assert main(["train", "--clip", places[0], *out, "--resume", "--held-out", "two"])
    assert "whole sessions: give several by --sessions" in capsys.readouterr().err
    assert main(["train", "--clip", places[0], *out, "--resume"])
    assert "this is one clip" in capsys.readouterr().err
