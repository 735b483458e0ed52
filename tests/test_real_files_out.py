"""Real files, what comes of them: order, time, units, ranges; nothing silent, nothing guessed."""

import math
import re
import shutil
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from av.video.frame import PictureType
from PIL import Image
from scipy.io import loadmat

from bkind3d_lite.__main__ import main
from bkind3d_lite.cameras import ring, save_calibration
from bkind3d_lite.clips import Skeleton, Track
from bkind3d_lite.clips.clip import open_clip
from bkind3d_lite.clips.exports import EXPORTS, export, read_track
from bkind3d_lite.clips.image_tracks import Track2D
from bkind3d_lite.clips.survey import survey_views
from bkind3d_lite.clips.videos import Video, write_video
from bkind3d_lite.progress import progress
from bkind3d_lite.recipes import Recipe, write_recipe
from bkind3d_lite.recipes.presets import PRESETS, PURPOSES, RECIPES
from bkind3d_lite.recipes.ranges import RANGES
from bkind3d_lite.recipes.sections import leaves
from bkind3d_lite.workflows.arguments import command_parser
from bkind3d_lite.workflows.doctor import Diagnosis
from bkind3d_lite.workflows.doctor_page import page_place, write_page
from bkind3d_lite.workflows.quickstart import quickstart
from bkind3d_lite.workflows.track_run import track_folder
from bkind3d_lite.workflows.train_run import train_folder
from bkind3d_lite.workflows.usage import EXAMPLES


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
    "libx264": ("yuv420p", {"x264-params": X264 + "0"}, "mp4 mov mkv avi ts wmv mxf h264"),
    "libx264 open": ("yuv420p", {"x264-params": X264 + "1"}, "mp4 mkv avi mts h264"),
    "libx265": ("yuv420p", {"x265-params": X265}, "mp4 mov mkv m2ts hevc"),
    "mpeg4": ("yuv420p", {"bf": "2", "g": "12"}, "mp4 mov mkv avi ts wmv"),
    "mpeg2video": ("yuv420p", {"bf": "2", "g": "12"}, "mp4 mkv avi ts mpg mxf"),
    "msmpeg4": ("yuv420p", {}, "mkv avi wmv"),
    "wmv2": ("yuv420p", {}, "avi wmv"),
    "mjpeg": ("yuvj420p", {}, "mp4 mov mkv avi"),
    "libvpx": ("yuv420p", {"auto-alt-ref": "1", "lag-in-frames": "16"}, "webm mkv avi"),
    "libvpx-vp9": ("yuv420p", {"auto-alt-ref": "1", "lag-in-frames": "16"}, "webm mp4 mkv avi"),
    "prores_ks": ("yuv422p10le", {}, "mov mkv mxf"),
    "ffv1": ("yuv420p", {}, "mp4 mkv avi wmv mxf"),
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


def test_a_deep_bigtiff_is_refused_by_name(pair):
    for name in ("cam1", "cam2"):
        (pair / name).mkdir()
        for t in range(2):
            path = pair / name / f"{t}.tif"
            Image.fromarray(ramp(12, t)[..., 0]).save(path, big_tiff=True)
            assert path.read_bytes()[:4] == b"II+\0"
    with pytest.raises(ValueError, match=r"0\.tif: a BigTIFF of 16 bits.*16-bit PNG"):
        open_clip(pair, fps=30).frames[0]


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


def test_of_two_calibrations_the_one_that_is_read_is_named(pair, barcodes, caplog):
    for name in ("cam1", "cam2"):
        write_video(pair / f"{name}.mp4", barcodes(4), 30)
    open_clip(pair)
    assert not caplog.text
    (pair / "calibration.json").write_text("{}")
    open_clip(pair)
    assert "calibration.toml is read, not calibration.json" in caplog.text
    shutil.copy(pair / "calibration.toml", pair / "calib_b.toml")
    (pair / "calibration.toml").rename(pair / "calib_a.toml")
    with pytest.raises(ValueError, match=r"calib_a\.toml, calib_b\.toml could each be"):
        open_clip(pair)


