"""Plain folders: a video for each camera, or a folder of images or of consecutive videos; here or in `videos`. Pose2Sim's projects are such folders.

`truth.npz` (positions (T, J, 3), names, edges, body_length) is read where it lies in the folder.
"""
from __future__ import annotations

import numpy as np

from .entry import Place, Recording, Truth, footage_of, match_videos, same_aspect, whole

PARTS = ("train", "val", "test")


def recognises(place: Place) -> bool:
    """Every folder, when no other layout has."""
    return True


def read(place: Place) -> Recording:
    """One footage a camera, frame t of all at one moment."""
    sources = place.sources()
    if not sources and (held := [name for name in PARTS if (place.folder / name).is_dir()]):
        raise ValueError(f"{place.folder}: holds the parts {', '.join(held)}; open one of them, for example {place.folder / held[0]}")
    calibration = place.calibration()
    rig = place.rig(calibration, sources)
    paths = _in_order(sources, rig.names, calibration) or match_videos(sources, rig.names, place.folder, calibration)
    footage = tuple(whole(footage_of(paths[name])) for name in rig.names)
    same_aspect(footage, rig, calibration)
    return Recording(rig, footage, place.rate(footage), truth=_truth(place))


def _in_order(sources, names, calibration):
    """Pose2Sim's rule, for its `calibration/Calib*.toml` alone: sorted videos meet the cameras in the file's order, if no name says otherwise."""
    if calibration.parent.name != "calibration" or not calibration.name.startswith("Calib") or len(sources) != len(names):
        return None
    if any(name.lower() in stem.lower() for name in names for stem in sources):
        return None
    return dict(zip(names, sources.values()))


def _truth(place: Place) -> Truth | None:
    path = place.folder / "truth.npz"
    if not path.is_file():
        return None
    try:
        with np.load(place.inside(path), allow_pickle=False) as data:
            edges = tuple((int(a), int(b)) for a, b in data["edges"])
            return Truth(data["positions"].astype(np.float32), tuple(str(n) for n in data["names"]), edges,
                         float(data["body_length"]) if "body_length" in data else None)
    except (KeyError, TypeError, EOFError, OSError) as error:
        raise ValueError(f"{path}: not a truth file ({error}); it holds positions (T, J, 3), names, edges and perhaps body_length") from error
