"""Videos: frames by index, by presentation time, without dumping them to disk."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import numpy as np
import torch
from av.container import InputContainer
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from torch import Tensor

from ..files import write_atomically
from .video_headers import plausible_wh, safe_open_options

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".m4v", ".webm")
DELAY = 64  # packets in which a codec's reordering of frames shows
NEAR = 8  # frames so little apart are decoded in one go
# Frames decoded and cached together: about one seek, whatever the file's keyframe distance.
CHUNK = 64


class Footage(Protocol):
    """What one camera recorded, whatever it lies in: a `Video`, or another class with these."""

    path: Path
    wh: tuple[int, int]  # (W, H) in pixels
    fps: float  # as the file says; 0: it does not say

    @property
    def seconds(self) -> np.ndarray | None:
        """(n,) presentation times, where the file has them."""

    def __len__(self) -> int: ...

    def read(self, start: int, stop: int, wh: tuple[int, int] | None = None) -> np.ndarray:
        """Frames start..stop-1, resized by area averaging.

        Args:
            start: the first frame.
            stop: one behind the last frame.
            wh: (W, H) in pixels; None: as recorded.

        Returns:
            (stop - start, H, W, 3) uint8 RGB.
        """
        ...


def _opened(path: Path) -> InputContainer:
    return av.open(**safe_open_options(path))


def _index_from_packets(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Time stamps of all frames and of the keyframes, from the packets.

    Right for every file, but the whole file is read.
    """
    with _opened(path) as container:
        demuxed = container.demux(video=0)
        packets = [(p.pts, p.is_keyframe, p.is_discard) for p in demuxed if p.pts is not None]
    keys = np.array(sorted(pts for pts, key, _ in packets if key), np.int64)
    # A cut hides what only others refer to.
    pts = np.array(sorted(pts for pts, _, hidden in packets if not hidden), np.int64)
    if len(keys):  # before the first keyframe nothing can be decoded
        pts = pts[pts >= keys[0]]
    return pts, keys


