"""Stored: frames decoded once into one memory-mapped file, for trainings that would wait for their videos."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from pathlib import Path

import av
import numpy as np
from tqdm.auto import tqdm

from .. import distributed
from ..files import write_atomically
from .videos import Footage, Frames, Picked

SPARE_DISK = 1 << 28  # bytes that are left free on the disk
TOGETHER = 16  # moments decoded and written at a time


def kept(frames: Frames, folder: str | Path) -> Frames:
    """The same frames decoded once into one memory-mapped file in `folder`, and read from there: by this run, the next, and every rank of the machine.

    The file's name holds a fingerprint of the sources (paths, sizes, dates, which of their frames) and of the image size, so changed videos
    make another file. It is written whole or not at all, and again where it is damaged. Raises `OSError` where the disk has no room for it.
    """
    path = Path(folder) / f"frames-{frames.wh[0]}x{frames.wh[1]}-{_fingerprint(frames)}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    need, free = int(np.prod(frames.shape)), shutil.disk_usage(path.parent).free
    if (found := _mapped(path, frames.shape)) is None and free < need + SPARE_DISK:
        raise OSError(
            28,
            f"{path}: {need / 1e9:.1f} GB of frames do not fit on the disk, which has {free / 1e9:.1f} GB free; train on fewer (--frames), "
            "or from the videos (without --cache)",
        )
    if found is None and distributed.writes_here():
        write_atomically(path, lambda temporary: _write(frames, temporary))
    while (found := _mapped(path, frames.shape)) is None:  # another rank writes
        time.sleep(0.5)
    return Frames(
        [Stored(video, found[:, v]) for v, video in enumerate(frames.videos)], frames.wh, 0
    )


class Stored:
    """A footage whose frames (T, H, W, 3) lie decoded in an array; its name and times are the source's."""

    def __init__(self, source: Footage, frames: np.ndarray):
        self.path, self.fps, self.seconds, self.index = (
            source.path,
            source.fps,
            source.seconds,
            getattr(source, "index", None),
        )
        self.frames, self.wh = frames, (frames.shape[2], frames.shape[1])

    def __len__(self) -> int:
        return len(self.frames)

    def read(self, start: int, stop: int, wh: tuple[int, int] | None = None) -> np.ndarray:
        """As `videos.Video.read`."""
        some = np.array(self.frames[start:stop])
        if wh in (None, self.wh):
            return some
        return np.stack(
            [
                av.VideoFrame.from_ndarray(image, format="rgb24")
                .reformat(*wh, interpolation="AREA")
                .to_ndarray()
                for image in some
            ]
        )


def _write(frames: Frames, path: Path) -> None:
    with (
        open(path, "wb") as file,
        tqdm(total=len(frames), desc="keeping decoded frames", unit="frame") as bar,
    ):
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|u1", "fortran_order": False, "shape": frames.shape}
        )
        for start in range(0, len(frames), TOGETHER):
            stop = min(start + TOGETHER, len(frames))
            np.stack([video.read(start, stop, frames.wh) for video in frames.videos], 1).tofile(
                file
            )
            bar.update(stop - start)


def _mapped(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The array in a file, memory-mapped, or None where it is not the one expected."""
    try:
        found = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    return found if found.shape == tuple(shape) and found.dtype == np.uint8 else None


def _fingerprint(frames: Frames) -> str:
    return hashlib.sha256(
        json.dumps([frames.shape, [_source(video) for video in frames.videos]]).encode()
    ).hexdigest()[:16]


def _source(footage: Footage) -> list:
    """What tells whether a footage is still the same: its files with their sizes and dates, and which of its frames."""
    if isinstance(footage, Picked):
        return [*_source(footage.footage), hashlib.sha256(footage.index.tobytes()).hexdigest()]
    paths = (
        [video.path for video in getattr(footage, "videos", ())]
        or getattr(footage, "paths", None)
        or [footage.path]
    )
    return [[str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns] for path in paths]
