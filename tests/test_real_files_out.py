"""Real files, what comes of them: order, time, units, ranges; nothing silent, nothing guessed."""

import shutil
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
from av.video.frame import PictureType
from PIL import Image

from bkind3d_lite.cameras import ring, save_calibration
from bkind3d_lite.clips.clip import open_clip
from bkind3d_lite.clips.survey import survey_views
from bkind3d_lite.clips.videos import Video, write_video


@pytest.fixture()
def pair(tmp_path):
    """A folder with the calibration of two cameras, cam1 and cam2, of 48 x 32 pixels."""
    rig = replace(ring(views=2, wh=(48, 32)), names=("cam1", "cam2"))
    save_calibration(rig, tmp_path / "calibration.toml")
    return tmp_path


@pytest.fixture()
def cases(shared):
    """Small inputs that stand for kinds of faults."""
    if not (shared / "cases").is_dir():
        pytest.skip("no folder 'cases' there")
    return shared / "cases"


# ---- order of frames -----------------------------------------------------------------------------
X264 = "bframes=3:b-adapt=0:scenecut=0:keyint=24:open-gop="
X265 = "bframes=3:b-adapt=0:keyint=24:open-gop=1:log-level=none:frame-threads=1:pools=none"
CODECS = {  # name: pixel format, options, suffixes
    "libx264": ("yuv420p", {"x264-params": X264 + "0"}, "mp4 mov mkv avi h264"),
    "libx264 open": ("yuv420p", {"x264-params": X264 + "1"}, "mp4 mkv avi h264"),
    "libx265": ("yuv420p", {"x265-params": X265}, "mp4 mov mkv hevc"),
    "mpeg4": ("yuv420p", {"bf": "2", "g": "12"}, "mp4 mov mkv avi"),
    "mpeg2video": ("yuv420p", {"bf": "2", "g": "12"}, "mp4 mkv avi"),
    "msmpeg4": ("yuv420p", {}, "mkv avi"),
    "wmv2": ("yuv420p", {}, "avi"),
    "mjpeg": ("yuvj420p", {}, "mp4 mov mkv avi"),
    "libvpx": ("yuv420p", {"auto-alt-ref": "1", "lag-in-frames": "16"}, "webm mkv avi"),
    "libvpx-vp9": ("yuv420p", {"auto-alt-ref": "1", "lag-in-frames": "16"}, "webm mp4 mkv avi"),
    "prores_ks": ("yuv422p10le", {}, "mov mkv"),
    "ffv1": ("yuv420p", {}, "mp4 mkv avi"),
    "huffyuv": ("yuv422p", {}, "avi"),
    "utvideo": ("yuv422p", {}, "avi"),
    "png": ("rgb24", {}, "mov avi"),
    "rawvideo": ("yuv420p", {}, "mkv avi"),
}
FILMS = [(codec, suffix) for codec, known in CODECS.items() for suffix in known[2].split()]


def film(path, images, codec):
    """Write `images` at 25 frames a second."""
    form, options, _ = CODECS[codec]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec.split()[0], rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = *images[0].shape[:2], form
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def in_order(video, barcodes, length=60):
    """All frames in a row and some by themselves are what they should be."""
    assert len(video) == length
    assert [barcodes.read(image) for image in video.read(0, length)] == list(range(length))
    places = (47, 3, 23, 24, 0, 25, 22, 59, 26, 48)
    assert [barcodes.read(video.read(t, t + 1)[0]) for t in places] == list(places)
    assert [barcodes.read(image) for image in video.read(20, 31)] == list(range(20, 31))


@pytest.mark.parametrize("codec, suffix", FILMS)
def test_frames_come_in_order_of_every_container_and_codec(tmp_path, barcodes, codec, suffix):
    video = Video(film(tmp_path / f"a.{suffix}", barcodes(60, (64, 48)), codec))
    in_order(video, barcodes)
    raw = suffix in ("h264", "hevc")
    assert video.fps == (0 if raw else 25) and (video.seconds is None) == raw
    if not raw:
        assert np.allclose(video.seconds, np.arange(60) / 25, atol=1e-3)


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_frames_come_in_order_of_packets_copied_without_their_times(tmp_path, barcodes, suffix):
    """What copying an H.264 stream out of an AVI makes: every packet stamped as it lies there."""
    source = film(tmp_path / "a.avi", barcodes(60, (64, 48)), "libx264")
    copy = tmp_path / f"copy.{suffix}"
    with av.open(str(source)) as avi, av.open(str(copy), "w") as container:
        stream = container.add_stream_from_template(avi.streams.video[0])
        for packet in avi.demux(video=0):
            if packet.size:
                packet.stream, packet.pts = stream, packet.dts
                container.mux(packet)
    in_order(Video(copy), barcodes)


