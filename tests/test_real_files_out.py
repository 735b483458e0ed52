"""Real files, what comes of them: order, time, units, ranges; nothing silent, nothing guessed."""

import shutil
from dataclasses import replace

import av
import numpy as np
import pytest
from PIL import Image

from bkind3d_lite.cameras import ring, save_calibration
from bkind3d_lite.clips.clip import open_clip
from bkind3d_lite.clips.survey import survey_views
from bkind3d_lite.clips.videos import write_video


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
