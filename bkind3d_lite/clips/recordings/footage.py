"""Footage that is not one video: a folder of still images, or several videos in a row."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from copy import copy
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from ...calibrations import natural
from ..display import Turn, turn_of_image
from ..video_headers import plausible_wh
from ..videos import VIDEO_SUFFIXES, Footage, Video
from .deep_images import deep_samples, filled_bits, in_eight_bits, sample_bits

log = logging.getLogger(__name__)
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp")
IMAGE_FORMATS = ("JPEG", "PNG", "TIFF", "BMP")


class Stills:
    """Images in the natural order of their names (img_2 before img_10); no frame rate.

    `numbers` (n,) are those that the names end in, if all have one, else 0..n-1 (`frame_numbers`).
    Images are turned as they say that they are to be shown (`turn`, the first one's).
    """

    fps, seconds = 0.0, None
    _as_shown = True

    def __init__(self, paths: Sequence[Path]):
        self.paths = sorted(one_of_each(paths), key=lambda p: natural(p.stem))
        self.path = self.paths[0].parent
        self.turn, self.wh = self._stated(0)
        self.numbers = frame_numbers(self.paths)

    def as_stored(self) -> Stills:
        """The same images as their pixels lie, whatever they say of turning them.

        Returns:
            A sequence by itself.
        """
        stills = copy(self)
        stills.wh, stills.turn, stills._as_shown = self.turn.across(self.wh), Turn(), False
        return stills

    def __len__(self) -> int:
        return len(self.paths)

    def _image(self, index: int) -> Image.Image:
        try:
            return Image.open(self.paths[index], formats=IMAGE_FORMATS)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise self._unreadable(index, error) from error  # what PIL says of files that are none

    def _stated(self, index: int) -> tuple[Turn, tuple[int, int]]:
        """How an image is to be shown, and its size (W, H) then, without decoding it."""
        with self._image(index) as image:
            try:
                wh, pages = plausible_wh(image.size), getattr(image, "n_frames", 1)
            except (OSError, ValueError) as error:
                raise self._unreadable(index, error) from error
            if pages > 1:
                raise ValueError(
                    f"{self.paths[index]}: holds {pages} pictures, a stack; write them as a video, "
                    "or as a folder of single images"
                )
            turn = turn_of_image(image)
            stored = turn.across(wh) if image.format == "TIFF" else wh
            return turn, turn.across(stored) if self._as_shown else stored

    @cached_property
    def bits(self) -> int:
        """Bits a sample that the camera fills, in images that have room for more than 8."""
        bits = filled_bits([p for p in self.paths if sample_bits(p) > 8])
        log.info("%s: images of %d bits a sample, scaled to 8", self.path, bits)
        return bits

    def _eight_bits(self, image: Image.Image, index: int, turn: Turn) -> Image.Image:
        """An opened image as RGB of 8 bits, turned by `turn` unless it is wanted as stored."""
        path = self.paths[index]
        if deep := sample_bits(path) > 8:
            pixels = in_eight_bits(deep_samples(path), self.bits)
        else:
            try:
                pixels = np.asarray(image.convert("RGB"))
            except (OSError, SyntaxError, ValueError) as error:
                raise ValueError(f"{path}: broken ({error}); copy the file again") from error
        if image.format == "TIFF" and not deep:  # PIL has turned it
            pixels = pixels if self._as_shown else turn.undone.shown(pixels)
        elif self._as_shown:
            pixels = turn.shown(pixels)
        return Image.fromarray(np.ascontiguousarray(pixels))

    def _unreadable(self, index: int, error: Exception) -> ValueError:
        return ValueError(
            f"{self.paths[index]}: not a readable image ({error}); write it again as PNG or JPEG"
        )

    def read(self, start: int, stop: int, wh: tuple[int, int] | None = None) -> np.ndarray:
        """Images start..stop-1, resized by area averaging.

        Args:
            start: the first image.
            stop: one behind the last image.
            wh: (W, H) in pixels; None: as recorded.

        Returns:
            (stop - start, H, W, 3) uint8 RGB.

        Raises:
            ValueError: an image is broken, or of another size than the first one.
        """
        width, height = wh or self.wh
        out = np.empty((stop - start, height, width, 3), np.uint8)
        for i in range(start, stop):
            turn, own = self._stated(i)
            if own != self.wh:
                raise ValueError(
                    f"{self.paths[i]}: {own[0]} x {own[1]} pixels, the first one "
                    f"of its folder {self.wh[0]} x {self.wh[1]}; a sequence has one size"
                )
            with self._image(i) as image:
                whole = self._eight_bits(image, i, turn)
                out[i - start] = np.asarray(whole.resize((width, height), Image.Resampling.BOX))
        return out


class JoinedVideos:
    """Videos of one camera, one after the other.

    `numbers` (n,) is the number that each frame has in the whole recording. Names that end in the
    number of their first frame (`0.mp4`, `3000.mp4`; `s1-d1-camera1-3500.mp4`) tell where each
    belongs, and one that is missing leaves a gap in `numbers`. Other names are taken in natural
    order. Videos of different sizes are a `ValueError`.
    """

    def __init__(self, paths: Sequence[Path]):
        self.videos = [Video(p) for p in sorted(one_of_each(paths), key=lambda p: natural(p.stem))]
        first = self.videos[0]
        self.path, self.wh, self.fps, self.turn = first.path, first.wh, first.fps, first.turn
        if odd := [v for v in self.videos if v.wh != self.wh]:
            raise ValueError(
                f"{odd[0].path}: {odd[0].wh[0]} x {odd[0].wh[1]} pixels, {self.path.name} has "
                f"{self.wh[0]} x {self.wh[1]}; the parts of a recording have one size"
            )
        self.ends = np.cumsum([len(v) for v in self.videos])
        begins = self.ends - [len(v) for v in self.videos]
        named = self._begins_by_name()
        self.numbered = named is not None  # by the number of their first frame
        starts = begins if named is None else named
        self.numbers = np.concatenate([np.arange(len(v)) + s for v, s in zip(self.videos, starts)])

    def as_stored(self) -> JoinedVideos:
        """The same as their pixels lie, as `Video.as_stored`.

        Returns:
            Joined videos by themselves.
        """
        joined = copy(self)
        joined.videos = [video.as_stored() for video in self.videos]
        joined.wh, joined.turn = joined.videos[0].wh, joined.videos[0].turn
        return joined

    def _begins_by_name(self) -> list[int] | None:
        """Numbers of the videos' first frames, if that is what all names end in."""
        numbers = [last_number(v.path) for v in self.videos]
        begins = [n for n in numbers if n is not None]
        ends = [b + len(v) for b, v in zip(begins, self.videos)]
        apart = all(end <= begin for end, begin in zip(ends, begins[1:]))
        return begins if apart and len(begins) == len(numbers) else None

    def __len__(self) -> int:
        return int(self.ends[-1])

    @property
    def seconds(self) -> np.ndarray | None:
        """Presentation times as if the parts had been joined without a pause; None: not told."""
        pause, times, end = 1 / self.fps if self.fps else 0.0, [], 0.0
        for video in self.videos:
            if (own := video.seconds) is None:
                return None
            times.append(own + end)
            end += own[-1] + pause
        return np.concatenate(times)

    def whole(self) -> JoinedVideos:
        """Refuse a missing part.

        Returns:
            Itself.

        Raises:
            ValueError: a part is missing; names the first frame which is.
        """
        gap = np.flatnonzero(self.numbers != np.arange(len(self)))
        if len(gap):
            raise ValueError(
                f"{self.path.parent}: frame {gap[0]} is in none of "
                f"{', '.join(v.path.name for v in self.videos)}; names that end in "
                "the number of their first frame must follow one another: copy the missing part, "
                "or rename them 1, 2, 3"
            )
        return self

    def read(self, start: int, stop: int, wh: tuple[int, int] | None = None) -> np.ndarray:
        """As `Video.read`, across the borders of the parts.

        Args:
            start: the first frame.
            stop: one behind the last frame.
            wh: (W, H) in pixels; None: as recorded.

        Returns:
            (stop - start, H, W, 3) uint8 RGB.
        """
        return read_across(self.videos, self.ends, (start, stop), wh)


def read_across(
    films: Sequence[Footage],
    ends: Sequence[int] | np.ndarray,
    frames: tuple[int, int],
    wh: tuple[int, int] | None,
) -> np.ndarray:
    """Frames of films that follow one another, across their borders.

    Args:
        films: one after the other.
        ends: one behind the last frame of each, counted from the first film's first.
        frames: the first, and one behind the last.
        wh: (W, H) in pixels; None: as recorded.

    Returns:
        (n, H, W, 3) uint8 RGB.
    """
    parts, (start, stop) = [], frames
    for film, end in zip(films, ends):
        begin = end - len(film)
        if start < end and stop > begin:
            parts.append(film.read(int(max(start - begin, 0)), int(min(stop, end) - begin), wh))
    return np.concatenate(parts)


def one_of_each(paths: Sequence[Path]) -> Sequence[Path]:
    """Refuse files that differ in nothing but their kind: which of them is meant?

    Args:
        paths: of one folder.

    Returns:
        They themselves.

    Raises:
        ValueError: two are called alike, as cam1.mp4 and cam1.avi are.
    """
    first: dict[Path, Path] = {}
    for path in paths:
        if (other := first.setdefault(path.with_suffix(""), path)) is not path:
            raise ValueError(
                f"{path.parent}: {other.name} and {path.name} could each be {path.stem}; "
                "keep one of them in the folder"
            )
    return paths


def last_number(path: Path) -> int | None:
    """The number that a file's name ends in.

    Args:
        path: of the file.

    Returns:
        The number; None if there is none.
    """
    match = re.search(r"(\d{1,15})$", path.stem)
    return int(match[1]) if match else None


def frame_numbers(paths: Sequence[Path]) -> np.ndarray:
    """The numbers of images, by the last number of their names that is not the same in all.

    Args:
        paths: of one camera's images, in their order.

    Returns:
        (n,) those numbers; 0..n-1 where not all have one.
    """
    groups = [re.findall(r"\d{1,15}", p.stem) for p in paths]
    if len({len(g) for g in groups}) == 1 and len(paths) > 1:
        for column in reversed(list(zip(*groups))):
            if len(set(column)) > 1:
                return np.array([int(n) for n in column])
    numbers = [last_number(p) for p in paths]
    return np.arange(len(numbers)) if None in numbers else np.array(numbers)


def are_images(paths: Sequence[Path]) -> bool:
    """Are these images, side by side?

    Args:
        paths: of files or folders.

    Returns:
        Whether all of them are; False for none.
    """
    return bool(paths) and all(p.suffix.lower() in IMAGE_SUFFIXES and p.is_file() for p in paths)


def footage_of(source: Path | Sequence[Path]) -> Footage:
    """Open what one camera recorded.

    Args:
        source: a video, several one after the other, images, or a folder of videos or of images.

    Returns:
        Its frames by index.

    Raises:
        ValueError: a folder with both videos and images, or with neither.
    """
    if not isinstance(source, Path):
        return Stills(source) if are_images(source) else JoinedVideos(source)
    if not source.is_dir():
        return Stills([source]) if are_images([source]) else Video(source)
    videos, images = in_folder(source, VIDEO_SUFFIXES), in_folder(source, IMAGE_SUFFIXES)
    if bool(videos) == bool(images):
        what = "both videos and images" if videos else "neither videos nor images"
        raise ValueError(f"{source}: {what} in a camera's folder; expected one or the other")
    if images:
        return Stills(images)
    if len(videos) == 1 and last_number(videos[0]) in (None, 0):
        return Video(videos[0])
    return JoinedVideos(videos)


def in_folder(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Files of some kinds, hidden ones left out.

    Args:
        folder: to look into, not deeper.
        suffixes: with their dot, in lower case.

    Returns:
        Paths, sorted.
    """
    return sorted(
        p
        for p in folder.iterdir()
        if p.suffix.lower() in suffixes and p.is_file() and not p.name.startswith(".")
    )
