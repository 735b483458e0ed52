"""Broken copies of a good recording on disk: of each the doctor names what is wrong with it."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from bkind3d_lite.calibrations import load_calibration
from bkind3d_lite.cameras import save_calibration
from bkind3d_lite.clips.rig_checks import FAIL, PASS, WARN
from bkind3d_lite.clips.synthetic import draw, figure, poses
from bkind3d_lite.clips.videos import Video, write_video
from bkind3d_lite.workflows.doctor import examine

FRAMES = 90


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """The synthetic figure walking in a loop: four videos, calibration, truth and marks."""
    folder, still, T = tmp_path_factory.mktemp("good"), figure(FRAMES, views=4), FRAMES
    angle = 2.2 * torch.linspace(0, 3.5, T) + torch.linspace(0, 9, T).sin()
    joints = (
        poses(T)
        + 130 * torch.stack([angle.cos(), angle.sin(), 0.2 * (2 * angle).sin()], -1)[:, None]
    )
    for v, (name, frames) in enumerate(zip(still.rig.names, draw(still.rig, joints).unbind(1))):
        write_video(folder / f"{name}.mp4", frames.numpy(), 30, crf=8)
    save_calibration(still.rig, folder / "calibration.toml")
    seen = (
        still.rig.px_from_world(joints)
        - 0.5
        + 0.2 * torch.randn(T, 4, joints.shape[1], 2, generator=torch.Generator().manual_seed(0))
    )
    np.savez(
        folder / "truth.npz",
        positions=joints.numpy(),
        names=np.array(still.skeleton.names),
        edges=np.array(still.skeleton.edges),
        marks=seen.numpy(),
    )
    return folder


# ---- what goes wrong -----------------------------------------------------------------------------
def rig(change):
    """Write the calibration again, changed."""

    def broken(folder):
        found = load_calibration(folder / "calibration.toml")
        save_calibration(change(found), folder / "calibration.toml")

    return broken


def text(old, new):
    """Other words in the calibration, by a pattern."""

    def broken(folder):
        path = folder / "calibration.toml"
        said = path.read_text()
        path.write_text(re.sub(old, new, said, count=1))
        assert path.read_text() != said

    return broken


def film(name, change, fps=30):
    """Encode a video again, its frames (T, H, W, 3) changed."""

    def broken(folder):
        video = Video(folder / name)
        write_video(folder / name, change(video.read(0, len(video))), fps, crf=8)

    return broken


def known(**changes):
    """Other values in truth.npz."""

    def broken(folder):
        with np.load(folder / "truth.npz") as data:
            values = dict(data)
        np.savez(
            folder / "truth.npz",
            **values | {key: change(values[key]) for key, change in changes.items()},
        )

    return broken


def every(*steps):
    def broken(folder):
        for step in steps:
            step(folder)

    return broken


def cut(folder):
    data = (folder / "cam1.mp4").read_bytes()
    (folder / "cam1.mp4").write_bytes(data[: 2 * len(data) // 3])


def exchanged(folder):
    (
        (folder / "cam0.mp4").rename(folder / "x.mp4"),
        (folder / "cam3.mp4").rename(folder / "cam0.mp4"),
        (folder / "x.mp4").rename(folder / "cam3.mp4"),
    )


def larger(r, s):
    return replace(r, K=r.K * torch.tensor([[s], [s], [1.0]]))


def moved(K, by):
    K = K.clone()
    K[:, :2, 2] += by
    return K


FLIP = torch.diag(torch.tensor([1.0, -1, -1]))
WITHOUT_TRUTH = lambda folder: (folder / "truth.npz").unlink()  # noqa: E731
CASES = {  # what is done: (how, the check that tells, its state, what it says)
    "transposed rotations": (
        rig(lambda r: replace(r, R=r.R.mT)),
        "agreement",
        FAIL,
        "the rotations are transposed",
    ),
    "camera centres for translations": (
        rig(lambda r: replace(r, t=r.centres)),
        "agreement",
        FAIL,
        "the translations are camera centres",
    ),
    "camera to world": (
        rig(lambda r: replace(r, R=r.R.mT, t=r.centres)),
        "agreement",
        FAIL,
        "the poses are camera to world",
    ),
    "OpenGL axes": (
        rig(lambda r: replace(r, R=FLIP @ r.R, t=r.t @ FLIP)),
        "agreement",
        FAIL,
        "OpenGL's convention",
    ),
    "metres for millimetres": (
        rig(lambda r: replace(r, t=r.t / 1000)),
        "unit",
        FAIL,
        "that fits m, not mm",
    ),
    "calibrated at twice the size": (
        rig(lambda r: larger(r, 2.0)),
        "agreement",
        FAIL,
        "images 2 x as large as these",
    ),
    "calibrated at half the size": (
        rig(lambda r: larger(r, 0.5)),
        "agreement",
        FAIL,
        "images 0.5 x as large as these",
    ),
    "swapped cameras": (
        rig(lambda r: replace(r.take([1, 0, 2, 3]), names=r.names)),
        "agreement",
        FAIL,
        "cameras cam0 and cam1 are swapped",
    ),
    "swapped videos": (exchanged, "agreement", FAIL, "cameras cam0 and cam3 are swapped"),
    "mirrored video": (
        film("cam1.mp4", lambda x: x[:, :, ::-1]),
        "agreement",
        FAIL,
        "the video of cam1 is mirrored",
    ),
    "video upside down": (
        film("cam3.mp4", lambda x: x[:, ::-1, ::-1]),
        "agreement",
        FAIL,
        "the video of cam3 is upside down",
    ),
    "shifted time": (
        every(
            film("cam2.mp4", lambda x: np.concatenate([x[:1].repeat(11, 0), x[:-11]])),
            WITHOUT_TRUTH,
        ),
        "agreement",
        FAIL,
        "cam2 runs 11 frames late: read it so many frames later: --offset cam2=11",
    ),
    "1-based pixels in the calibration": (
        rig(lambda r: replace(r, K=moved(r.K, 1.0))),
        "marks",
        WARN,
        "the calibration counts pixels from 1",
    ),
    "1-based pixels in the labels": (
        known(marks=lambda m: m + 1),
        "marks",
        WARN,
        "the marks count pixels from 1",
    ),
    "corners for centres of pixels": (
        rig(lambda r: replace(r, K=moved(r.K, 0.5))),
        "marks",
        WARN,
        "subtract 0.5 from cx and cy",
    ),
    "labels in metres": (
        known(positions=lambda p: p / 1000),
        "truth",
        FAIL,
        "the points' unit is 1000 x the calibration's",
    ),
    "labels with y up": (
        known(positions=lambda p: p[..., [0, 2, 1]] * [1, 1, -1]),
        "truth",
        FAIL,
        "the points' axes are x, z, -y of the calibration's",
    ),
    "labels of other frames": (
        known(positions=lambda p: np.roll(p, 25, 0), marks=lambda m: m * np.nan),
        "truth",
        FAIL,
        r"the points are 2[456] frames late",
    ),
    "truncated video": (
        cut,
        "files",
        FAIL,
        r"cam1.mp4 promises 90 and shows \d\d: it is truncated",
    ),
    "missing camera": (
        lambda folder: (folder / "cam2.mp4").unlink(),
        "files",
        FAIL,
        "no video for camera cam2",
    ),
    "a video too many": (
        lambda folder: shutil.copy(folder / "cam0.mp4", folder / "extra.mp4"),
        "files",
        FAIL,
        "video extra.mp4 has no camera",
    ),
    "wrong image size": (
        film("cam0.mp4", lambda x: x[:, :, :72]),
        "files",
        FAIL,
        r"72 x 64 pixels, but",
    ),
    "cut at the end": (
        film("cam0.mp4", lambda x: x[:-7]),
        "files",
        FAIL,
        "differ in frames: {'cam0.mp4': 83",
    ),
    "another frame rate": (
        film("cam1.mp4", lambda x: x, 25),
        "files",
        FAIL,
        "two frame rates (cam0 30, cam1 25, cam2 30, cam3 30 frames per second)",
    ),
    "not a video": (
        lambda folder: (folder / "cam1.mp4").write_text("hello"),
        "files",
        FAIL,
        "cam1.mp4: not a readable video",
    ),
    "mirrored axes": (
        text(
            r"rotation = \[[^]]*\]",
            "rotation = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, -1.0]]",
        ),
        "files",
        FAIL,
        "is not a rotation",
    ),
    "fisheye": (
        text("distortions", "fisheye = true\ndistortions"),
        "files",
        FAIL,
        "fisheye = true is not supported",
    ),
    "two calibrations": (
        lambda folder: (
            shutil.copy(folder / "calibration.toml", folder / "Calib_old.toml")
            and (folder / "calibration.toml").rename(folder / "Calib_new.toml")
        ),
        "files",
        FAIL,
        "Calib_new.toml, Calib_old.toml could each be the calibration",
    ),
    "a camera that was pushed": (
        film("cam3.mp4", lambda x: np.concatenate([x[:45], np.roll(x[45:], 9, 1)])),
        "background",
        WARN,
        "cam3",
    ),
    "nothing moves": (
        every(*(film(f"cam{v}.mp4", lambda x: x[:1].repeat(FRAMES, 0)) for v in range(4))),
        "motion",
        FAIL,
        "nothing moves here",
    ),
}


def test_the_good_one_passes(good):
    found = examine(good)
    # of three seconds, too little is walked
    assert {c.name for c in found.checks if c.state != PASS} == {"heading"}, found.text()
    assert {c.name for c in found.checks} >= {
        "files",
        "time",
        "lenses",
        "unit",
        "ring",
        "background",
        "motion",
        "agreement",
        "truth",
        "marks",
    }


def test_there_are_at_least_fifteen():
    assert len(CASES) >= 15


@pytest.mark.parametrize("case", CASES)
def test_a_broken_copy_is_named(good, tmp_path, case):
    broken, name, state, words = CASES[case]
    folder = shutil.copytree(good, tmp_path / "clip")
    broken(folder)
    found = examine(folder, plan=False)
    check = next((c for c in found.checks if c.name == name), None)
    assert (
        check is not None
        and check.state == state
        and (words in (told := f"{check.finding} {check.remedy}") or re.search(words, told))
    ), found.text()
