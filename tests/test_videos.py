"""Videos: frames by index, in order of presentation, whatever the file looks like inside."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from av.video.frame import PictureType

from bkind3d_lite.clips.video_index import index_from_header, index_from_packets
from bkind3d_lite.clips.videos import (
    CHUNK,
    Frames,
    SelectedFrames,
    Video,
    write_video,
)


def encoded(path, images, codec="libx264", pts=None, **options):
    """Write `images` with PyAV itself, at 100 ticks a second; `pts` gives each its time."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=100, options=options)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 100)
        for i, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = int(i if pts is None else pts[i]), Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


X264 = {"x264-params": "bframes=3:b-adapt=0:scenecut=0:keyint=40"}


def kinds(path):
    with av.open(str(path)) as container:
        return {PictureType(frame.pict_type).name for frame in container.decode(video=0)}


def test_frames_come_back_in_order(tmp_path, barcodes):
    video = Video(write_video(tmp_path / "a.mp4", iter(barcodes(150)), 30))
    assert len(video) == 150 and video.wh == (48, 32) and video.fps == 30
    frames = video.read(0, 150)
    assert frames.shape == (150, 32, 48, 3) and frames.dtype == np.uint8
    assert [barcodes.read(f) for f in frames] == list(range(150))


def test_an_image_survives_encoding(tmp_path):
    y, x = np.mgrid[:32, :48]
    image = np.stack([4 * x + 20, 6 * y + 20, 200 - 2 * x], -1).astype(np.uint8)
    frame = Video(write_video(tmp_path / "a.mp4", [image] * 3, 30, crf=4)).read(1, 2)[0]
    assert np.abs(frame.astype(float) - image).mean() < 4, (
        "colours keep their place, rows and columns too"
    )


@pytest.mark.parametrize(
    "suffix, codec, options",
    [
        ("mp4", "libx264", X264),
        ("avi", "mpeg4", dict(g="12", bf="2")),
        ("mkv", "libx264", X264),
        ("mp4", "mpeg4", dict(g="12", bf="2")),
    ],
)
def test_b_frames_and_random_access_equal_sequential_reading(
    tmp_path, barcodes, suffix, codec, options
):
    path = encoded(tmp_path / f"b.{suffix}", barcodes(110), codec, **options)
    assert "B" in kinds(path), "the test file must hold B-frames"
    video = Video(path)
    whole = video.read(0, len(video))
    assert [barcodes.read(f) for f in whole] == list(range(110))
    starts = (109, 0, 1, 9, 33, 41, 39, 77, 13, 14, 14)
    stops = (110, 1, 9, 30, 41, 43, 40, 90, 14, 110, 15)
    for start, stop in zip(starts, stops):
        assert np.array_equal(video.read(start, stop), whole[start:stop]), (start, stop)


def test_a_variable_frame_rate_counts_frames_not_seconds(tmp_path, barcodes):
    pts = np.cumsum(np.random.default_rng(0).integers(1, 9, 90))
    video = Video(encoded(tmp_path / "v.mp4", barcodes(90), pts=pts, g="20"))
    assert len(video) == 90 and len(set(np.diff(video.seconds))) > 3
    assert np.allclose(video.seconds, (pts - pts[0]) / 100)
    times = [89, 3, 50, 51, 20, 0]
    assert [barcodes.read(video.read(t, t + 1)[0]) for t in times] == times


def test_a_smaller_size_is_an_area_average(tmp_path):
    fine = np.zeros((32, 48, 3), np.uint8)
    fine[:, ::2] = 200  # stripes one pixel wide: point sampling would return 0 or 200
    small = Video(write_video(tmp_path / "a.mp4", [fine] * 2, 30, crf=1)).read(0, 1, wh=(12, 16))
    assert small.shape == (1, 16, 12, 3) and np.abs(small.astype(float) - 100).max() < 25


