"""Shards: a track in pieces is the track, whatever is stopped, lost, damaged or mixed."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_heading import walker
from test_orientation import SMALL

from bkind3d_lite.__main__ import main
from bkind3d_lite.cameras import save_calibration
from bkind3d_lite.clips import open_clip
from bkind3d_lite.clips.exports import read_track
from bkind3d_lite.clips.survey import survey
from bkind3d_lite.clips.survey_files import recording_hash, rig_hash, survey_arrays, survey_of
from bkind3d_lite.clips.tracks import Skeleton
from bkind3d_lite.clips.videos import write_video
from bkind3d_lite.training import begin, load, save, track
from bkind3d_lite.training.orientation import oriented
from bkind3d_lite.workflows import shard_run
from bkind3d_lite.workflows.shard_run import frames_of, merge_shards, track_shards
from bkind3d_lite.workflows.shards import (
    pieces_of,
    read_shard,
    shard_path,
    shards_in,
    track_of,
    write_shard,
)

FRAMES, PIECE = 84, 32  # of the walk, of a shard
MINUTES = PIECE / 20 / 60


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """A walk of three cameras as videos, and a checkpoint whose volume turns with the animal."""
    root, clip = tmp_path_factory.mktemp("session"), walker(FRAMES)[0]
    clip = replace(clip, frames=clip.frames[:, :3], rig=clip.rig.take([0, 1, 2]))
    for v, name in enumerate(clip.rig.names):
        write_video(root / "walk" / f"{name}.mp4", clip.frames[:, v].numpy(), clip.fps, crf=8)
    save_calibration(clip.rig, root / "walk" / "calibration.toml")
    save(begin(SMALL, clip), root / "run" / "checkpoint.safetensors", whole=False)
    return root


@pytest.fixture(scope="module")
def whole(session):
    model, recipe, _ = load(session / "run" / "checkpoint.safetensors", tracking=True)
    return track(model, recipe, open_clip(session / "walk"))


@pytest.fixture(scope="module")
def shards(session):
    """The same in three shards, each by a job of its own, not merged yet; one job has looked."""
    out = session / "shards"
    assert track_shards(session / "run", session / "walk", out, look=True) is None
    assert [path.name for path in out.iterdir()] == ["session.npz"]
    with pytest.raises(FileNotFoundError, match="no shards here"):
        merge_shards(out)
    for frames in (":32", "32:64", "64:"):
        assert track_shards(session / "run", session / "walk", out, frames=frames) is None
    return out


@pytest.fixture
def copy(shards, tmp_path):
    return shutil.copytree(shards, tmp_path / "copy")


def same(a, b):
    names = ("world", "confidence", "heading", "heading_confidence", "covariance", "numbers")
    assert all(torch.equal(getattr(a, name), getattr(b, name)) for name in names)
    assert a.skeleton == b.skeleton and a.fps == b.fps and a.unit == b.unit


# ---- the law -------------------------------------------------------------------------------------
def test_shards_of_many_jobs_are_the_whole_track_to_the_last_digit(whole, copy):
    same(merge_shards(copy, film=False), whole)
    same(read_track(copy / "keypoints.npz"), whole)
    assert torch.equal(whole.seconds, torch.arange(84).double() / 20)


def test_a_shard_knows_the_heading_that_it_could_not_find_alone(session, shards):
    clip, model = (
        open_clip(session / "walk").at(range(66, 84)),
        load(session / "run" / "checkpoint.safetensors")[0],
    )
    alone = oriented(model, clip, survey(clip))
    rests = read_shard(shard_path(shards, 64, 84)).rows
    assert not alone.heading.found
    assert rests["heading_confidence"].mean() > 0.8


def test_pieces_of_another_length_agree_to_rounding(session, shards, whole, tmp_path):
    shutil.copy(shards / "session.npz", tmp_path)
    for frames in ("0:45", "45:84"):
        track_shards(session / "run", session / "walk", tmp_path, frames=frames, device="cpu")
    found = merge_shards(tmp_path, film=False)
    torch.testing.assert_close(found.world, whole.world, rtol=1e-5, atol=1e-3)


def test_a_survey_comes_back_whole(shards):
    with np.load(shards / "session.npz") as data:
        arrays = {k: data[k] for k in data.files if k not in ("about", "pairs", "weights")}
    seen = survey_of(arrays)
    back = survey_of(survey_arrays(seen))
    assert survey_arrays(back).keys() == arrays.keys() and seen.heading.found
    for name, value in vars(seen.heading).items():
        other = getattr(back.heading, name)
        assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other
    assert torch.equal(back.background, seen.background) and torch.equal(back.centre, seen.centre)
    assert (back.floor, back.length) == (seen.floor, seen.length)
    assert survey_of(survey_arrays(replace(seen, heading=None, length=None))).heading is None


# ---- jobs that stop and go on --------------------------------------------------------------------
def test_what_is_done_is_skipped_and_what_is_damaged_is_made_again(session, copy, whole, capsys):
    done, lost, bad = (path for _, _, path in shards_in(copy))
    before = done.stat().st_mtime_ns
    lost.unlink()
    bad.write_bytes(bad.read_bytes()[:-900])
    words = ["track", "--checkpoint", session / "run", "--clip", session / "walk", "--out", copy]
    assert main([*map(str, words), "--chunk", str(MINUTES), "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "shard 2 of 2" in said and "a damaged shard" in said and "overlay.mp4" in said
    assert done.stat().st_mtime_ns == before
    same(read_track(copy / "keypoints.npz"), whole)
    assert (copy / "overlay.mp4").is_file() and (copy / "skeleton.html").is_file()


def test_a_shard_whose_numbers_were_changed_is_damaged(copy):
    path = shard_path(copy, 32, 64)
    with np.load(path) as data:
        arrays = dict(data)
    arrays["world"] = arrays["world"] + 1
    np.savez_compressed(path, **arrays)
    with pytest.raises(ValueError, match="fingerprint differs.*--frames 32:64"):
        merge_shards(copy)


# ---- what is refused -----------------------------------------------------------------------------
def test_gaps_are_refused_with_the_command_that_fills_them(copy):
    shard_path(copy, 32, 64).unlink()
    with pytest.raises(ValueError, match="frames 32:64 are missing.*--frames 32:64"):
        merge_shards(copy)
    shard_path(copy, 64, 84).unlink()
    with pytest.raises(ValueError, match="frames 32:84 are missing"):
        merge_shards(copy)


def test_overlaps_are_refused(session, copy):
    with pytest.raises(ValueError, match="overlaps frames 20:40"):
        track_shards(session / "run", session / "walk", copy, frames="20:40")
    shutil.copy(shard_path(copy, 32, 64), shard_path(copy, 24, 56))
    with pytest.raises(ValueError, match="frames 24:32 are in another shard"):
        merge_shards(copy)
    with pytest.raises(ValueError, match="overlaps frames 0:32"):  # though these are done
        track_shards(session / "run", session / "walk", copy, frames="0:32")


def test_the_look_of_the_faster_job_is_the_one(session, copy, monkeypatch):
    theirs = (copy / "session.npz").read_bytes()
    (copy / "session.npz").unlink()
    find = shard_run.oriented

    def meanwhile(*given):
        (copy / "session.npz").write_bytes(theirs)
        return find(*given)

    monkeypatch.setattr(shard_run, "oriented", meanwhile)
    track_shards(session / "run", session / "walk", copy, look=True)
    assert (copy / "session.npz").read_bytes() == theirs
    assert not list(copy.glob("look-*"))


def test_checkpoints_are_not_mixed(session, copy, tmp_path):
    model = tmp_path / "other" / "checkpoint.safetensors"
    save(begin(SMALL, open_clip(session / "walk"), seed=1), model, whole=False)
    with pytest.raises(ValueError, match="session.npz: of another checkpoint.*another --out"):
        track_shards(model, session / "walk", copy, frames="32:64")
    path = shard_path(copy, 32, 64)
    shard = read_shard(path)
    piece = track_of(shard.rows, dict(fps=20.0), Skeleton((), ()))
    write_shard(copy, 32, piece, replace(shard.stamp, checkpoint="f" * 16))
    with pytest.raises(ValueError, match="another checkpoint.*remove those of one kind"):
        merge_shards(copy)
    with pytest.raises(ValueError, match="another checkpoint.*choose another --out, or remove"):
        track_shards(session / "run", session / "walk", copy, frames="32:64")


def test_turns_are_not_mixed(session, copy):
    with pytest.raises(ValueError, match=r"another number of turns \(2, not 1\)"):
        track_shards(session / "run", session / "walk", copy, frames="32:64", turns=1)


@pytest.mark.parametrize("frames", ["5", "9:3", "0:85", "a:b", "-3:4", "4:4"])
def test_frames_that_are_not_there_are_refused(session, tmp_path, frames):
    with pytest.raises(ValueError, match="expected FROM:TO within the recording's 84 frames"):
        track_shards(session / "run", session / "walk", tmp_path, frames=frames)
    assert not any(tmp_path.iterdir())


# ---- small laws ----------------------------------------------------------------------------------
def test_pieces_cover_every_frame_once():
    for first, stop, length in ((0, 100, 40), (7, 8, 40), (3, 83, None)):
        pieces = pieces_of(first, stop, length)
        assert [t for a, b in pieces for t in range(a, b)] == list(range(first, stop))
    assert frames_of(MINUTES, 20.0) == PIECE and frames_of(1e-6, 20.0) == 8


def test_a_recording_is_told_by_its_films_and_its_rig(session, tmp_path):
    moved = shutil.copytree(session / "walk", tmp_path / "elsewhere")
    one, two = open_clip(session / "walk"), open_clip(moved)
    assert recording_hash(one) == recording_hash(two) and rig_hash(one.rig) == rig_hash(two.rig)
    later = open_clip(moved, offsets={one.rig.names[0]: 1}, common=True)
    assert recording_hash(later) != recording_hash(one)
    shifted = replace(two, rig=replace(two.rig, t=two.rig.t + 0.5))
    assert rig_hash(shifted.rig) != rig_hash(two.rig)
    assert recording_hash(shifted) != recording_hash(one)
