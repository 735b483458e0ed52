"""One camera that nobody calibrated: a video, several, or folders of images, one after the other.

B-KinD's own layout is among them (`train/<video>/<images>`, `val/<video>/<images>`). Films of one
kind of animal by one kind of camera make one recording; each begins a stretch of its own, so that
no pair of frames reaches from one film into the next. `boxes.csv` (video, frame, x, y, w, h; pixels
from the upper left corner) says where the animal is, where somebody knows it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ...files import text_of
from ...image_plane import image_plane
from ..videos import Footage
from .entry import Place, Recording
from .footage import (
    IMAGE_SUFFIXES,
    JoinedVideos,
    Stills,
    are_images,
    footage_of,
    in_folder,
    last_number,
    read_across,
)

BOX = ("video", "frame", "x", "y", "w", "h")  # columns of boxes.csv


def recognises(place: Place) -> bool:
    """One source, and no calibration.

    Args:
        place: the folder.

    Returns:
        Whether it can be nothing else.
    """
    if place.one_camera:
        return True
    try:
        place.calibration()
    except FileNotFoundError:
        return len(place.sources()) == 1 or bool(in_folder(place.folder, IMAGE_SUFFIXES))
    except ValueError:  # several could be it, or it leads elsewhere: `plain` says so
        return False
    return False


def read(place: Place) -> Recording:
    """All films, joined.

    Args:
        place: the folder, or the folder of the one file.

    Returns:
        The recording of one camera.
    """
    films = Films([_film(name, path) for name, path in _sources(place).items()])
    path = place.inside(place.folder / "boxes.csv")
    name = films.names[0] if len(films.names) == 1 else place.folder.name
    return Recording(
        rig=image_plane(name, films.wh),
        footage=(films,),
        fps=place.rate((films,)),
        clock=films.numbers,
        film=films.film,
        boxes=read_boxes(path, films) if path.is_file() else None,
    )


def _sources(place: Place) -> Mapping[str, Path]:
    """{name: video or folder of images}, in natural order of the names."""
    if place.file is not None:
        return {place.file.stem: place.inside(place.file)}
    sources = place.sources()
    if are_images(list(sources.values())):  # side by side: one film
        home = next(iter(sources.values())).parent
        return {place.folder.name: home}
    if sources:
        return sources
    raise ValueError(
        f"{place.folder}: no video and no folder of images; one camera's recording is a video, "
        "several videos, or a folder of images for each"
    )


def _film(name: str, path: Path) -> Footage:
    """One film of two frames or more, in the order that its frames' numbers say."""
    film = footage_of(path)
    if isinstance(film, Stills) and any(last_number(p) is None for p in film.paths):
        odd = next(p for p in film.paths if last_number(p) is None)
        raise ValueError(
            f"{odd}: its name ends in no number, so its place in time is not known; number the "
            "images in their order (images_00000001.jpg)"
        )
    if len(film) < 2:
        raise ValueError(
            f"{path}: 1 frame; what moves is learned from pairs of frames, so a film has at least "
            "2: leave it out"
        )
    return film.whole() if isinstance(film, JoinedVideos) else film


class Films:
    """Films of one size and rate in a row.

    `numbers` (n,) are each film's own; `film` (n,) says which of `names` a frame is of.
    Films of different sizes or rates are a `ValueError`.
    """

    def __init__(self, films: Sequence[Footage]):
        self.films, first = list(films), films[0]
        self.path, self.wh = first.path, first.wh
        self.fps = max(film.fps for film in films)
        for film in films:
            if film.wh != self.wh:
                raise ValueError(
                    f"{film.path}: {film.wh[0]} x {film.wh[1]} pixels, {self.path} has "
                    f"{self.wh[0]} x {self.wh[1]}; films of one recording have one size: scale "
                    "them, or keep each size in a folder of its own"
                )
            if film.fps and abs(film.fps - self.fps) > 0.01 * self.fps:
                raise ValueError(
                    f"{film.path}: {film.fps:.4g} frames a second, others of its folder have "
                    f"{self.fps:.4g}; a gap in time would be another gap in frames: bring them to "
                    "one rate"
                )
        self.names = [_name(film) for film in films]
        self.ends = np.cumsum([len(film) for film in films])
        clocks = [np.asarray(getattr(f, "numbers", np.arange(len(f)))) for f in films]
        self.numbers = np.concatenate(clocks)
        self.film = np.repeat(np.arange(len(films)), [len(film) for film in films])

    @property
    def seconds(self) -> np.ndarray | None:
        """(n,) presentation times of one film; several do not follow one another: None."""
        return self.films[0].seconds if len(self.films) == 1 else None

    def __len__(self) -> int:
        return int(self.ends[-1])

    def read(self, start: int, stop: int, wh: tuple[int, int] | None = None) -> np.ndarray:
        """As `Video.read`, across the borders of the films.

        Args:
            start: the first frame.
            stop: one behind the last frame.
            wh: (W, H) in pixels; None: as recorded.

        Returns:
            (stop - start, H, W, 3) uint8 RGB.
        """
        return read_across(self.films, self.ends, (start, stop), wh)

    def parts(self) -> dict[str, slice]:
        """The frames of each film, by its name."""
        return {
            name: slice(int(end) - len(film), int(end))
            for name, film, end in zip(self.names, self.films, self.ends)
        }


def _name(film: Footage) -> str:
    return film.path.name if film.path.is_dir() else film.path.stem


def read_boxes(path: Path, films: Films) -> np.ndarray:
    """Where the animal is, frame by frame.

    Args:
        path: a CSV with the columns of `BOX`; frames count from 0 in each film, and frames that
            are left out lie between their neighbours.
        films: that it speaks of.

    Returns:
        (T, 4) float32 x, y, width, height in pixels.

    Raises:
        ValueError: a column, a film's boxes or a frame is missing or wrong; names it.
    """
    boxes = np.zeros((len(films), 4), np.float32)
    try:
        rows = list(csv.DictReader(io.StringIO(text_of(path), newline="")))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: no text ({error}); write it as a CSV in UTF-8") from error
    if missing := [name for name in BOX if not rows or name not in rows[0]]:
        raise ValueError(f"{path}: no column {missing[0]!r}; expected {', '.join(BOX)}")
    try:
        values = np.array([[float(row[c]) for c in BOX[1:]] for row in rows])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}; expected numbers under {', '.join(BOX[1:])}") from error
    if not (finite := np.isfinite(values).all(1)).all():
        row = int(finite.argmin())
        raise ValueError(
            f"{path}: row {row + 2} holds {values[row].tolist()}; leave out frames whose box is "
            "not known, they lie between their neighbours"
        )
    stems = np.array([Path(row["video"]).stem for row in rows])
    for name, part in films.parts().items():
        own = values[stems == Path(name).stem]
        own = own[own[:, 0].argsort()]
        if not len(own) or (own[:, 3:] <= 0).any():
            what = "a box without width or height" if len(own) else "no box"
            raise ValueError(f"{path}: {what} for {name}; every film has boxes of its animal")
        frames = np.arange(part.stop - part.start)
        boxes[part] = np.stack([np.interp(frames, own[:, 0], own[:, i]) for i in range(1, 5)], 1)
    return boxes
