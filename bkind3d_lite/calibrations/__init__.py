"""Calibrations: whatever tool wrote the file, one `CameraRig`; a module a family of dialects."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from ..cameras import CameraRig
from .entry import Sizes, natural, rig_of
from .human36m import read_h5, read_metadata
from .matlab import read_mat
from .mocap import read_qualisys, read_vicon
from .plain import read_json, read_npz
from .tomls import read_toml
from .yamls import read_yaml

__all__ = ["find_calibration", "load_calibration", "natural"]

log = logging.getLogger(__name__)
# In this order: the first pattern that matches a file is the calibration of a folder.
USUAL_NAMES = (
    "calibration.toml",
    "*[Cc]alib*.toml",
    "camera_array.toml",
    "*dannce.mat",
    "intri.yml",
    "*.qca.txt",
    "*.xcp",
    "calibration.json",
    "*camera*.json",
    "calibration.npz",
    "metadata.xml",
    "cameras.h5",
    "mocap-*.mat",
)

READERS = {
    ".toml": read_toml,
    ".mat": read_mat,
    ".yml": read_yaml,
    ".yaml": read_yaml,
    ".xcp": read_vicon,
    ".txt": read_qualisys,
    ".npz": read_npz,
}
# Human3.6M: one file, a rig for each subject.
BY_SUBJECT = {".json": read_json, ".xml": read_metadata, ".h5": read_h5}
PICKLES = (".pickle", ".pkl", ".npy", ".pt", ".pth")
LARGEST = 1 << 28  # bytes; no calibration is as large, a video renamed by mistake is


def load_calibration(
    path: str | Path, wh: Sizes = None, subject: str | int | None = None
) -> CameraRig:
    """Read a calibration of any known dialect; the dialect is recognised by the file itself.

    Anipose and its family, Pose2Sim, Caliscope (`.toml`); DANNCE, Label3D, Rat7M (`.mat`);
    EasyMocap, JARVIS (`.yml`); Qualisys (`.qca.txt`); Vicon (`.xcp`); Human3.6M (`metadata.xml`,
    `camera-parameters.json`, `cameras.h5`); plain JSON or NPZ with K, R, t or projection matrices.
    Lens models other than OpenCV's five coefficients, mirrors and pickles are refused by name.

    Args:
        path: the file.
        wh: (W, H) in pixels of the images, needed where the format holds none; or a function that
            tells each camera's by its name.
        subject: `S1` or 1, needed by Human3.6M's files.

    Returns:
        A float32 rig. Lengths stay in the file's unit, named in `rig.unit` ("unknown" where nothing
        tells).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read; names the file, the value and the remedy.
    """
    path = Path(path)
    suffix = _suffix(path)
    try:
        if suffix in READERS:
            tables, unit = READERS[suffix](path)
        else:
            tables, unit = BY_SUBJECT[suffix](path, subject)
        return rig_of(tables, path, unit, wh)
    except Exception as error:
        # Of a broken file anything can come, from five parsers; the user gets one kind of error.
        if isinstance(error, ValueError) and str(path.parent) in str(error):
            raise
        raise ValueError(
            f"{path}: cannot be read as a {suffix} calibration ({type(error).__name__}: {error}); "
            "write it again with your calibration tool"
        ) from error


def _suffix(path: Path) -> str:
    """How the file's name ends, if it may be a calibration that can be read."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no calibration here; expected for example an Anipose calibration.toml"
        )
    suffix = path.suffix.lower()
    if suffix in PICKLES:
        raise ValueError(
            f"{path}: a pickle can run code when it is read, so it is not; load it where you trust "
            "it and save K, R, t, distortion, size, names with numpy.savez (.npz) or as JSON"
        )
    if path.stat().st_size > LARGEST:
        raise ValueError(
            f"{path}: {path.stat().st_size >> 20} MB; no calibration is that large: "
            "is it the right file?"
        )
    if suffix not in READERS and suffix not in BY_SUBJECT:
        raise ValueError(
            f"{path}: no calibration dialect ends in {suffix or 'nothing'}; "
            f"known: {', '.join(sorted((*READERS, *BY_SUBJECT)))}"
        )
    return suffix


def find_calibration(folder: str | Path) -> Path:
    """The calibration of a folder of videos.

    Args:
        folder: it lies there, in a folder `calibration` there, or the same one level up.

    Returns:
        The first file of a usual name.

    Raises:
        FileNotFoundError: there is none.
        ValueError: several fit alike.
    """
    folder = Path(folder)
    for place in _places(folder):
        for pattern in USUAL_NAMES if place.is_dir() else ():
            files = sorted(p for p in place.glob(pattern) if p.is_file())
            if len(files) > 1:
                raise ValueError(
                    f"{place}: {', '.join(p.name for p in files)} could each be the calibration; "
                    "keep one of them"
                )
            if files:
                return _said(files[0], place)
    raise FileNotFoundError(
        f"{folder}: no calibration.toml here or one level up, nor a calibration of another known "
        f"name ({', '.join(USUAL_NAMES[1:])})"
    )


def _said(chosen: Path, place: Path) -> Path:
    """The file that is read, with a word of others that could be."""
    others = {p.name for name in USUAL_NAMES for p in place.glob(name)} - {chosen.name}
    if others:
        log.warning(
            "note: of the calibrations in %s, %s is read, not %s; take away what is old",
            place,
            chosen.name,
            ", ".join(sorted(others)),
        )
    return chosen


def _places(folder: Path) -> Iterator[Path]:
    for place in (folder, folder.parent):
        yield from (place, place / "calibration", place / "Calibration")