def _index_from_header(
    container: InputContainer, stream: VideoStream, path: Path
) -> tuple[np.ndarray, np.ndarray] | None:
    """The same from the index in the header of an MP4; None where that is not certain.

    The film is not read: hours open at once. The index holds decoding times. If they are evenly
    spaced, so are the presentation times: the same grid, moved by a delay that the first packets
    tell.
    """
    mp4 = "mp4" in container.format.name.split(",")
    entries = getattr(stream, "index_entries", None) if mp4 else None
    if not entries or len(entries) != stream.frames:
        return None
    table = np.array(
        [(e.timestamp, e.is_keyframe, e.is_discard, e.pos + e.size) for e in entries], np.int64
    )
    times, is_key, is_hidden, ends = table.T
    steps = np.diff(times)
    if len(table) < 2 * DELAY or steps[0] < 1 or (steps != steps[0]).any():
        return None  # of variable frame rate
    if is_hidden.any() or not is_key[0] or ends.max() > path.stat().st_size:
        return None  # cut without re-encoding, or truncated
    packets = zip(container.demux(stream), range(DELAY))
    first = sorted(p.pts for p, _ in packets if p.pts is not None)
    if len(first) < DELAY or (np.diff(first[: DELAY // 2]) != steps[0]).any():
        return None
    pts = times + first[0] - times[0]
    return pts, pts[is_key > 0]


class Video:
    """One video file of `len(video)` frames, in order of presentation time.

    The index is made of time stamps (no decoding), so it is right for variable frame rates and
    B-frames, where a frame count in the header or a seek by seconds is not. Frames that a cut
    without re-encoding has left behind unplayable are not counted. Only self-contained formats are
    opened: a playlist in disguise could name files elsewhere. A file that cannot be read, or holds
    no frames, is a `ValueError`.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        try:
            with _opened(self.path) as container:
                stream = container.streams.video[0]
                if stream.codec_context is None:
                    raise OSError("of an unknown codec")
                self.fps = float(stream.average_rate or 0)
                self.wh = plausible_wh((stream.codec_context.width, stream.codec_context.height))
                self.promised = stream.frames  # as the header says; 0: it does not
                self._tick = float(stream.time_base or 1)  # seconds
                index = _index_from_header(container, stream, self.path)
                self.pts, self.keys = index or _index_from_packets(self.path)
        except (av.FFmpegError, IndexError, OSError) as error:
            raise ValueError(
                f"{self.path}: not a readable video ({error}); check that the file is complete, "
                "or write it again as H.264 mp4"
            ) from error
        if not len(self.pts):
            raise ValueError(f"{self.path}: holds no frames; check that the file is complete")
        # One for all frames: to prepare one costs as much as a small frame.
        self._scaler = VideoReformatter()
        self._container: InputContainer | None = None
        self._decoder: Iterator[av.VideoFrame] = iter(())
        # The frame that comes next; a reading that goes on where the last one ended need not seek.
        self._next = len(self.pts)

    @property
    def seconds(self) -> np.ndarray:
        """Presentation time of every frame, (n,), from the first one on."""
        return (self.pts - self.pts[0]) * self._tick

    def __len__(self) -> int:
        return len(self.pts)

    def read(self, start: int, stop: int, wh: tuple[int, int] | None = None) -> np.ndarray:
        """Decode frames start..stop-1, resized by area averaging.

        Args:
            start: the first frame.
            stop: one behind the last frame.
            wh: (W, H) in pixels; None: as recorded.

        Returns:
            (stop - start, H, W, 3) uint8 RGB.

        Raises:
            ValueError: the file is broken there, or a frame cannot be decoded.
        """
        width, height = wh or self.wh
        frames = np.empty((stop - start, height, width, 3), np.uint8)
        try:
            decoded = self._decode(start, stop, frames)
        except av.FFmpegError as error:
            raise ValueError(
                f"{self.path}: broken near frame {start} ({error}); "
                "cut the video before it, or copy the file again"
            ) from error
        if not decoded.all():
            missing = start + int(np.argmin(decoded))
            raise ValueError(
                f"{self.path}: frame {missing} of {len(self)} cannot be decoded; "
                "the file is damaged or was cut without re-encoding: encode it again as H.264"
            )
        return frames

    def _decode(self, start: int, stop: int, frames: np.ndarray) -> np.ndarray:
        """Fill `frames`, seeking where the last reading has not ended; which came, bool."""
        if 0 <= start - self._next < CHUNK:
            decoded = self._fill(start, stop, frames)
            if decoded[0]:
                return decoded
        # A keyframe may follow frames that are shown after it: then the one before.
        keys = self.keys[self.keys <= self.pts[start]][-2:]
        for key in keys[::-1].tolist() or [int(self.pts[0])]:
            self._seek(key)
            decoded = self._fill(start, stop, frames)
            if decoded[0]:
                break
        return decoded

    def _seek(self, key: int) -> None:
        """Be ready to decode from the keyframe at time `key`."""
        if self._container is not None:
            self._container.close()  # at once: a decoder holds dozens of frames
        self._container = _opened(self.path)
        stream = self._container.streams.video[0]
        stream.thread_type = "AUTO"
        self._container.seek(key, stream=stream, backward=True)
        self._decoder = self._container.decode(stream)

    def _fill(self, start: int, stop: int, frames: np.ndarray) -> np.ndarray:
        """Decode on and fill `frames`; which of them came, (stop - start,) bool."""
        decoded, self._next = np.zeros(stop - start, bool), len(self)
        height, width = frames.shape[1:3]
        for frame in self._decoder:
            at = -1 if frame.pts is None else int(np.searchsorted(self.pts, frame.pts))
            if start <= at < stop and self.pts[at] == frame.pts:
                scaled = self._scaler.reformat(frame, width, height, "rgb24", interpolation="AREA")
                frames[at - start] = scaled.to_ndarray()
                decoded[at - start] = True
            if decoded.all():
                self._next = at + 1
                break
            if at >= stop + 16:  # B-frames may come a little out of order
                break
        return decoded


class SelectedFrames:
    """Some frames of a footage, in the order of `index` (n,).

    It serves an offset, a table of synchronous frames, stretches of a long film.
    """

    def __init__(self, footage: Footage, index: Sequence[int] | np.ndarray):
        self.footage, self.index = footage, np.asarray(index, np.int64)
        if isinstance(footage, SelectedFrames):
            self.footage, self.index = footage.footage, footage.index[self.index]
        self.path, self.wh, self.fps = footage.path, footage.wh, footage.fps

    def __len__(self) -> int:
        return len(self.index)

    @property
    def seconds(self) -> np.ndarray | None:
        """Presentation times of the selected frames."""
        return None if self.footage.seconds is None else self.footage.seconds[self.index]

    def read(self, start: int, stop: int, wh: tuple[int, int] | None = None) -> np.ndarray:
        """As `Video.read`: frames near one another are read in one go, the others by themselves.

        Args:
            start: the first of the selected frames.
            stop: one behind the last of them.
            wh: (W, H) in pixels; None: as recorded.

        Returns:
            (stop - start, H, W, 3) uint8 RGB.
        """
        index, out = self.index[start:stop], []
        steps = np.diff(index)
        for run in np.split(index, np.flatnonzero((steps < 1) | (steps > NEAR)) + 1):
            out.append(self.footage.read(int(run[0]), int(run[-1]) + 1, wh)[run - run[0]])
        return np.concatenate(out)


class Frames:
    """(T, V, H, W, 3) uint8 frames of V equally long footages, decoded when asked for and cached.

    `frames[t]` with an int is (V, H, W, 3), with a sequence of ints (n, V, H, W, 3),
    `frames[times, v]` one view (n, H, W, 3). Frames are decoded in chunks; those that were not
    asked for longest are dropped when `budget` (bytes) is full. Where the whole does not fit,
    chunks are so short that many moments of all views do.
    """

    def __init__(self, videos: Sequence[Footage], wh: tuple[int, int], budget: int = 2 << 30):
        self.videos, self.wh, self.budget = list(videos), (wh[0], wh[1]), budget
        self.shape = (len(videos[0]), len(videos), wh[1], wh[0], 3)
        moment = len(videos) * wh[0] * wh[1] * 3  # bytes
        fits = moment * self.shape[0] <= budget
        self.chunk = CHUNK if fits else max(1, min(CHUNK, budget // (64 * moment)))
        self._chunks: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()  # a thread may decode ahead while another one looks

    def __len__(self) -> int:
        return self.shape[0]

    def at(self, times: Sequence[int]) -> Frames:
        """The frames at these times alone; nothing is decoded yet.

        Args:
            times: (n,) frames.

        Returns:
            Frames of shape (n, V, H, W, 3).
        """
        return Frames([SelectedFrames(v, times) for v in self.videos], self.wh, self.budget)

    def resized(self, wh: tuple[int, int]) -> Frames:
        """The same frames decoded to another size; nothing is decoded yet.

        Args:
            wh: (W, H) in pixels.

        Returns:
            Frames of shape (T, V, H, W, 3).
        """
        return Frames(self.videos, wh, self.budget)

    def passing(self, wh: tuple[int, int] | None = None) -> Frames:
        """For one look at many of them: not cached, unless all fit into the budget anyway.

        Args:
            wh: (W, H) in pixels to decode to; None: as they are.

        Returns:
            Frames of the same moments and views.
        """
        whole = np.prod(self.shape, dtype=np.int64) <= self.budget and wh is None
        return self if whole else Frames(self.videos, wh or self.wh, 0)

    @property
    def begins(self) -> list[int]:
        """Which frame of each camera's file is shown at time 0: where offsets and cuts show."""
        indices = [getattr(video, "index", None) for video in self.videos]
        return [0 if index is None or not len(index) else int(index[0]) for index in indices]

    def _chunk(self, view: int, number: int) -> np.ndarray:
        """The chunk of that number of one view, (n, H, W, 3), from the cache or decoded."""
        key = (view, number)
        with self._lock:
            if key not in self._chunks:
                start = number * self.chunk
                chunk = self.videos[view].read(start, min(start + self.chunk, len(self)), self.wh)
                self._chunks[key] = chunk
                self._bytes += chunk.nbytes
                while self._bytes > self.budget and len(self._chunks) > len(self.videos):
                    self._bytes -= self._chunks.popitem(last=False)[1].nbytes
            self._chunks.move_to_end(key)
            return self._chunks[key]

    def _moment(self, t: int, views: Sequence[int], out: np.ndarray) -> None:
        """Fill `out` (len(views), H, W, 3) with the frames of time t."""
        if not -len(self) <= t < len(self):
            raise IndexError(f"frame {t} of {len(self)}")
        number, place = divmod(int(t) % len(self), self.chunk)
        for row, v in zip(out, views):
            row[:] = self._chunk(v, number)[place]

    def __getitem__(self, times: int | slice | Sequence[int] | tuple[Sequence[int], int]) -> Tensor:
        if isinstance(times, (int, np.integer)):
            return self._decoded([int(times)], range(len(self.videos)))[0]
        if isinstance(times, tuple):
            return self._decoded(times[0], [times[1]])[:, 0]
        return self._decoded(times, range(len(self.videos)))

    def _decoded(self, times: slice | Sequence[int], views: Sequence[int]) -> Tensor:
        """Frames of these times and views, (n, len(views), H, W, 3)."""
        times = range(*times.indices(len(self))) if isinstance(times, slice) else times
        out = np.empty((len(times), len(views), *self.shape[2:]), np.uint8)
        for moment, t in zip(out, times):
            self._moment(int(t), views, moment)
        return torch.from_numpy(out)


def write_video(path: str | Path, frames: Iterable[np.ndarray], fps: float, crf: int = 20) -> Path:
    """Encode frames as H.264 yuv420p mp4, which browsers play.

    Args:
        path: the file to write, whole or not at all.
        frames: uint8 RGB images (H, W, 3); odd sizes lose their last row or column.
        fps: frames per second.
        crf: the codec's constant rate factor; lower is better and larger.

    Returns:
        The path.

    Raises:
        ValueError: there are no frames.
    """

    def write(temporary: Path) -> None:
        with av.open(str(temporary), "w", options={"movflags": "faststart"}) as container:
            stream = None
            for image in frames:
                height, width = (n - n % 2 for n in image.shape[:2])
                if stream is None:
                    stream = container.add_stream(
                        "libx264",
                        rate=Fraction(fps).limit_denominator(1001),
                        options={"crf": str(crf), "preset": "fast"},
                    )
                    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                picture = np.ascontiguousarray(image[:height, :width])
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                container.mux(stream.encode(frame))
            if stream is None:
                raise ValueError(f"{path}: no frames to write")
            container.mux(stream.encode())

    return write_atomically(path, write)
