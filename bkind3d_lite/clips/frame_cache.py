"""Frame cache: decoded once into a memory-mapped file, for trainings that wait for videos."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import time
from pathlib import Path

import av
import numpy as np

from .. import distributed
from ..files import write_atomically
from ..progress import progress
from .videos import Footage, Frames, SelectedFrames

SPARE_DISK = 1 << 28  # bytes that are left free on the disk
TOGETHER = 16  # moments decoded and written at a time


def cached_frames(frames: Frames, folder: str | Path) -> Frames:
    """The same frames decoded once into one memory-mapped file, and read from there.

    By this run, the next, and every rank of the machine. The file's name holds a fingerprint of
    the sources (paths, sizes, dates, which of their frames) and of the image size, so changed
    videos make another file. It is written whole or not at all, and again where it is damaged.

    Args:
        frames: (T, V, H, W, 3) uint8 frames of videos.
        folder: where the file lies; made if it is not there.

    Returns:
        Frames of the same shape that need no decoding.

    Raises:
        OSError: the disk has no room for the file.
    """
    path = Path(folder) / f"frames-{frames.wh[0]}x{frames.wh[1]}-{_fingerprint(frames)}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    need, free = int(np.prod(frames.shape)), shutil.disk_usage(path.parent).free
    if (array := _mapped(path, frames.shape)) is None and free < need + SPARE_DISK:
        raise OSError(
            errno.ENOSPC,
            f"{path}: {need / 1e9:.1f} GB of frames do not fit on the disk, which has "
            f"{free / 1e9:.1f} GB free; train on fewer (--frames), "
            "or from the videos (without --cache)",
        )
    if array is None and distributed.writes_here():
        write_atomically(path, lambda temporary: _write(frames, temporary))
    while (array := _mapped(path, frames.shape)) is None:  # another rank writes
        time.sleep(0.5)
    cached = [CachedFootage(video, array[:, v]) for v, video in enumerate(frames.videos)]
    return Frames(cached, frames.wh, 0)


class CachedFootage:
    """A footage whose frames (T, H, W, 3) lie decoded in an array.

    Its name and times are the source's.
    """

    def __init__(self, source: Footage, frames: np.ndarray):
        self.path, self.fps, self.seconds = source.path, source.fps, source.seconds
        self.index = getattr(source, "index", None)
        self.frames, self.wh = frames, (frames.shape[2], frames.shape[1])

    def __len__(self) -> int:
        return len(self.frames)

    def read(self, start: int, stop: int, wh: tuple[int, int] | None = None) -> np.ndarray:
        """As `Video.read`.

        Args:
            start: the first frame.
            stop: one behind the last frame.
            wh: (W, H) in pixels; None: as cached.

        Returns:
            (stop - start, H, W, 3) uint8 RGB.
        """
        images = np.array(self.frames[start:stop])
        if wh is None or wh == self.wh:
            return images
        frames = (av.VideoFrame.from_ndarray(image, format="rgb24") for image in images)
        return np.stack([f.reformat(*wh, interpolation="AREA").to_ndarray() for f in frames])


def _write(frames: Frames, path: Path) -> None:
    with (
        open(path, "wb") as file,
        progress(total=len(frames), desc="keeping decoded frames", unit="frame") as bar,
    ):
        header = {"descr": "|u1", "fortran_order": False, "shape": frames.shape}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(frames), TOGETHER):
            stop = min(start + TOGETHER, len(frames))
            views = [video.read(start, stop, frames.wh) for video in frames.videos]
            np.stack(views, 1).tofile(file)
            bar.update(stop - start)


def _mapped(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The array in a file, memory-mapped, or None where it is not the one expected."""
    try:
        array = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    return array if array.shape == tuple(shape) and array.dtype == np.uint8 else None


def _fingerprint(frames: Frames) -> str:
    sources = json.dumps([frames.shape, [_source(video) for video in frames.videos]])
    return hashlib.sha256(sources.encode()).hexdigest()[:16]


def _source(footage: Footage) -> list:
    """What tells whether a footage is still the same.

    Its files with their sizes and dates, and which of its frames.
    """
    if isinstance(footage, SelectedFrames):
        return [*_source(footage.footage), hashlib.sha256(footage.index.tobytes()).hexdigest()]
    paths = (
        [video.path for video in getattr(footage, "videos", ())]
        or getattr(footage, "paths", None)
        or [footage.path]
    )
    return [[str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns] for path in paths]
