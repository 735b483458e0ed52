"""Plain folders: for each camera a video, a folder of images, or one of consecutive videos.

Here or in `videos`; Pose2Sim's projects are such folders. Images whose names end in numbers belong
together by these, and where numbers are left out time jumps (a few labelled moments of a long
film). `truth.npz` (positions (T, J, 3), names, edges, body_length, marks) is read where it lies in
the folder.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..videos import Footage
from .entry import Place, Recording, Truth, whole
from .footage import Stills, footage_of
from .matching import fitted
from .moments import common_numbers

TRUTH_BYTES = 1 << 32  # of a truth file's arrays: a hundred joints for days
PARTS = ("train", "val", "test")


def recognises(place: Place) -> bool:
    """Every folder, when no other layout has.

    Args:
        place: the folder.

    Returns:
        True.
    """
    return True


def read(place: Place) -> Recording:
    """One footage a camera, frame t of all at one moment.

    Args:
        place: the folder.

    Returns:
        The recording.

    Raises:
        FileNotFoundError: there is no calibration.
        ValueError: it holds the parts of a data set.
    """
    sources = place.sources()
    parts = [name for name in PARTS if (place.folder / name).is_dir()]
    if not sources and parts:
        raise ValueError(
            f"{place.folder}: holds the parts {', '.join(parts)}; open one of them, "
            f"for example {place.folder / parts[0]}"
        )
    try:
        calibration = place.calibration()
    except FileNotFoundError as error:
        if len(sources) < 2:
            raise
        raise FileNotFoundError(
            f"{error}; if {', '.join(sources)} are films of one camera that nobody calibrated: "
            "one_camera=True, --one-camera"
        ) from error
    rig = place.rig(calibration, sources)
    paths = _in_order(sources, rig.names, calibration) or place.matched(sources, rig, calibration)
    films = [whole(footage_of(paths[name])) for name in rig.names]
    footage = fitted(films, rig, calibration)
    table, clock = _by_number(footage)
    return Recording(
        rig=rig,
        footage=footage,
        fps=place.rate(footage),
        table=table,
        truth=_truth(place, place.places(rig, calibration)),
        clock=clock,
    )


def _by_number(footage: Sequence[Footage]) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Of folders of images that carry numbers: where the numbers that all have lie in each (T, V).

    And these numbers (T,); else (None, None).
    """
    stills = [f for f in footage if isinstance(f, Stills) and (np.diff(f.numbers) > 0).all()]
    return common_numbers(stills) if len(stills) == len(footage) else (None, None)


def _in_order(
    sources: dict[str, Path], names: Sequence[str], calibration: Path
) -> dict[str, Path] | None:
    """Pose2Sim's rule, for its `calibration/Calib*.toml` alone.

    Sorted videos meet the cameras in the file's order, if no name says otherwise.
    """
    pose2sim = calibration.parent.name == "calibration" and calibration.name.startswith("Calib")
    if not pose2sim or len(sources) != len(names):
        return None
    if any(name.lower() in stem.lower() for name in names for stem in sources):
        return None
    return dict(zip(names, sources.values()))


def _truth(place: Place, places: list[int]) -> Truth | None:
    """The truth, with the marks of the cameras at these `places` (V) alone."""
    path = place.folder / "truth.npz"
    if not path.is_file():
        return None
    truth = read_truth(place.inside(path))
    if truth.marks is None or truth.marks.shape[1] <= max(places):
        return truth
    return replace(truth, marks=truth.marks[:, places]) if place.cameras else truth


def read_truth(path: Path) -> Truth:
    """Read a `truth.npz`.

    Args:
        path: the file, with positions (T, J, 3) in the calibration's unit, names (J), edges (E, 2)
            and perhaps body_length and marks (T, V, J, 2): where somebody or some tool marked the
            joints, in OpenCV's pixels.

    Returns:
        The truth, its marks in corner-origin pixels.

    Raises:
        ValueError: anything else is in the file; names it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if (total := sum(entry.file_size for entry in archive.infolist())) > TRUTH_BYTES:
                raise ValueError(f"{total >> 20} MB unpacked")
        with np.load(path, allow_pickle=False) as data:
            return _checked_truth(data)
    except Exception as error:  # of a broken archive anything can come; the user gets one error
        raise ValueError(
            f"{path}: not a truth file ({type(error).__name__}: {error}); it holds positions "
            "(T, J, 3), names, edges and perhaps body_length and marks"
        ) from error


def _checked_truth(data: np.lib.npyio.NpzFile) -> Truth:
    edges = tuple((int(a), int(b)) for a, b in data["edges"])
    positions = data["positions"].astype(np.float32)
    names = tuple(str(n) for n in data["names"])
    # The first pixel's centre: (0, 0) in the file, (0.5, 0.5) here.
    marks = data["marks"].astype(np.float32) + 0.5 if "marks" in data else None
    strangers = [edge for edge in edges if not all(0 <= j < len(names) for j in edge)]
    if positions.ndim != 3 or positions.shape[1:] != (len(names), 3) or strangers:
        raise ValueError(f"positions {positions.shape}, {len(names)} names, edges {edges[:3]}")
    if marks is not None:
        fits = marks.ndim == 4 and marks.shape[::2] == positions.shape[:2] and marks.shape[3] == 2
        if not fits:
            raise ValueError(f"marks {marks.shape} for positions {positions.shape}")
    return Truth(
        positions=positions,
        names=names,
        edges=edges,
        body_length=float(data["body_length"]) if "body_length" in data else None,
        marks=marks,
    )
