"""Frame cache: what was decoded once is the same frames, and is decoded again when it is not."""

import os

import numpy as np
import pytest
import torch

from bkind3d_lite.clips import frame_cache, open_clip
from bkind3d_lite.clips.videos import Frames, SelectedFrames, Video, write_video


@pytest.fixture
def pair(tmp_path, barcodes):
    images = barcodes(50)
    return [
        Video(write_video(tmp_path / f"{name}.mp4", some, 30))
        for name, some in (("a", images), ("b", images[::-1]))
    ]


def decoding(pair, monkeypatch):
    """The calls of the videos' decoders from here on."""
    calls = []
    for video in pair:
        monkeypatch.setattr(video, "read", lambda *a, read=video.read: calls.append(a) or read(*a))
    return calls


@pytest.mark.parametrize("times", [None, [3, 4, 40, 9]])
@pytest.mark.parametrize("wh", [(48, 32), (24, 20)])
def test_cached_frames_are_the_decoded_ones(tmp_path, pair, monkeypatch, times, wh):
    frames = Frames(pair, wh) if times is None else Frames(pair, wh).at(times)
    cached = frame_cache.cached_frames(frames, tmp_path / "cache")
    calls = decoding(pair, monkeypatch)
    assert cached.shape == frames.shape and torch.equal(cached[:], frames[:]) and calls
    del calls[:]
    again = frame_cache.cached_frames(frames, tmp_path / "cache")
    assert (
        torch.equal(again[[2, 0], 1], cached[[2, 0], 1])
        and torch.equal(again.at([1])[0], cached[1])
        and not calls
    ), "decoded once"
    assert again.begins == frames.begins and np.array_equal(
        again.videos[1].seconds, frames.videos[1].seconds
    )
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_other_sources_sizes_and_times_make_another_file(tmp_path, pair):
    frames, cache = Frames(pair, (24, 16)), tmp_path / "cache"
    others = [Frames(pair, (48, 32)), frames.at([0, 1]), frames.at([1, 0])]
    for count, other in enumerate([frames, *others, Frames(pair[::-1], (24, 16))], 1):
        frame_cache.cached_frames(other, cache)
        assert len(list(cache.iterdir())) == count
    os.utime(pair[0].path, (1, 1))
    frame_cache.cached_frames(frames, cache)
    assert len(list(cache.iterdir())) == count + 1, "a video written again is another video"


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-1], lambda data: b"", lambda data: b"\x93NUMPY" + bytes(40)],
    ids=["short", "empty", "garbage"],
)
def test_a_damaged_file_is_made_again(tmp_path, pair, damage):
    frames = Frames(pair, (24, 16))
    frame_cache.cached_frames(frames, tmp_path / "cache")
    (path,) = (tmp_path / "cache").iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert torch.equal(frame_cache.cached_frames(frames, tmp_path / "cache")[:], frames[:])


def test_a_full_disk_is_refused_before_anything_is_decoded(tmp_path, pair, monkeypatch):
    monkeypatch.setattr(frame_cache, "SPARE_DISK", 1 << 60)
    calls = decoding(pair, monkeypatch)
    with pytest.raises(OSError, match=r"0\.0 GB of frames do not fit.*--frames.*--cache"):
        frame_cache.cached_frames(Frames(pair, (24, 16)), tmp_path / "cache")
    assert not calls and not list((tmp_path / "cache").iterdir())


def test_a_write_that_fails_leaves_nothing(tmp_path, pair, monkeypatch):
    def broken(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pair[1], "read", broken)
    with pytest.raises(OSError, match="could not write.*frames-24x16"):
        frame_cache.cached_frames(Frames(pair, (24, 16)), tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_a_clip_caches_what_is_needed_and_no_more(folder, tmp_path):
    clip = open_clip(folder[0], offsets={"cam1": 2})
    small, same = clip.cached(tmp_path, (48, 32)), clip.cached(tmp_path, (960, 640))
    assert (
        small.rig.wh == (48, 32)
        and same.rig.wh == clip.rig.wh
        and torch.equal(same.frames[3], clip.frames[3])
    )
    assert torch.equal(small.frames[3], clip.resized((48, 32)).frames[3])
    assert same.fingerprint == clip.fingerprint and clip.fingerprint["offsets"] == {"cam1": 2}
    resized = same.frames.resized((48, 32))[3].float() - small.frames[3].float()
    assert resized.abs().mean() < 4, "what is cached can be made smaller still"
    assert isinstance(clip.frames.videos[0], SelectedFrames)