@pytest.mark.parametrize(
    "suffix, options", [("mp4", X264), ("mp4", dict(bf="0", g="20")), ("mov", X264), ("mkv", X264)]
)
def test_the_index_in_the_header_is_that_of_the_packets(tmp_path, barcodes, suffix, options):
    path = encoded(tmp_path / f"a.{suffix}", barcodes(160), **options)
    packets = index_from_packets(path)
    with av.open(str(path)) as container:
        header = index_from_header(container, container.streams.video[0], path)
    assert (header is None) == (suffix == "mkv"), "an MP4 is not read through"
    if header is not None:
        assert np.array_equal(header.stamps, packets.stamps)
        assert np.array_equal(header.keys, packets.keys)


@pytest.mark.parametrize(
    "options",
    [X264, {"x264-params": "bframes=0:scenecut=0:keyint=40"}],
    ids=["B-frames", "P-frames"],
)
@pytest.mark.parametrize("lead", [0, 7])
def test_a_cut_without_encoding_counts_only_what_plays(tmp_path, barcodes, options, lead):
    """A cut at 60 keeps the packets from keyframe 40 on, hidden, or has lost a few after it."""
    whole, cut = encoded(tmp_path / "a.mp4", barcodes(160), **options), tmp_path / "cut.mp4"
    with av.open(str(whole)) as source, av.open(str(cut), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        origin = index_from_packets(whole).stamps[60]
        source.seek(int(origin), stream=source.streams.video[0], backward=True)
        packets = [p for p in source.demux(video=0) if p.dts is not None]
        for packet in packets[lead:]:
            packet.pts, packet.dts = packet.pts - int(origin), packet.dts - int(origin)
            packet.stream = stream
            container.mux(packet)
    video = Video(cut)
    with av.open(str(cut)) as container:
        shown = [
            barcodes.read(frame.to_ndarray(format="rgb24"))
            for frame in container.decode(video=0)
            if not frame.is_corrupt
        ]
    assert [barcodes.read(x) for x in video.read(0, len(video))] == shown
    assert shown[-1] == 159 and shown == list(range(shown[0], 160))


def test_selected_frames(pair, barcodes):
    numbers = [3, 4, 5, 150, 9, 9, 12]
    selected = SelectedFrames(pair[0], numbers)
    assert len(selected) == 7 and [barcodes.read(x) for x in selected.read(0, 7)] == numbers
    assert [barcodes.read(x) for x in selected.read(2, 5)] == [5, 150, 9]
    assert selected.seconds[3] == pytest.approx(5.0)
    frames = Frames(pair, (48, 32)).at([7, 30])
    assert [[barcodes.read(x) for x in views] for views in frames[:]] == [[7, 192], [30, 169]]
    assert torch.equal(frames[[1, 0], 1], frames[[1, 0]][:, 1])
    assert frames.resized((24, 16)).shape == (2, 2, 16, 24, 3)


# ---- broken files --------------------------------------------------------------------------------
def test_a_truncated_video_names_the_file_and_the_frame(tmp_path, barcodes):
    data = write_video(tmp_path / "a.mp4", barcodes(150), 30).read_bytes()
    for share in (0.3, 0.6, 0.95):
        path = tmp_path / "cut.mp4"
        path.write_bytes(data[: int(share * len(data))])
        with pytest.raises(ValueError, match=r"cut\.mp4.*frame \d+"):
            video = Video(path)
            assert len(video) < 150
            video.read(0, len(video))


def test_a_video_without_its_index_names_the_file(tmp_path, barcodes):
    # No faststart: the index lies at the end.
    data = encoded(tmp_path / "a.mp4", barcodes(40)).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"cut\.mp4: not a readable video.*complete"):
        Video(tmp_path / "cut.mp4")


@pytest.mark.parametrize("content", [b"", b"hello" * 500], ids=["empty", "text"])
def test_not_a_video(tmp_path, content):
    (tmp_path / "no.mp4").write_bytes(content)
    with pytest.raises(ValueError, match=r"no\.mp4: not a readable video"):
        Video(tmp_path / "no.mp4")


