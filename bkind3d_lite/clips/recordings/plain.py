"""Plain folders: a video for each camera, or a folder of images or of consecutive videos; here or in `videos`. Pose2Sim's projects are such folders.

Images whose names end in numbers belong together by these, and where numbers are left out time jumps (a few labelled moments of a long film).
`truth.npz` (positions (T, J, 3), names, edges, body_length, marks) is read where it lies in the folder.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from .entry import Place, Recording, Stills, Truth, footage_of, match_videos, same_aspect, whole

TRUTH_BYTES = 1 << 32  # of a truth file's arrays: a hundred joints for days
PARTS = ("train", "val", "test")


def recognises(place: Place) -> bool:
    """Every folder, when no other layout has."""
    return True


def read(place: Place) -> Recording:
    """One footage a camera, frame t of all at one moment."""
    sources = place.sources()
    if not sources and (held := [name for name in PARTS if (place.folder / name).is_dir()]):
        raise ValueError(
            f"{place.folder}: holds the parts {', '.join(held)}; open one of them, for example {place.folder / held[0]}"
        )
    calibration = place.calibration()
    rig = place.rig(calibration, sources)
    paths = _in_order(sources, rig.names, calibration) or match_videos(
        sources, rig.names, place.folder, calibration
    )
    footage = tuple(whole(footage_of(paths[name])) for name in rig.names)
    same_aspect(footage, rig, calibration)
    table, clock = _by_number(footage)
    return Recording(rig, footage, place.rate(footage), table, _truth(place), clock)


def _by_number(footage) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Of folders of images that carry numbers: where the numbers that all have lie in each (T, V), and these; else (None, None)."""
    if not all(isinstance(f, Stills) and (np.diff(f.numbers) > 0).all() for f in footage):
        return None, None
    clock = np.array(
        sorted(set.intersection(*(set(f.numbers.tolist()) for f in footage))), np.int64
    )
    return np.stack([np.searchsorted(f.numbers, clock) for f in footage], 1), clock


def _in_order(sources, names, calibration):
    """Pose2Sim's rule, for its `calibration/Calib*.toml` alone: sorted videos meet the cameras in the file's order, if no name says otherwise."""
    if (
        calibration.parent.name != "calibration"
        or not calibration.name.startswith("Calib")
        or len(sources) != len(names)
    ):
        return None
    if any(name.lower() in stem.lower() for name in names for stem in sources):
        return None
    return dict(zip(names, sources.values()))


def _truth(place: Place) -> Truth | None:
    path = place.folder / "truth.npz"
    return read_truth(place.inside(path)) if path.is_file() else None


def read_truth(path: Path) -> Truth:
    """A `truth.npz`: positions (T, J, 3) in the calibration's unit, names (J), edges (E, 2) and, if they are known, body_length and
    marks (T, V, J, 2): where somebody or some tool saw the joints, in OpenCV's pixels. A `ValueError` naming the file for anything else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if (total := sum(entry.file_size for entry in archive.infolist())) > TRUTH_BYTES:
                raise ValueError(f"{total >> 20} MB unpacked")
        with np.load(path, allow_pickle=False) as data:
            edges = tuple((int(a), int(b)) for a, b in data["edges"])
            positions, names = (
                data["positions"].astype(np.float32),
                tuple(str(n) for n in data["names"]),
            )
            marks = (
                data["marks"].astype(np.float32) + 0.5 if "marks" in data else None
            )  # first pixel's centre: (0, 0) in the file, (0.5, 0.5) here
            if (
                positions.ndim != 3
                or positions.shape[1:] != (len(names), 3)
                or any(not 0 <= j < len(names) for edge in edges for j in edge)
            ):
                raise ValueError(
                    f"positions {positions.shape}, {len(names)} names, edges {edges[:3]}"
                )
            if marks is not None and (
                marks.ndim != 4 or marks.shape[::2] != positions.shape[:2] or marks.shape[3] != 2
            ):
                raise ValueError(f"marks {marks.shape} for positions {positions.shape}")
            return Truth(
                positions,
                names,
                edges,
                float(data["body_length"]) if "body_length" in data else None,
                marks,
            )
    except (
        Exception
    ) as error:  # of a broken archive anything can come; the user gets one kind of error
        raise ValueError(
            f"{path}: not a truth file ({type(error).__name__}: {error}); it holds positions (T, J, 3), names, edges "
            "and perhaps body_length and marks"
        ) from error
