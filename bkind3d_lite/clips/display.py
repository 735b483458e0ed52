"""Display: how pictures are to be shown, where a file keeps that outside of its pixels.

Phones store what the sensor saw and write beside it by how much to turn it (a display matrix in
videos, EXIF in stills). Players turn, and so do OpenCV and with it the tools that calibrate.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import av
import numpy as np
from PIL import Image

from .video_index import open_container

ORIENTATION = 274  # EXIF's tag, and TIFF's
# Of EXIF's values: clockwise quarters, and whether it is mirrored left to right before.
EXIF_TURNS = {
    2: (0, True), 3: (2, False), 4: (2, True), 5: (3, True), 6: (1, False), 7: (1, True),
    8: (3, False),
}  # fmt: skip
PACKETS = 64  # in which the first frame of a video comes


@dataclass(frozen=True)
class Turn:
    """What is to be done with stored pictures: mirror them left to right, then turn clockwise."""

    quarters: int = 0
    mirrored: bool = False

    def __bool__(self) -> bool:
        return bool(self.quarters or self.mirrored)

    def __str__(self) -> str:
        mirrored = ["mirrored"] if self.mirrored else []
        turned = [f"turned by {90 * self.quarters} degrees"] if self.quarters else []
        return " and ".join(mirrored + turned) or "as stored"

    def across(self, wh: tuple[int, int]) -> tuple[int, int]:
        """The size of shown pictures by that of stored ones, or the other way round.

        Args:
            wh: (W, H) in pixels.

        Returns:
            (W, H), or (H, W) where they lie on their side.
        """
        return (wh[1], wh[0]) if self.quarters % 2 else wh

    @property
    def undone(self) -> Turn:
        """What makes stored pictures of shown ones."""
        return self if self.mirrored else Turn(-self.quarters % 4)

    def shown(self, image: np.ndarray) -> np.ndarray:
        """A picture as it is to be shown.

        Args:
            image: (H, W, C) as stored.

        Returns:
            (H, W, C) or (W, H, C).
        """
        return np.rot90(image[:, ::-1] if self.mirrored else image, -self.quarters)


def turn_of_image(image: Image.Image) -> Turn:
    """By its EXIF, or TIFF's own tag (of TIFF, PIL turns size and pixels by itself).

    Args:
        image: opened by PIL, not loaded yet.

    Returns:
        How it is to be shown.
    """
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError, struct.error):  # what PIL says of broken EXIF
        orientation = 1
    return Turn(*EXIF_TURNS.get(orientation, (0, False)))


def turn_of_video(path: Path) -> Turn:
    """By the display matrix of its first frame, which containers and codecs hand down.

    Args:
        path: the file.

    Returns:
        How it is to be shown; as stored where it cannot be decoded, which its reading names.
    """
    try:
        with open_container(path) as container:
            packets = islice(container.demux(video=0), PACKETS)
            first = next((frame for p in packets for frame in p.decode()), None)
            if first is None or "DISPLAYMATRIX" not in first.side_data:
                return Turn()
            matrix = struct.unpack("=9i", bytes(first.side_data["DISPLAYMATRIX"])[:36])
    except (av.FFmpegError, OSError, struct.error):
        return Turn()
    return turn_of_matrix(matrix)


def turn_of_matrix(matrix: tuple[int, ...]) -> Turn:
    """By a display matrix: row vectors (x, y, 1) are multiplied by it from the left.

    Args:
        matrix: (9) a, b, u, c, d, v, x, y, w in 16.16.

    Returns:
        The nearest quarter turn, mirrored where its determinant is negative.
    """
    a, b, _, c, d, *_ = matrix
    mirrored = a * d - b * c < 0
    # Of M = turn @ mirror the first column, whose mirror is diag(-1, 1).
    x, y = (-a, -b) if mirrored else (a, b)
    return Turn(round(np.degrees(np.arctan2(y, x)) / 90) % 4, mirrored)
