"""Footage that is not one video: a folder of still images, or several videos one after the other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ...calibrations import natural
from ..video_headers import sound
from ..videos import VIDEO_SUFFIXES, Footage, Video

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


class Stills:
    """Images in the natural order of their names (img_2 before img_10). Their numbers, if all have one, are in `numbers`; no frame rate is known."""

    fps, seconds = 0.0, None

    def __init__(self, paths: Sequence[Path]):
        self.paths = sorted(paths, key=lambda p: natural(p.stem))
        self.path = self.paths[0].parent
        self.wh = self._said(0)
        found = [last_number(p) for p in self.paths]
        self.numbers = np.arange(len(found)) if None in found else np.array(found)

    def __len__(self) -> int:
        return len(self.paths)

    def _image(self, index: int) -> Image.Image:
        try:
            return Image.open(self.paths[index], formats=("JPEG", "PNG"))
        except (
            OSError,
            SyntaxError,
            ValueError,
            Image.DecompressionBombError,
        ) as error:  # what PIL says of files that are none
            raise ValueError(
                f"{self.paths[index]}: not a readable image ({error}); write it again as PNG or JPEG"
            ) from error

    def _said(self, index: int) -> tuple[int, int]:
        """The size (W, H) of an image, without decoding it."""
        with self._image(index) as image:
            try:
                return sound(image.size)
            except OSError as error:
                raise ValueError(
                    f"{self.paths[index]}: not a readable image ({error}); write it again as PNG or JPEG"
                ) from error

    def read(self, start: int, stop: int, wh: tuple[int, int] | None = None) -> np.ndarray:
        """Images start..stop-1 as uint8 RGB (stop - start, H, W, 3), resized to `wh` = (W, H) by area averaging."""
        width, height = wh or self.wh
        out = np.empty((stop - start, height, width, 3), np.uint8)
        for i in range(start, stop):
            with self._image(i) as image:
                if image.size != self.wh:
                    raise ValueError(
                        f"{self.paths[i]}: {image.size[0]} x {image.size[1]} pixels, the first one of its folder "
                        f"{self.wh[0]} x {self.wh[1]}; a sequence has one size"
                    )
                try:
                    out[i - start] = np.asarray(
                        image.convert("RGB").resize((width, height), Image.Resampling.BOX)
                    )
                except (OSError, SyntaxError, ValueError) as error:
                    raise ValueError(
                        f"{self.paths[i]}: broken ({error}); copy the file again"
                    ) from error
        return out


class Chunks:
    """Videos of one camera, one after the other; `numbers` (n,) is the number that each frame has in the whole recording.

    Names that end in the number of their first frame (`0.mp4`, `3000.mp4`; `s1-d1-camera1-3500.mp4`) say where each belongs, and one that
    is missing leaves a gap in `numbers`. Other names are taken in natural order.
    """

    def __init__(self, paths: Sequence[Path]):
        self.videos = [Video(p) for p in sorted(paths, key=lambda p: natural(p.stem))]
        self.path, self.wh, self.fps = (
            self.videos[0].path,
            self.videos[0].wh,
            self.videos[0].fps,
        )
        if odd := [v for v in self.videos if v.wh != self.wh]:
            raise ValueError(
                f"{odd[0].path}: {odd[0].wh[0]} x {odd[0].wh[1]} pixels, {self.path.name} has {self.wh[0]} x {self.wh[1]}; "
                "the parts of a recording have one size"
            )
        self.ends = np.cumsum([len(v) for v in self.videos])
        begins = self.ends - [len(v) for v in self.videos]
        said = [last_number(v.path) for v in self.videos]
        self.says_first = None not in said and all(
            b >= a + len(v) for a, b, v in zip(said, said[1:], self.videos)
        )
        self.numbers = np.concatenate(
            [
                np.arange(len(v)) + (s if self.says_first else b)
                for v, s, b in zip(self.videos, said, begins)
            ]
        )

    def __len__(self) -> int:
        return int(self.ends[-1])

    @property
    def seconds(self) -> np.ndarray:
        """Presentation times as if the parts had been joined without a pause."""
        pause = 1 / self.fps if self.fps else 0.0
        ends = np.cumsum([v.seconds[-1] + pause for v in self.videos])
        return np.concatenate(
            [v.seconds + end - v.seconds[-1] - pause for v, end in zip(self.videos, ends)]
        )

    def whole(self) -> Chunks:
        """Itself, if no part is missing; else a `ValueError` that names the first frame which is."""
        gap = np.flatnonzero(self.numbers != np.arange(len(self)))
        if len(gap):
            raise ValueError(
                f"{self.path.parent}: frame {gap[0]} is in none of {', '.join(v.path.name for v in self.videos)}; names that end in "
                "the number of their first frame must follow one another: copy the missing part, or rename them 1, 2, 3"
            )
        return self

    def read(self, start: int, stop: int, wh: tuple[int, int] | None = None) -> np.ndarray:
        """As `Video.read`, across the borders of the parts."""
        out = []
        for video, end in zip(self.videos, self.ends):
            begin = end - len(video)
            if start < end and stop > begin:
                out.append(video.read(int(max(start - begin, 0)), int(min(stop, end) - begin), wh))
        return np.concatenate(out)


def last_number(path: Path) -> int | None:
    """The number that a file's name ends in."""
    found = re.search(r"(\d{1,15})$", path.stem)
    return int(found[1]) if found else None


def footage_of(found: Path | Sequence[Path]) -> Footage:
    """A video, several one after the other, or the videos or images of a folder."""
    if not isinstance(found, Path):
        return Chunks(found)
    if not found.is_dir():
        return Video(found)
    videos, images = in_folder(found, VIDEO_SUFFIXES), in_folder(found, IMAGE_SUFFIXES)
    if bool(videos) == bool(images):
        raise ValueError(
            f"{found}: {'both videos and images' if videos else 'neither videos nor images'} in a camera's folder; expected one or the other"
        )
    return (
        Stills(images)
        if images
        else Video(videos[0])
        if len(videos) == 1 and last_number(videos[0]) in (None, 0)
        else Chunks(videos)
    )


def in_folder(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Files of these suffixes, hidden ones left out."""
    return sorted(
        p
        for p in folder.iterdir()
        if p.suffix.lower() in suffixes and p.is_file() and not p.name.startswith(".")
    )