@pytest.mark.parametrize("seed", range(4))
def test_a_mutated_video_plays_or_is_one_clear_error(tmp_path, barcodes, seed):
    """Bytes of the header or anywhere are changed: frames come, or our error naming the file."""
    good = write_video(tmp_path / "good.mp4", barcodes(140), 30).read_bytes()
    random = np.random.default_rng(seed)
    for trial in range(30):
        broken, end = bytearray(good), good.index(b"mdat") if trial % 4 else len(good)
        for at in random.integers(0, end, random.integers(1, 6)):
            broken[at] = random.integers(256)
        (tmp_path / "x.mp4").write_bytes(broken)
        try:
            video = Video(tmp_path / "x.mp4")
            assert len(video.read(0, min(20, len(video)))) and len(video.seconds) == len(video)
        except ValueError as error:
            assert str(error).startswith(str(tmp_path / "x.mp4")), error


# ---- frames within a budget ----------------------------------------------------------------------
@pytest.fixture(scope="module")
def pair(tmp_path_factory, barcodes):
    folder = tmp_path_factory.mktemp("pair")
    images = barcodes(200)
    return [
        Video(write_video(folder / "a.mp4", images, 30)),
        Video(write_video(folder / "b.mp4", images[::-1], 30)),
    ]


def test_frames_are_views_side_by_side(pair, barcodes):
    frames = Frames(pair, (48, 32))
    assert len(frames) == 200 and frames.shape == (200, 2, 32, 48, 3)
    one, some = frames[7], frames[[7, 150, 7]]
    assert (
        one.shape == (2, 32, 48, 3)
        and some.shape == (3, 2, 32, 48, 3)
        and some.dtype == torch.uint8
    )
    assert [[barcodes.read(x) for x in views] for views in some] == [[7, 192], [150, 49], [7, 192]]
    assert torch.equal(frames[-1], frames[199]) and torch.equal(
        frames[190:], frames[list(range(190, 200))]
    )


def test_times_outside_are_an_index_error(pair):
    frames = Frames(pair, (48, 32))
    for t in (200, -201):
        with pytest.raises(IndexError, match=f"{t} of 200"):
            frames[t]


def test_the_budget_is_kept_and_the_frames_stay_right(pair, barcodes, monkeypatch):
    chunk = CHUNK * 32 * 48 * 3
    frames = Frames(pair, (48, 32), budget=3 * chunk)
    decoded = []
    for video in pair:
        monkeypatch.setattr(
            video, "read", lambda *a, read=video.read: decoded.append(a) or read(*a)
        )
    order = torch.randint(200, (24,), generator=torch.Generator().manual_seed(0)).tolist()
    for t in order:
        assert [barcodes.read(x) for x in frames[t]] == [t, 199 - t]
        held = [c.nbytes for c in frames._chunks.values()]
        assert sum(held) == frames._bytes <= frames.budget
    assert len(decoded) > 8, (
        "8 chunks in all: with room for 3 some must have been dropped and decoded again"
    )
    frames, before = Frames(pair, (48, 32)), len(decoded)
    frames[order], frames[order]
    assert len(decoded) == before + 8, "with room for all, each chunk is decoded once"


# ---- writing -------------------------------------------------------------------------------------
def test_written_videos_play_in_browsers(tmp_path, barcodes):
    path = write_video(tmp_path / "new" / "a.mp4", barcodes(5, (49, 33)), 25)
    with av.open(str(path)) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.name, codec.pix_fmt, codec.width, codec.height) == ("h264", "yuv420p", 48, 32)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), (
        "the index comes first: it plays while it loads"
    )


@pytest.mark.parametrize("fps", [120, 29.97, 12.5, 0.5])
def test_the_frame_rate_is_kept(tmp_path, barcodes, fps):
    assert Video(write_video(tmp_path / "a.mp4", barcodes(6), fps)).fps == pytest.approx(
        fps, rel=1e-3
    )


def test_no_frames_is_an_error_and_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match=r"none\.mp4: no frames"):
        write_video(tmp_path / "none.mp4", [], 30)
    assert list(tmp_path.iterdir()) == []
