"""Recordings: a folder as a camera, a tool or a data set left it, understood.

One small module a layout. Only what lies in the folder given is read, and its calibration, which
may lie beside it (one level up; the project's file of Anipose two, Human3.6M's three). Links that
lead out of it are refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..videos import VIDEO_SUFFIXES
from . import anipose, dannce, human36m, plain, rat7m
from . import one_camera as one_camera_films
from .entry import Place, Recording, Truth
from .matching import match_videos
from .moments import synchronized

__all__ = ["Place", "Recording", "Truth", "match_videos", "published_split", "read_recording"]

# The first one that recognises the folder reads it.
RECORDING_READERS = (human36m, rat7m, dannce, anipose, one_camera_films, plain)


def read_recording(
    folder: str | Path,
    *,
    subject: str | int | None = None,
    trial: str | None = None,
    fps: float | None = None,
    offsets: Mapping[str, int] | None = None,
    common: bool = False,
    one_camera: bool = False,
    resample: bool = False,
    cameras: Sequence[str] | None = None,
) -> Recording:
    """Understand a folder; nothing is decoded.

    Args:
        folder: the recording.
        subject: which rig of a Human3.6M calibration.
        trial: a word of the videos' names, where a folder holds several recordings.
        fps: frames per second, where the files do not say (images) or say wrong.
        offsets: {camera: frames} by which a camera is read later.
        common: cut videos of unequal length to the stretch that all have.
        one_camera: all that lies there is of one uncalibrated camera.
        resample: bring cameras of different rates to the slowest one's, by their times.
        cameras: names of the calibrated cameras that are used; None: all.

    Returns:
        What its cameras recorded.

    Raises:
        FileNotFoundError: the folder or a file of it is not there.
        ValueError: a file cannot be read or does not fit; with the file, the value and the remedy.
    """
    place = _place(Path(folder), one_camera, cameras, subject=subject, trial=trial, fps=fps)
    if not place.folder.is_dir():
        raise FileNotFoundError(
            f"{folder}: no such folder; a clip is a folder with one video per camera and a "
            "calibration.toml"
        )
    readers = (one_camera_films,) if place.one_camera else RECORDING_READERS
    reader = next(reader for reader in readers if reader.recognises(place))
    try:
        return synchronized(reader.read(place), place, offsets, common, resample)
    except (OSError, ValueError):
        raise
    except Exception as error:  # missing fields, of another kind or shape: of a broken file all
        name = reader.__name__.rpartition(".")[2]
        raise ValueError(
            f"{folder}: cannot be read as a {name} recording ({type(error).__name__}: {error}); "
            "a file of it is damaged or of another kind"
        ) from error


def _place(
    path: Path, one_camera: bool, cameras: Sequence[str] | None = None, **given: Any
) -> Place:
    """A folder, or the folder of a video that is one camera's."""
    if (fps := given["fps"]) is not None and not 0 < fps < 1e6:
        raise ValueError(f"{path}: fps = {fps}; expected frames per second, above 0")
    given["cameras"] = None if cameras is None else tuple(map(str, cameras))
    if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file():
        return Place(path.parent, one_camera=True, file=path, **given)
    return Place(path, one_camera=one_camera, **given)


def published_split(root: str | Path) -> dict[str, list[dict[str, Any]]]:
    """The parts that a data set's folder is divided into by those who publish scores on it.

    Human3.6M as h36m-fetch leaves it: subjects 1, 5, 6, 7, 8 and 9, 11, without the sequences
    known to be bad; Rat7M: subjects 1 to 4 and 5. The protocols score every 16th and every 240th
    frame (`clip.scored`).

    Args:
        root: the data set's folder.

    Returns:
        {"train": [...], "test": [...]}: what `open_clip(**entry)` wants for each recording.

    Raises:
        FileNotFoundError: neither data set is there.
    """
    root = Path(root)
    for reader in (human36m, rat7m):
        if recordings := reader.sequences(root):
            return {
                name: [entry for subject, entry in recordings if subject in subjects]
                for name, subjects in (("train", reader.TRAIN), ("test", reader.TEST))
            }
    raise FileNotFoundError(
        f"{root}: neither Human3.6M (S1/Directions-1/imageSequence, by h36m-fetch) nor Rat7M "
        "(mocap-s1-d1.mat) in it"
    )
