"""Video index: which frames a file shows, in which order and when, and where one can begin.

Two orders lie in a file with B-frames: that of its packets and that of presentation. Most
containers stamp both. AVI and raw streams, and files that were copied out of them, stamp the
packets alone; what they say of presentation is not believed then, and the order is that which the
decoder gives.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from .video_headers import safe_open_options

log = logging.getLogger(__name__)
DELAY = 64  # packets in which a codec's reordering of frames shows
AS_STATED = 0.005  # a rate so near to what the header says is that


@dataclass(frozen=True)
class FrameIndex:
    """The frames of a video in order of presentation.

    Attributes:
        stamps: (n,) increasing; time stamps in ticks, or, where these are not believed, 0..n-1.
        keys: (k,) those of `stamps` at which decoding can begin.
        ticks: (n,) presentation times; None: the file has none.
        places: (packets,) which frame each packet of the file becomes, -1: none; None: stamps are
            believed.
        starts: (packets,) stamps of the packets, to seek by; None: only by reading from the start.
    """

    stamps: np.ndarray
    keys: np.ndarray
    ticks: np.ndarray | None
    places: np.ndarray | None = None
    starts: np.ndarray | None = None


def open_container(path: Path) -> InputContainer:
    """Open a file of the user's, it and no other.

    Args:
        path: the video.

    Returns:
        PyAV's container.
    """
    return av.open(**safe_open_options(path))


def read_index(container: InputContainer, stream: VideoStream, path: Path) -> FrameIndex:
    """The index of a video; of most files nothing is decoded for it.

    Args:
        container: of the file, before its first packet.
        stream: of the video in it.
        path: the file.

    Returns:
        Its frames.
    """
    index = index_from_header(container, stream, path) or index_from_packets(path)
    if index is None or (_may_reorder(stream) and not _in_order(path)):
        log.info("%s: has no presentation times; it is decoded once for its frames' order", path)
        return index_from_decoder(path)
    return index


def index_from_header(
    container: InputContainer, stream: VideoStream, path: Path
) -> FrameIndex | None:
    """The index in the header of an MP4: the film is not read, hours open at once.

    It holds decoding times. If they are evenly spaced, so are the presentation times: the same
    grid, moved by a delay that the first packets tell.

    Args:
        container: of the file, before its first packet.
        stream: of the video in it.
        path: the file.

    Returns:
        Its frames; None where that is not certain.
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
    return FrameIndex(pts, pts[is_key > 0], pts)


def index_from_packets(path: Path) -> FrameIndex | None:
    """The index by the packets' time stamps; the whole file is read.

    Args:
        path: the file.

    Returns:
        Its frames; None where packets have no stamp, or two the same.
    """
    with open_container(path) as container:
        packets = [(p.pts, p.is_keyframe, p.is_discard) for p in container.demux(video=0) if p.size]
    if any(pts is None for pts, _, _ in packets):
        return None
    keys = np.array(sorted(pts for pts, key, _ in packets if key), np.int64)
    # A cut hides what only others refer to.
    pts = np.array(sorted(pts for pts, _, hidden in packets if not hidden), np.int64)
    if len(keys):  # before the first keyframe nothing can be decoded
        pts = pts[pts >= keys[0]]
    return FrameIndex(pts, keys, pts) if (np.diff(pts) > 0).all() else None


def _may_reorder(stream: VideoStream) -> bool:
    """Whether frames of this codec may be shown in another order than they are decoded in."""
    return bool(stream.codec_context.has_b_frames)


def _in_order(path: Path) -> bool:
    """Whether the first frames come out of the decoder in the order of their time stamps.

    Only asked where all packets are stamped in their own order, as no B-frame's is.
    """
    with open_container(path) as container:
        packets = islice(container.demux(video=0), DELAY)
        if (np.diff([p.pts for p in packets if p.size and p.pts is not None]) < 0).any():
            return True
    with open_container(path) as container:
        try:
            shown = [frame.pts for frame in islice(container.decode(video=0), DELAY)]
        except av.FFmpegError:
            return True  # broken there, which its reading names
    stamps = [pts for pts in shown if pts is not None]
    return len(stamps) == len(shown) and bool((np.diff(stamps) > 0).all())


def index_from_decoder(path: Path) -> FrameIndex:
    """The index by what the decoder gives; the whole file is decoded.

    Args:
        path: the file.

    Returns:
        Its frames.

    Raises:
        OSError: the decoder does not say which packet a frame comes from.
    """
    with open_container(path) as container:
        packets = [(p.pts, p.is_keyframe) for p in container.demux(video=0) if p.size]
    with open_container(path) as container:
        container.streams.video[0].thread_type = "AUTO"
        order = np.array([number for number, _ in numbered(container)], np.int64)
    if len(set(order.tolist())) < len(order) or (len(order) and order.min() < 0):
        raise OSError("its frames come in an order that nothing tells")
    places = np.full(len(packets), -1)
    places[order] = np.arange(len(order))
    keys = np.sort(places[[key for _, key in packets]])
    starts = None
    if all(pts is not None for pts, _ in packets):
        stamps = np.array([pts for pts, _ in packets], np.int64)
        starts = stamps if (np.diff(stamps) > 0).all() else None
    ticks = None if starts is None else starts[: len(order)]
    shown = np.arange(len(order))
    return FrameIndex(shown, keys[keys >= 0], ticks, places=places, starts=starts)


def numbered(
    container: InputContainer, first: int = 0, starts: np.ndarray | None = None
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Decoded frames, each with the number that its packet has in the file.

    Args:
        container: of the file.
        first: number of the packet that is decoded first.
        starts: (packets,) stamps by which it can be sought; None: it is read from the start.

    Yields:
        Number (-1: not told) and frame, in the decoder's order.
    """
    stream, number = container.streams.video[0], 0
    if starts is not None and first:
        container.seek(int(starts[first]), stream=stream, backward=True)
    for packet in container.demux(stream):
        if packet.size:
            if starts is not None:
                number = int(np.searchsorted(starts, packet.pts or 0))
            packet.pts = packet.dts = number
            number += 1
            if packet.pts < first:
                continue
        for frame in packet.decode():
            yield -1 if frame.pts is None else frame.pts, frame


def usual_rate(seconds: np.ndarray | None, *stated: float) -> float:
    """Frames per second by the usual step: a film that stalls has a lower mean.

    Args:
        seconds: (n,) presentation times; None: not known.
        *stated: rates that the header names, 0 where it does not; the first is its mean.

    Returns:
        One that is stated, if it is that of the usual step, else the latter's.
    """
    steps = np.diff(seconds) if seconds is not None else np.zeros(0)
    middle = float(np.median(steps)) if len(steps) else 0.0
    if middle <= 0:
        return stated[0]
    usual = float(steps[np.abs(steps - middle) <= middle / 2].mean())
    return next((r for r in stated if abs(r * usual - 1) < AS_STATED), 1 / usual)