def test_reordering_that_begins_late_is_noticed(tmp_path, barcodes, caplog):
    """No B-frame among the first hundred, as of a film that begins still."""
    images = [*barcodes(1, (64, 48)) * 100, *barcodes(60, (64, 48))]
    path, (form, _, _) = tmp_path / "late.avi", CODECS["libx264"]
    with av.open(str(path), "w") as container:
        options = {"x264-params": X264 + "0"}
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = 48, 64, form
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            frame.pict_type = PictureType.P if number < 100 else PictureType.NONE
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    video = Video(path)
    assert [barcodes.read(image) for image in video.read(100, 160)] == list(range(60))
    assert "late.avi" in caplog.text and "decoder's order" in caplog.text
    assert [barcodes.read(image) for image in video.read(130, 140)] == list(range(30, 40))


# ---- bit depth of stills -------------------------------------------------------------------------
def deep_image(path, samples, form):
    """Write (H, W, 3) uint16 as PNG or TIFF of 16 bits a sample, by FFmpeg."""
    encoder = av.CodecContext.create("png" if path.suffix == ".png" else "tiff", "w")
    encoder.width, encoder.height, encoder.pix_fmt = samples.shape[1], samples.shape[0], form
    encoder.framerate = 25
    grey = form.startswith("gray")
    own = samples[..., 0] if grey else samples
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(own), "gray16le" if grey else "rgb48le")
    frame = frame.reformat(format=form)
    frame.pts = 0
    path.write_bytes(b"".join(bytes(p) for p in [*encoder.encode(frame), *encoder.encode(None)]))


def ramp(bits, t=0):
    """A grey ramp up to white of so many bits, (32, 48, 3) uint16."""
    row = np.linspace(0, (1 << bits) - 1, 48).astype(np.uint16)
    return np.repeat(np.roll(np.tile(row, (32, 1)), t, 1)[..., None], 3, 2)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("form", ["gray16be", "rgb48be", "rgba64be"])
def test_deep_stills_are_scaled(pair, bits, form):
    for name in ("cam1", "cam2"):
        (pair / name).mkdir()
        for t in range(3):
            deep_image(pair / name / f"{t}.png", ramp(bits, t), form)
    frames = open_clip(pair, fps=30).frames[:].numpy().astype(int)
    for t in range(3):
        right = np.roll(np.linspace(0, 255, 48), t)
        assert np.abs(frames[t, :, :, :] - right[None, None, :, None]).max() <= 2


def test_eight_bits_among_deep_ones_and_depths_that_cannot_be(pair):
    for name in ("cam1", "cam2"):
        (pair / name).mkdir()
        deep_image(pair / name / "0.png", ramp(12), "gray16be")
        Image.fromarray((ramp(8)).astype(np.uint8)).save(pair / name / "1.png")
    frames = open_clip(pair, fps=30).frames[:].numpy().astype(int)
    assert np.abs(frames[0] - frames[1]).max() <= 2
    (pair / "cam1" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(16) + b"\x20")
    with pytest.raises(ValueError, match=r"1\.png: 32 bits a sample, at most 16"):
        open_clip(pair, fps=30).frames[:]


def test_deep_stills_of_the_cases(cases):
    frames = open_clip(cases / "stills_16bit", fps=30).frames[0].float()
    assert 60 < frames.mean() < 160 and frames.std() > 30


def test_views_that_are_white_all_over_are_said_to_be(pair):
    for name in ("cam1", "cam2"):
        write_video(pair / f"{name}.mp4", [np.full((32, 48, 3), 255, np.uint8)] * 8, 30)
    with pytest.raises(ValueError, match="cam1 is white all over.*more bits.*nothing moves"):
        survey_views(open_clip(pair))


# ---- two sources ---------------------------------------------------------------------------------
def test_two_sources_of_one_camera_are_asked_about(pair, barcodes):
    for name in ("cam1", "cam2"):
        write_video(pair / f"{name}.mp4", barcodes(4), 30)
    assert len(open_clip(pair)) == 4
    shutil.copy(pair / "cam2.mp4", pair / "cam2.mkv")
    with pytest.raises(ValueError, match=r"cam2\.mkv and cam2\.mp4 could each be cam2; keep one"):
        open_clip(pair)
    (pair / "cam2.mkv").unlink()
    (pair / "videos").mkdir()
    shutil.copy(pair / "cam1.mp4", pair / "videos" / "cam1.mp4")
    with pytest.raises(ValueError, match=r"cam1\.mp4 and videos.cam1\.mp4 could each be camera"):
        open_clip(pair)
    shutil.rmtree(pair / "videos")
    (pair / "cam1").mkdir()
    Image.new("RGB", (48, 32)).save(pair / "cam1" / "0.png")
    with pytest.raises(ValueError, match=r"cam1\.mp4 and cam1 could each be camera cam1"):
        open_clip(pair)
    (pair / "cam1.mp4").unlink()
    (pair / "cam2.mp4").unlink()
    (pair / "cam2").mkdir()
    for name in ("0.png", "0.jpg"):
        Image.new("RGB", (48, 32)).save(pair / "cam2" / name)
    with pytest.raises(ValueError, match=r"cam2: 0\.jpg and 0\.png could each be 0"):
        open_clip(pair, fps=30)


def test_two_sources_of_the_cases(cases):
    with pytest.raises(ValueError, match=r"cam1\.avi and cam1\.mp4 could each be cam1"):
        open_clip(cases / "two_files_one_camera")
