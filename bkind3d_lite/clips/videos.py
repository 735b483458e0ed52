"""Videos: frames by index, by presentation time, without dumping them to disk."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from av.container import InputContainer
from av.video.reformatter import VideoReformatter
from torch import Tensor

from ..files import write_atomically
from .camera_footage import Footage
from .display import Turn, turn_of_video
from .video_headers import FORMATS_OF, RAW_SUFFIXES, plausible_wh
from .video_index import index_from_decoder, numbered, open_container, read_index, usual_rate

log = logging.getLogger(__name__)
VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".m4v", ".webm", *FORMATS_OF)
NEAR = 8  # frames so little apart are decoded in one go
# Frames decoded and cached together: about one seek, whatever the file's keyframe distance.
CHUNK = 64
# Formats without an index are sought by guessing; so much before the keyframe they surely arrive.
UNINDEXED, SAFE_SECONDS = ("mpegts", "mpeg"), 1.0


class _OutOfOrder(Exception):
    """Frames come out of the decoder in another order than that of their time stamps."""


class Video:
    """One video file of `len(video)` frames, in order of presentation.

    The index is made of time stamps (no decoding), so it is right for variable frame rates and
    B-frames, where a frame count in the header or a seek by seconds is not; where the file's time
    stamps are not those of presentation, the decoder's order counts (`video_index`). Frames that a
    cut without re-encoding has left behind unplayable are not counted. Frames are turned as the
    file says they are to be shown (`turn`). Only self-contained formats are opened: a playlist in
    disguise could name files elsewhere. A file that cannot be read, or holds no frames, is a
    `ValueError`.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        try:
            with open_container(self.path) as container:
                stream = container.streams.video[0]
                if stream.codec_context is None:
                    raise OSError("of an unknown codec")
                stored = plausible_wh((stream.codec_context.width, stream.codec_context.height))
                self.promised = stream.frames  # as the header says; 0: it does not
                self._tick = float(stream.time_base or 1)  # seconds
                rates = stream.average_rate, stream.base_rate, stream.guessed_rate
                stated = [float(r or 0) for r in rates]
                raw = self.path.suffix.lower() in RAW_SUFFIXES  # any rate is made up
                self._index = read_index(container, stream, self.path)
        except (av.FFmpegError, IndexError, OSError) as error:
            raise ValueError(
                f"{self.path}: not a readable video ({error}); check that the file is complete, "
                "or write it again as H.264 mp4"
            ) from error
        if not len(self):
            raise ValueError(f"{self.path}: holds no frames; check that the file is complete")
        self.turn = turn_of_video(self.path)
        self.wh = self.turn.across(stored)
        self.fps = 0.0 if raw else usual_rate(self.seconds, *stated)
        self._unread()

    def _unread(self) -> None:
        """As if nothing had been decoded yet."""
        # One for all frames: to prepare one costs as much as a small frame.
        self._scaler = VideoReformatter()
        self._container: InputContainer | None = None
        # Stamps and frames, as they come.
        self._decoder: Iterator[tuple[int, av.VideoFrame]] = iter(())
        # The frame that comes next; a reading that goes on where the last one ended need not seek.
        self._next = len(self)
        self._key = 0  # stamp from which on all frames come

    def as_stored(self) -> Video:
        """The same video as its pixels lie, whatever the file says of turning them.

        Returns:
            A video by itself.
        """
        video = copy(self)
        video.wh, video.turn = self.turn.across(self.wh), Turn()
        video._unread()
        return video

    @property
    def seconds(self) -> np.ndarray | None:
        """Presentation time of every frame, (n,), from the first one on; None: not told."""
        ticks = self._index.ticks
        return None if ticks is None else (ticks - ticks[0]) * self._tick

    def __len__(self) -> int:
        return len(self._index.stamps)

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
            try:
                decoded = self._decode(start, stop, frames)
            except _OutOfOrder:
                self._reorder()
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
        stamps, keys = self._index.stamps, self._index.keys
        keys = keys[keys <= stamps[start]][-2:]
        for key in [*(keys[::-1].tolist() or [int(stamps[0])]), int(stamps[0])]:
            self._seek(key)
            decoded = self._fill(start, stop, frames)
            if decoded[0]:
                break
        return decoded

    def _reorder(self) -> None:
        """From here on believe the decoder, whose order is not that of the time stamps."""
        log.warning(
            "%s: its time stamps are not those of presentation; the decoder's order counts, frames "
            "that were read before may be of other moments",
            self.path,
        )
        self._index = index_from_decoder(self.path)

    def _seek(self, key: int) -> None:
        """Be ready to decode from the keyframe of stamp `key`."""
        if self._container is not None:
            self._container.close()  # at once: a decoder holds dozens of frames
        self._container = open_container(self.path)
        stream = self._container.streams.video[0]
        stream.thread_type = "AUTO"
        self._key = key
        if self._index.places is None:
            if self._container.format.name in UNINDEXED:  # and come down behind the keyframe
                key -= round(SAFE_SECONDS / self._tick)
            self._container.seek(key, stream=stream, backward=True)
            decoded = self._container.decode(stream)
            self._decoder = ((f.pts, f) for f in decoded if f.pts is not None)
            return
        places = self._index.places
        first = int(np.argmax(places == key))
        frames = numbered(self._container, first, self._index.starts)
        self._decoder = ((int(places[n]), frame) for n, frame in frames if n >= 0)

    def _fill(self, start: int, stop: int, frames: np.ndarray) -> np.ndarray:
        """Decode on and fill `frames`; which of them came, (stop - start,) bool."""
        decoded, self._next = np.zeros(stop - start, bool), len(self)
        width, height = self.turn.across((frames.shape[2], frames.shape[1]))
        stamps, before = self._index.stamps, None
        for stamp, frame in self._decoder:
            told = self._index.places is None  # by time stamps; before the keyframe all may come
            if told and before is not None and self._key <= stamp < before:
                raise _OutOfOrder
            before, at = stamp, int(np.searchsorted(stamps, stamp))
            if start <= at < stop and stamps[at] == stamp:
                scaled = self._scaler.reformat(frame, width, height, "rgb24", interpolation="AREA")
                frames[at - start] = self.turn.shown(scaled.to_ndarray())
                decoded[at - start] = True
            if decoded.all():
                self._next = at + 1
                break
            if at >= stop + 16:  # frames before it may be missing
                break
        return decoded


