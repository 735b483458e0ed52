"""Small things that several test files share."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bkind3d_lite.clips.survey import survey
from bkind3d_lite.clips.synthetic import figure
from bkind3d_lite.clips.tracks import Track
from bkind3d_lite.clips.videos import write_video
from bkind3d_lite.model import placed
from bkind3d_lite.recipes import Recipe

torch.set_num_threads(1)  # tests run two at a time, a core each


@pytest.fixture(scope="session")
def clip():
    """The synthetic figure: 40 frames, 4 views, 96 x 64 pixels."""
    return figure(40)


@pytest.fixture(scope="session")
def seen(clip):
    """The survey of `clip`."""
    return survey(clip)


@pytest.fixture(scope="session")
def tiny(clip):
    """A recipe that builds in milliseconds, placed on `clip`."""
    return placed(
        Recipe("tiny").with_(
            keypoints=5,
            image_wh=(48, 32),
            voxels=8,
            encoder_width=8,
            channels=4,
            v2v_width=4,
            decoder_width=8,
            cover=1.0,
            background=True,
            warmup=0,
        ),
        clip.rig,
    )


@pytest.fixture(scope="session")
def tracked(clip):
    """The synthetic clip and its own truth as a track."""
    confidence = torch.linspace(0, 1, 8).expand(len(clip), 8)
    return clip, Track(clip.truth.clone(), confidence, clip.skeleton, clip.fps)


@pytest.fixture(scope="session")
def shared():
    """The folder of recordings and released results beside the repository."""
    folder = Path(__file__).parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(
            "no folder 'shared' beside the repository: recorded results and real videos are not "
            "here"
        )
    return folder


@pytest.fixture(scope="session")
def barcodes():
    """`barcodes(n, size)`: n images that each carry their own number in 8 stripes, and
    `barcodes.read(image)`."""

    def image(number: int, size=(48, 32)) -> np.ndarray:
        width, height = size
        out = np.full((height, width, 3), 16, np.uint8)
        for bit in range(8):
            if number >> bit & 1:
                out[:, bit * width // 8 : (bit + 1) * width // 8] = 235
        return out

    def make(count: int, size=(48, 32)) -> list[np.ndarray]:
        return [image(i, size) for i in range(count)]

    def read(image) -> int:
        image = np.asarray(image)
        height, width = image.shape[:2]
        middles = [(2 * bit + 1) * width // 16 for bit in range(8)]
        return sum(
            1 << bit
            for bit, x in enumerate(middles)
            if image[height // 4 : -height // 4, x - 1 : x + 1].mean() > 125
        )

    make.read = read
    return make


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A folder of three 12-frame videos of the figure, its calibration and its truth; tests copy it
    before they break it."""
    from bkind3d_lite.cameras import save_calibration

    path = tmp_path_factory.mktemp("clip")
    known = figure(12, views=3)
    for v, name in enumerate(known.rig.names):
        write_video(path / f"{name}.mp4", known.frames[:, v].numpy(), known.fps, crf=8)
    save_calibration(known.rig, path / "calibration.toml")
    np.savez(
        path / "truth.npz",
        positions=known.truth.numpy(),
        names=np.array(known.skeleton.names),
        edges=np.array(known.skeleton.edges),
        body_length=known.body_length,
    )
    return path, known