def test_two_sources_of_the_cases(cases):
    with pytest.raises(ValueError, match=r"cam1\.avi and cam1\.mp4 could each be cam1"):
        open_clip(cases / "two_files_one_camera")


# ---- time ----------------------------------------------------------------------------------------
@pytest.fixture()
def tracked_clip():
    """What tracking makes of a clip, with keypoints that are where they are."""

    def tracked(clip):
        world = torch.arange(len(clip)).float()[:, None, None].expand(-1, 2, 3) + torch.ones(2, 3)
        skeleton = Skeleton(("nose", "tail"), ((0, 1),))
        about = dict(fps=clip.fps, unit="mm", **clip.clock)
        return Track(world, torch.ones(len(clip), 2), skeleton, **about)

    return tracked


def stalling(path, images, ticks):
    """A film whose frames are shown at these hundredths of a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=100)
        stream.height, stream.width, stream.pix_fmt = *images[0].shape[:2], "yuv420p"
        stream.codec_context.time_base = Fraction(1, 100)
        for tick, image in zip(ticks, images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = int(tick), Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def everywhere(track, folder):
    """Frame numbers and times as every file that has a place for them says them."""
    said = {}
    head, *rows = [r.split(",") for r in track.save(folder / "k.csv").read_text().splitlines()]
    assert head[:2] == ["frame", "time_s"]
    said["csv"] = [int(r[0]) for r in rows], [float(r[1]) for r in rows]
    back = read_track(track.save(folder / "k.npz"))
    said["npz"] = back.clock["numbers"].tolist(), back.clock["seconds"].tolist()
    files = {path.name: path for path in export(back, folder)}
    rows = [r.split(",") for r in files["keypoints_anipose.csv"].read_text().splitlines()]
    said["anipose"] = [int(r[-1]) for r in rows[1:]], None
    rows = files["keypoints_deeplabcut.csv"].read_text().splitlines()[3:]
    said["deeplabcut"] = [int(r.split(",")[0]) for r in rows], None
    rows = [r.split("\t") for r in files["keypoints.trc"].read_text().splitlines()[5:]]
    said["trc"] = [int(r[0]) for r in rows], [float(r[1]) for r in rows]
    mat = loadmat(files["save_data_AVG.mat"])
    said["dannce"] = mat["sampleID"][0].tolist(), mat["time"][0].tolist()
    if "points3d.h5" in files:
        import h5py

        with h5py.File(files["points3d.h5"]) as file:
            said["sleap"] = file["frame_numbers"][:].tolist(), file["times"][:].tolist()
    if "keypoints_movement.nc" in files:
        import xarray

        data = xarray.load_dataset(files["keypoints_movement.nc"], engine="h5netcdf")
        said["movement"] = None, data.time.values.tolist()
    if "keypoints_deeplabcut.h5" in files:
        import pandas

        said["deeplabcut-h5"] = (
            pandas.read_hdf(files["keypoints_deeplabcut.h5"]).index.tolist(),
            None,
        )
    if "keypoints.nwb" in files:
        import pynwb

        with pynwb.NWBHDF5IO(str(files["keypoints.nwb"]), "r", load_namespaces=True) as io:
            series = io.read().processing["behavior"]["PoseEstimation"]["nose"]
            stamps = series.timestamps
            even = np.arange(len(rows)) / (series.rate or 1) + (series.starting_time or 0)
            said["nwb"] = None, (even if stamps is None else stamps[:]).tolist()
    return said


def check_everywhere(track, folder, numbers, seconds):
    for name, (frames, times) in everywhere(track, folder).items():
        assert frames is None or frames == list(numbers), name
        assert times is None or np.allclose(times, seconds, atol=1e-4), name


@pytest.mark.parametrize(
    ("numbers", "starts"), [([100, 101, 102, 500, 501], (0, 3)), ([0, 1, 100, 101, 200], (0, 2, 4))]
)
def test_numbers_and_times_of_stills_travel(pair, barcodes, tracked_clip, numbers, starts):
    for name in ("cam1", "cam2"):
        (pair / name).mkdir()
        for n in (*numbers, 600 if name == "cam1" else 700):
            Image.new("RGB", (48, 32)).save(pair / name / f"img_{n:06d}.jpg")
    clip = open_clip(pair, fps=30)
    assert clip.starts == starts
    check_everywhere(tracked_clip(clip), pair / "out", numbers, np.array(numbers) / 30)
    later = clip.at([1, 2, 4])
    those = np.array(numbers)[[1, 2, 4]]
    check_everywhere(tracked_clip(later), pair / "later", those.tolist(), those / 30)


def test_times_of_a_film_that_stalls_travel(pair, barcodes, tracked_clip):
    ticks = np.array([0, 4, 8, 12, 62, 66, 70, 120, 124, 128])
    for name in ("cam1", "cam2"):
        stalling(pair / f"{name}.mp4", barcodes(10), ticks)
    clip = open_clip(pair)
    assert clip.fps == pytest.approx(25)
    check_everywhere(tracked_clip(clip), pair / "out", range(10), ticks / 100)
    slow = open_clip(pair, fps=2.5)
    assert torch.allclose(slow.seconds, torch.tensor(ticks / 10), atol=1e-6), "as the user says"


def test_numbers_with_offsets_and_common_stretches(pair, barcodes, tracked_clip):
    write_video(pair / "cam1.mp4", barcodes(12), 30)
    write_video(pair / "cam2.mp4", barcodes(9), 30)
    clip = open_clip(pair, offsets={"cam2": -2}, common=True)
    assert [barcodes.read(x) for x in clip.frames[0]] == [2, 0]
    check_everywhere(tracked_clip(clip), pair / "a", range(2, 11), np.arange(2, 11) / 30)
    clip = open_clip(pair, common=True)
    check_everywhere(tracked_clip(clip), pair / "b", range(9), np.arange(9) / 30)


def test_times_of_the_cases(cases, tracked_clip, tmp_path):
    clip = open_clip(cases / "time_of_the_track", fps=30)
    numbers = np.array([*range(100, 104), *range(500, 504)])
    check_everywhere(tracked_clip(clip), tmp_path, numbers, numbers / 30)


def test_older_tracks_are_read(tracked_clip, clip, tmp_path):
    path = tracked_clip(clip).save(tmp_path / "k.npz")
    with np.load(path) as data:
        np.savez(path, **{key: data[key] for key in data if key not in ("frame", "time")})
    old = read_track(path)
    assert old.clock["numbers"].tolist() == list(range(len(clip)))
    assert old.clock["seconds"][3] == pytest.approx(3 / clip.fps)


# ---- two frame rates -----------------------------------------------------------------------------
def test_two_frame_rates_are_named_and_resampled_by_time(pair, barcodes):
    write_video(pair / "cam1.mp4", barcodes(10), 25)
    write_video(pair / "cam2.mp4", barcodes(20), 50)
    for common in (False, True):
        with pytest.raises(ValueError, match=r"cam1 25, cam2 50.*--resample") as error:
            open_clip(pair, common=common)
        assert "--common" not in str(error.value)
    clip = open_clip(pair, resample=True)
    shown = [[barcodes.read(x) for x in clip.frames[t]] for t in range(len(clip))]
    assert clip.fps == 25 and shown == [[t, 2 * t] for t in range(10)]
    clip = open_clip(pair, resample=True, offsets={"cam2": 6})
    shown = [[barcodes.read(x) for x in clip.frames[t]] for t in range(len(clip))]
    assert shown == [[t, 2 * t + 6] for t in range(7)]
    assert all(film.fps == 25 for film in clip.frames.videos)


def test_equally_long_films_of_two_rates(pair, barcodes):
    write_video(pair / "cam1.mp4", barcodes(10), 25)
    write_video(pair / "cam2.mp4", barcodes(10), 30)
    with pytest.raises(ValueError, match="two frame rates.*--fps"):
        open_clip(pair)
    assert len(open_clip(pair, fps=25)) == 10, "the user says that headers are wrong"
    clip = open_clip(pair, resample=True)
    shown = [[barcodes.read(x) for x in clip.frames[t]] for t in range(len(clip))]
    assert shown[:5] == [[0, 0], [1, 1], [2, 2], [3, 4], [4, 5]], "nearest in time"


def test_a_camera_that_stalls_shows_nothing_then(pair, barcodes):
    stalling(pair / "cam1.mp4", barcodes(10), np.arange(10) * 4)
    stalling(pair / "cam2.mp4", barcodes(12), [*range(0, 12, 2), *range(24, 36, 2)])
    clip = open_clip(pair, resample=True)
    shown = [[barcodes.read(x) for x in clip.frames[t]] for t in range(len(clip))]
    assert shown == [[0, 0], [1, 2], [2, 4], [6, 6], [7, 8], [8, 10]]
    assert clip.numbers.tolist() == [0, 1, 2, 6, 7, 8] and clip.starts == (0, 3)


def test_two_frame_rates_of_the_cases(cases):
    with pytest.raises(ValueError, match="cam1 30, cam3 60, cam5 30"):
        open_clip(cases / "two_frame_rates", common=True)
    assert len(open_clip(cases / "two_frame_rates", resample=True)) == 20


# ---- units, names and libraries of exports -------------------------------------------------------
@pytest.mark.parametrize(
    "unit, word, factor",
    [("meters", "m", 1), ("Millimetres", "mm", 1), ("cm", "cm", 1), ("inch", "mm", 25.4)],
)
def test_trc_says_its_unit(tracked_clip, clip, tmp_path, unit, word, factor):
    track = replace(tracked_clip(clip), unit=unit)
    lines = export(track, tmp_path, ["trc"])[0].read_text().splitlines()
    assert lines[2].split("\t")[4] == word
    assert float(lines[6].split("\t")[2]) == pytest.approx(2 * factor)


def test_trc_of_an_unknown_unit_is_refused_until_it_is_told(tracked_clip, clip, tmp_path, caplog):
    track = replace(tracked_clip(clip), unit="unknown")
    with pytest.raises(
        ValueError, match=r"keypoints\.trc: the track's unit is 'unknown'.*--unit mm"
    ):
        export(track, tmp_path, ["trc"])
    assert not (tmp_path / "keypoints.trc").exists()
    names = {path.name for path in export(track, tmp_path)}
    assert "keypoints_anipose.csv" in names and "keypoints.trc" not in names
    assert "not written" in caplog.text
    assert export(track, tmp_path, ["trc"], unit="cm")[0].read_text().splitlines()[2].count("cm")


def test_units_and_names_of_the_cases(cases, tmp_path):
    track = read_track(cases / "trc_unit" / "keypoints.npz")
    assert export(track, tmp_path, ["trc"])[0].read_text().splitlines()[2].split("\t")[4] == "m"
    track = read_track(cases / "names_not_ascii" / "keypoints.npz")
    pytest.importorskip("h5py", reason="h5py is not installed")
    check_names(track, tmp_path)


def check_names(track, folder):
    import h5py

    export(track, folder, ["sleap-anipose"])
    with h5py.File(folder / "points3d.h5") as file:
        assert [name.decode() for name in file["node_names"][:]] == list(track.skeleton.names)


def test_names_beyond_ascii_are_written_everywhere(tracked_clip, clip, tmp_path, caplog):
    pytest.importorskip("h5py", reason="h5py is not installed")
    names = ("Pfötchen µ", "鼻先")
    track = tracked_clip(clip)
    track = replace(track, skeleton=replace(track.skeleton, names=names))
    check_names(track, tmp_path)
    home = tmp_path / "Größe 鼠"
    files = {path.name: path for path in export(track, home)}
    assert len(files) + caplog.text.count("not written") == len(EXPORTS)
    assert "codec" not in caplog.text
    assert "鼻先" in files["keypoints.trc"].read_text(encoding="utf-8")
    assert read_track(track.save(home / "k.npz")).skeleton.names == names


def test_what_can_be_written_is_and_the_rest_is_named(
    tracked_clip, clip, tmp_path, monkeypatch, caplog
):
    import bkind3d_lite.clips.exports.binary as binary

    def absent(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(binary.importlib, "import_module", absent)
    written = {path.name for path in export(tracked_clip(clip), tmp_path / "all")}
    assert {"keypoints_anipose.csv", "keypoints.trc", "save_data_AVG.mat"} <= written
    assert "keypoints.nwb: writing it needs pynwb; pip install pynwb ndx-pose" in caplog.text
    assert "points3d.h5: writing it needs h5py; pip install h5py " in caplog.text
    with pytest.raises(ValueError, match=r"nwb.*needs pynwb.*; .*points3d.*needs h5py"):
        export(tracked_clip(clip), tmp_path / "some", ["nwb", "sleap-anipose", "trc"])
    assert [path.name for path in (tmp_path / "some").iterdir()] == ["keypoints.trc"]


def test_numbers_times_and_names_of_tracks_in_an_image_travel(tmp_path):
    numbers, seconds = torch.tensor([7, 8, 20]), torch.tensor([0.7, 0.8, 2.5]).double()
    skeleton = Skeleton(("Pfötchen", "鼻先"), ((0, 1),))
    track = Track2D(
        px=torch.rand(3, 2, 2),
        confidence=torch.ones(3, 2),
        skeleton=skeleton,
        fps=10.0,
        wh=(48, 32),
        numbers=numbers,
        seconds=seconds,
    )
    back = read_track(track.save(tmp_path / "k.npz"))
    assert torch.equal(back.numbers, numbers) and torch.equal(back.seconds, seconds)
    rows = [r.split(",")[:2] for r in track.save(tmp_path / "k.csv").read_text().splitlines()[1:]]
    assert rows == [["7", "0.7000"], ["8", "0.8000"], ["20", "2.5000"]]
    assert torch.equal(track.on_plane().at([2]).seconds, seconds[2:])
    files = {path.name: path for path in export(back, tmp_path)}
    rows = files["keypoints_deeplabcut.csv"].read_text(encoding="utf-8").splitlines()[3:]
    assert [r.split(",")[0] for r in rows] == ["7", "8", "20"]
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    with h5py.File(files["keypoints_sleap.analysis.h5"]) as file:
        assert [n.decode() for n in file["node_names"][:]] == list(skeleton.names)
        assert file["frame_numbers"][:].tolist() == [7, 8, 20]
    xarray = pytest.importorskip("xarray", reason="xarray is not installed")
    data = xarray.load_dataset(files["keypoints_movement.nc"], engine="h5netcdf")
    assert np.allclose(data.time, seconds)


# ---- ranges --------------------------------------------------------------------------------------
def test_every_number_of_a_recipe_has_a_range_and_every_preset_is_inside():
    numbers = {
        key
        for key, (_, leaf) in leaves().items()
        if re.search(r"\b(int|float)\b", str(leaf.type).split("Literal")[0])
    }
    assert numbers == set(RANGES)
    assert set(PURPOSES) == {recipe.name for recipe in PRESETS}, "a line of --help each"


@pytest.mark.parametrize("key", sorted(RANGES))
def test_numbers_outside_are_one_sentence(key):
    recipe, allowed = RECIPES["quick"], RANGES[key]
    value = recipe.flat()[key]
    kind = float if "float" in str(leaves()[key][1].type) else int
    few = {"image_wh": 2, "centre": 3}.get(key, 1)
    listed = isinstance(value, tuple) or key in ("centre", "decoder_widths", "sigmas")
    outside = [allowed.least - 1, allowed.most * 2]
    outside += [math.nan, math.inf, -math.inf] if kind is float else []
    outside += [allowed.least] if allowed.above else []
    for number in map(kind, outside):
        with pytest.raises(
            ValueError, match=f"{key} = .*; expected .*{re.escape(f'{allowed.least:g}')}"
        ):
            recipe.with_(**{key: (number,) * few if listed else number})


def test_numbers_that_do_not_fit_together():
    with pytest.raises(ValueError, match="voxels = 20; expected a multiple of 16.*v2v_levels = 4"):
        RECIPES["lean"].with_(voxels=20)
    with pytest.raises(ValueError, match="near = 5.0; expected less than far = 3.0"):
        RECIPES["quick"].with_(near=5.0, far=3.0)


WRONG = [
    (["--set", "keypoints=0"], "keypoints = 0; expected from 2"),
    (["--set", "voxels=0"], "voxels = 0; expected from 4"),
    (["--set", "size=[0,0]"], r"image_wh = \[0, 0\]; expected from 16"),
    (["--set", "views=99"], "views_per_step = 99; expected from 1 to 64"),
    (["--set", "gaps=[0.1, -0.1]"], r"gaps = \[0.1, -0.1\]; expected above 0"),
    (["--set", "learning_rate=nan"], "learning_rate = nan; expected above 0"),
    (["--steps", "-3"], "--steps: -3: expected a whole number at least 1"),
    (["--memory", "0"], "--memory: 0: expected a number from 0.1"),
    (["--frames", "1"], "--frames: 1: expected a whole number at least 2"),
    (["--seed", "-1"], "--seed: -1: expected"),
    (["--fps", "nan"], "--fps: nan: expected a number above 0"),
    (["--checkpoint-every", "0"], "--checkpoint-every: 0: expected"),
    (["--pictures-every", "x"], "--pictures-every: x is not a whole number"),
]


@pytest.mark.parametrize("words, said", WRONG, ids=[" ".join(words) for words, _ in WRONG])
def test_wrong_values_are_said_before_anything_is_opened(tmp_path, capsys, words, said):
    command = ["train", "--clip", str(tmp_path / "nowhere"), "--recipe", "quick"]
    command += ["--out", str(tmp_path / "run"), *words]
    try:
        status = main(command)
    except SystemExit as stop:
        status = stop.code
    out = capsys.readouterr()
    assert status and re.search(said, out.err) and out.err.count("\n") == 1
    assert "nowhere" not in out.err and not (tmp_path / "run").exists()


def test_wrong_values_of_functions(tmp_path):
    with pytest.raises(ValueError, match="steps = -3; expected at least 1"):
        train_folder(tmp_path / "nowhere", "quick", tmp_path / "run", steps=-3)
    with pytest.raises(ValueError, match="steps = 0; expected at least 1"):
        quickstart(steps=0, out=tmp_path / "run")
    with pytest.raises(ValueError, match="checkpoint_every = 0; expected at least 1"):
        train_folder(tmp_path / "nowhere", "quick", tmp_path / "run", checkpoint_every=0)
    with pytest.raises(ValueError, match="turns = 0; expected from 1"):
        track_folder(tmp_path / "c", tmp_path / "nowhere", tmp_path / "run", turns=0)


# ---- where results go ----------------------------------------------------------------------------
def test_a_bad_place_for_results_is_found_before_anything_is_opened(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    for out, why in (("file/run", "is not a folder"), ("x" * 300, "is too long")):
        for verb in (
            ["train", "--clip", "nowhere", "--recipe", "quick"],
            ["track", "--clip", "nowhere", "--checkpoint", "c"],
            ["evaluate", "--train", "nowhere", "--test", "nowhere", "--checkpoint", "c"],
            ["quickstart"],
            ["figures", "--clip", "nowhere", "--checkpoint", "c"],
        ):
            assert main([*verb, "--out", str(tmp_path / out)]) == 1
            said = capsys.readouterr().err
            assert why in said and "choose another place" in said, verb
    assert main(["doctor", "nowhere", "--out", str(tmp_path / "file" / "page.html")]) == 1
    assert "is not a folder" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["file"], "nothing is left"


def test_a_refused_run_leaves_no_folder(pair, barcodes, tmp_path, capsys):
    for name in ("cam1", "cam2"):
        write_video(pair / f"{name}.mp4", barcodes(5), 30)
    out = tmp_path / "runs" / "mine"
    command = ["train", "--clip", str(pair), "--recipe", "quick", "--out", str(out)]
    assert main(command) == 1
    assert "a gap of 12 frames needs more than the clip's 5" in capsys.readouterr().err
    assert not out.exists() and not out.parent.exists()


def test_the_doctors_page_is_called_after_the_recording(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = tmp_path / "a" / "monday", tmp_path / "b" / "monday"
    here = write_page(Diagnosis(str(first)), page_place(first))
    assert here.name == "doctor_monday.html" and page_place(first) == here, "its own is renewed"
    assert page_place(second).name == "doctor_monday_2.html"
    (tmp_path / "run").mkdir()
    page = write_page(Diagnosis(str(first)), page_place(first, "run"))
    assert page.resolve() == tmp_path / "run" / "doctor.html"
    assert page_place(first, "run/doctor.html") == page
    for other in ("run", "run/doctor.html"):
        with pytest.raises(ValueError, match="not the page of .*monday; choose another --out"):
            page_place(second, other)
    (tmp_path / "notes.html").write_text("mine")
    with pytest.raises(ValueError, match="notes.html: is there already"):
        page_place(first, "notes.html")


def test_a_finished_run_says_how_to_go_on(folder, tmp_path, caplog):
    folder, _ = folder
    caplog.set_level("INFO", "bkind3d_lite")
    small = Recipe("small").with_(keypoints=4, voxels=8, image_wh=(32, 32), gaps=(0.1,))
    small = small.with_(encoder_width=4, channels=4, v2v_width=4, decoder_width=4)
    recipe = write_recipe(small.with_(side=900.0, centre=(0.0, 0.0, 300.0)), tmp_path / "r.toml")
    how = dict(force=True, pictures_every=0)
    train_folder(folder, str(recipe), tmp_path / "run", steps=2, **how)
    before = (tmp_path / "run" / "losses.csv").read_text()
    caplog.clear()
    run = train_folder(folder, None, tmp_path / "run", resume=True)
    assert run.step == 2 and "complete after 2 steps; raise --steps to go on" in caplog.text
    assert "looking at" not in caplog.text, "nothing is looked at for that"
    assert (tmp_path / "run" / "losses.csv").read_text() == before
    assert train_folder(folder, None, tmp_path / "run", resume=True, steps=3).step == 3


def test_help_has_examples_and_presets(capsys):
    for verb in EXAMPLES:
        with pytest.raises(SystemExit):
            command_parser().parse_args([verb, "--help"])
        said = capsys.readouterr().out
        assert all(f"bkind3d {line}" in said for line in EXAMPLES[verb]), verb
        assert verb == "train" or "quick-rat" not in said
        if verb == "train":
            assert all(f"  {name} " in said for name in PURPOSES)
    parser = command_parser()
    for lines in EXAMPLES.values():
        assert len(lines) == 2
        for line in lines:
            parser.parse_args(line.split())


def test_progress_is_a_line_a_minute_where_nobody_watches(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    with progress(total=600, desc="training", unit="step") as bar:
        bar._time = lambda: now[0]
        for _ in range(600):
            now[0] += 0.5
            bar.update()
    lines = capsys.readouterr().err.splitlines()
    assert 5 <= len(lines) <= 7 and all(line.startswith("training: ") for line in lines)
    assert lines[-1].startswith("training: 600 of 600 steps") and "\r" not in "".join(lines)


def test_errors_say_what_was_expected(tmp_path, capsys, folder):
    folder, checkpoint = folder[0], tmp_path / "nowhere"
    track = ["track", "--clip", str(folder), "--out", str(tmp_path / "out")]
    for words, said in (
        ([*track, "--checkpoint", str(checkpoint)], "nowhere: no checkpoint here; expected a"),
        ([*track, "--checkpoint", "c", "--edits", "no.toml"], r"no\.toml: no such file; expected"),
        ([*track, "--checkpoint", "c", "--device", "gpu"], "device = gpu: expected auto, cpu"),
        (["export", str(tmp_path / "k.npz")], r"k\.npz: no track here; expected the keypoints"),
    ):
        assert main(words) == 1
        err = capsys.readouterr().err
        assert re.search(said, err) and err.count("\n") == 1 and "Errno" not in err
    assert not (tmp_path / "out").exists()