class SelectedFrames:
    """Some frames of a footage, in the order of `index` (n,).

    It serves an offset, a table of synchronous frames, stretches of a long film.

    Args:
        footage: they are of.
        index: (n,) their places in it.
        fps: of the selection; None: the footage's.
    """

    def __init__(
        self, footage: Footage, index: Sequence[int] | np.ndarray, fps: float | None = None
    ):
        self.footage, self.index = footage, np.asarray(index, np.int64)
        if isinstance(footage, SelectedFrames):
            self.footage, self.index = footage.footage, footage.index[self.index]
        self.path, self.wh, self.fps = footage.path, footage.wh, fps or footage.fps
        self.turn = getattr(footage, "turn", Turn())

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
        self.videos, self.wh = list(videos), (wh[0], wh[1])
        self.shape = (len(videos[0]), len(videos), wh[1], wh[0], 3)
        self._lock = threading.Lock()  # a thread may decode ahead while another one looks
        self.spare(budget)

    def spare(self, budget: int) -> None:
        """Forget what is cached, and cache so much from now on.

        Args:
            budget: bytes.
        """
        moment = len(self.videos) * self.wh[0] * self.wh[1] * 3  # bytes
        fits = moment * self.shape[0] <= budget
        with self._lock:
            self.budget, self._bytes = budget, 0
            self.chunk = CHUNK if fits else max(1, min(CHUNK, budget // (64 * moment)))
            self._chunks: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()

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
