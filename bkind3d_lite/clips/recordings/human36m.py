"""Human3.6M as h36m-fetch leaves it: images of cameras in folders, joints in `annot.h5`.

`S1/Directions-1/imageSequence/54138969/img_000001.jpg` and `S1/Directions-1/annot.h5`. Subjects 1,
5, 6, 7, 8 train; 9 and 11 test on every 16th frame (Sun et al. 2023, section 4). h36m-fetch keeps a
subset of the frames unless told otherwise, so time jumps; pairs are drawn within unbroken stretches
alone. The calibration (metadata.xml, camera-parameters.json or cameras.h5) lies in the sequence's
folder or up to three levels up.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...calibrations import find_calibration
from ...calibrations.isolated_parser import arrays
from ...cameras import CameraRig
from .entry import Place, Recording, Truth
from .footage import Stills, footage_of
from .matching import fitted
from .moments import common_numbers

TRAIN, TEST, EVERY = (1, 5, 6, 7, 8), (9, 11), 16  # subjects, and which frames are scored
FPS = 50.0
# 17 of 32, the usual ones.
HUMAN_JOINTS = dict(
    hip=0, right_hip=1, right_knee=2, right_foot=3, left_hip=6, left_knee=7, left_foot=8,
    spine=12, thorax=13, neck=14, head=15, left_shoulder=17, left_elbow=18, left_wrist=19,
    right_shoulder=25, right_elbow=26, right_wrist=27,
)  # fmt: skip
HUMAN_BONES = (
    (0, 1), (1, 2), (2, 3), (0, 4), (4, 5), (5, 6), (0, 7), (7, 8), (8, 9), (9, 10), (8, 11),
    (11, 12), (12, 13), (8, 14), (14, 15), (15, 16),
)  # fmt: skip
BAD = {
    (11, "Directions-2"): "the video of camera 54138969 is damaged",
    (9, "Greeting-2"): "truth and images are shifted",
    (9, "SittingDown-2"): "truth and images are shifted",
    (9, "Waiting-1"): "truth and images are shifted",
}


def recognises(place: Place) -> bool:
    """A sequence's folder.

    Args:
        place: the folder.

    Returns:
        Whether images of a sequence are there.
    """
    return (place.folder / "imageSequence").is_dir()


def read(place: Place) -> Recording:
    """The frames that every camera has, by their numbers.

    Args:
        place: the folder.

    Returns:
        The recording; 17 joints in the world as truth where `annot.h5` is there.

    Raises:
        ValueError: the sequence is known to be bad, or a camera's folder holds no images.
    """
    subject = _subject(place)
    if why := BAD.get((subject, place.folder.name)):
        raise ValueError(
            f"{place.folder}: a sequence known to be bad ({why}), left out by everybody; "
            "take another one"
        )
    place = replace(place, subject=f"S{subject}")
    sources = place.sources(place.inside(place.folder / "imageSequence"))
    calibration = _calibration(place)
    rig = place.rig(calibration, sources)
    paths = place.matched(sources, rig, calibration)
    footage = tuple(footage_of(paths[name]) for name in rig.names)
    if odd := [f.path.name for f in footage if not isinstance(f, Stills)]:
        raise ValueError(
            f"{place.folder}: imageSequence/{odd[0]} holds no images; "
            "expected img_000001.jpg and on"
        )
    footage = fitted(footage, rig, calibration)
    table, clock = common_numbers([f for f in footage if isinstance(f, Stills)])
    step = float(np.diff(clock).min()) if len(clock) > 1 else 1.0
    return Recording(
        rig=rig,
        footage=footage,
        fps=place.fps or FPS / step,
        table=table,
        truth=_truth(place, rig, clock),
        clock=clock,
        scored=(clock - 1) % EVERY == 0 if subject in TEST else None,
    )


def sequences(root: Path) -> list[tuple[int, dict[str, Any]]]:
    """Every sequence that is not known to be bad.

    Args:
        root: of the data set.

    Returns:
        (subject, what `open_clip` wants) of each.
    """
    images = sorted(root.glob("S*/*/imageSequence"))
    numbered = [p for p in images if re.fullmatch(r"S\d{1,2}", p.parts[-3])]
    pairs = [(int(p.parts[-3][1:]), p.parent) for p in numbered]
    return [(s, dict(folder=folder)) for s, folder in pairs if (s, folder.name) not in BAD]


def _subject(place: Place) -> int:
    name = str(place.subject or place.folder.absolute().parent.name)
    if not (match := re.fullmatch(r"[Ss]?(\d{1,2})", name)):
        raise ValueError(
            f"{place.folder}: whose sequence is it? expected a folder like "
            f"S1/{place.folder.name}, or subject='S1', --subject S1"
        )
    return int(match[1])


def _calibration(place: Place) -> Path:
    for folder in (place.folder.absolute(), *place.folder.absolute().parents[:2]):
        try:
            return replace(place, folder=folder.parent).inside(find_calibration(folder))
        except FileNotFoundError:
            continue
    raise FileNotFoundError(
        f"{place.folder}: no metadata.xml, camera-parameters.json or cameras.h5 here or up to "
        "three levels up; metadata.xml comes with the data set"
    )


def _truth(place: Place, rig: CameraRig, clock: np.ndarray) -> Truth | None:
    """`pose/3d` is in the coordinates of each camera: X_world = R^T (X_camera - t).

    R and t are the first camera's.
    """
    path = place.folder / "annot.h5"
    if not path.is_file():
        return None
    data = arrays(place.inside(path), ("pose", "frame", "camera"))
    if missing := [key for key in ("pose/3d", "frame", "camera") if key not in data]:
        raise ValueError(f"{path}: no {', '.join(missing)}; expected h36m-fetch's annot.h5")
    mine = data["camera"].ravel() == int(rig.names[0])
    poses = data["pose/3d"].T[mine][:, list(HUMAN_JOINTS.values())]  # HDF5 comes transposed
    world = (poses - rig.t[0].numpy()) @ rig.R[0].numpy()
    rows = dict(zip(data["frame"].ravel()[mine].tolist(), world))
    nothing = np.full((len(HUMAN_JOINTS), 3), np.nan)
    positions = np.stack([rows.get(number, nothing) for number in clock.tolist()])
    return Truth(positions.astype(np.float32), tuple(HUMAN_JOINTS), HUMAN_BONES)
