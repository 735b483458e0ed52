"""Video headers: what the header of a file promises, asked before a library believes it.

A header of a few kB can promise 10^9 frames, for each of which a reader takes memory, or images of
60000 x 60000 pixels.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

# Formats that hold their own frames; a playlist in disguise could name files elsewhere.
FORMATS = "mov,mp4,avi,matroska,webm"
# Streams without a container.
RAW_SUFFIXES = (".h264", ".264", ".hevc", ".h265")
# Formats that are believed by a name alone, since much can be taken for one.
FORMATS_OF = {
    **dict.fromkeys(RAW_SUFFIXES, "h264,hevc"),
    **dict.fromkeys((".mts", ".m2ts", ".ts"), "mpegts"),
    **dict.fromkeys((".mpg", ".mpeg"), "mpeg"),
    ".wmv": "asf",
    ".mxf": "mxf",
}
MOST_PIXELS = 1 << 26  # of an image: twice 8K
MOST_BOXES = 1_000_000
COUNTS = {b"stsz": 16, b"stz2": 16, b"trun": 12}  # boxes that say a number of frames, and where
NESTED = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf"}


def safe_open_options(path: Path) -> dict[str, Any]:
    """What PyAV's `open` is to be given for a file of the user's.

    It opens this file and no other, whatever its name and contents say.

    Args:
        path: the video file.

    Returns:
        Keyword arguments of `av.open`.

    Raises:
        OSError: the header promises more frames than the file has bytes.
    """
    with path.open("rb") as file:
        end = file.seek(0, 2)
        if (frames := max(_frame_counts(file, end), default=0)) > end:
            raise OSError(f"its header promises {frames} frames in {end} bytes")
    formats = FORMATS_OF.get(path.suffix.lower(), FORMATS)
    return dict(
        file=str(path.absolute()),
        options={"format_whitelist": formats, "protocol_whitelist": "file"},
        metadata_errors="ignore",
    )


def plausible_wh(wh: tuple[int, int]) -> tuple[int, int]:
    """The image size that a file states, if a camera can have it.

    Args:
        wh: (W, H) in pixels.

    Returns:
        `wh` itself.

    Raises:
        OSError: no camera has it.
    """
    if min(wh) < 1 or wh[0] * wh[1] > MOST_PIXELS:
        raise OSError(f"images of {wh[0]} x {wh[1]} pixels")
    return wh


def _frame_counts(file: BinaryIO, end: int) -> Iterator[int]:
    """Counts of frames in the boxes of an MP4; nothing of other formats.

    They are in sample sizes (`stsz`, `stz2`) and runs of fragments (`trun`).
    """
    todo = [(0, end)]
    for _ in range(MOST_BOXES):
        if not todo:
            return
        start, stop = todo.pop()
        file.seek(start)
        if start + 8 > stop or len(head := file.read(20)) < 8:
            continue
        length, kind = struct.unpack_from(">I4s", head)
        if length == 1 and len(head) >= 16:
            length = struct.unpack_from(">Q", head, 8)[0]
        inner = start + (16 if head[:4] == b"\0\0\0\1" else 8)
        after = start + length if length >= 8 else stop
        if kind in COUNTS and len(head) >= COUNTS[kind] + 4:
            yield struct.unpack_from(">I", head, COUNTS[kind])[0]
        todo += [(after, stop)] if after < stop else []
        todo += [(inner, min(after, stop))] if kind in NESTED else []
