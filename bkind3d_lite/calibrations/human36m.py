"""Human3.6M: `metadata.xml` (the original), `camera-parameters.json` (widespread), `cameras.h5`.

Millimetres, one rig a subject. The data set's own tangential terms lack OpenCV's factor 2 on the
cross terms; read as OpenCV's they are up to about a pixel off in the corners.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from .entry import Tables
from .isolated_parser import contents
from .mocap import parse

CAMERAS = ("54138969", "55011271", "58860488", "60457274")
SIZES = {"54138969": (1000, 1002), "60457274": (1000, 1002)}
SUBJECTS = (1, 5, 6, 7, 8, 9, 11)


def _number(subject: str | int | None, path: Path, subjects: Collection[int] = SUBJECTS) -> int:
    """11 from `S11`, `11` or 11."""
    digits = str(subject).upper().removeprefix("S")
    if not digits.isdigit() or int(digits) not in subjects:
        raise ValueError(
            f"{path}: subject = {subject}; this file holds one rig for each of "
            f"{', '.join(f'S{n}' for n in subjects)}: say subject='S1'"
        )
    return int(digits)


def _table(
    name: str, intrinsics: Iterable, R: np.ndarray, t: np.ndarray, distortion: Sequence
) -> dict[str, Any]:
    fx, fy, cx, cy = intrinsics
    return dict(
        name=name,
        size=SIZES.get(name, (1000, 1000)),
        matrix=[[fx, 0, cx], [0, fy, cy], [0, 0, 1]],
        rotation=R,
        translation=t,
        distortions=distortion,
    )


def read_metadata(path: Path, subject: str | int | None = None) -> tuple[Tables, str]:
    """Cameras from `w0` of metadata.xml.

    It holds 4 x 11 x (three angles, camera centre), then 4 x (fx, fy, cx, cy, k1, k2, k3, p1, p2).

    Args:
        path: the file.
        subject: whose rig.

    Returns:
        The cameras, and the unit.

    Raises:
        ValueError: it is another file, or the subject is none of its own.
    """
    text = next((e.text for e in parse(path).iter("w0")), None)
    w0 = np.array([float(x) for x in (text or "").strip().strip("[]").replace(",", " ").split()])
    if w0.size != 300:
        raise ValueError(
            f"{path}: {w0.size} numbers in w0, expected the 300 of Human3.6M's metadata.xml"
        )
    outer = w0[:264].reshape(4, 11, 6)[:, _number(subject, path, range(1, 12)) - 1]
    inner = w0[264:].reshape(4, 9)
    tables = {}
    for name, (*angles, cx, cy, cz), lens in zip(CAMERAS, outer, inner):
        turns = [Rotation.from_euler(axis, angle) for axis, angle in zip("xyz", angles)]
        R = (turns[0] * turns[1] * turns[2]).as_matrix()
        k1, k2, k3, p1, p2 = lens[4:]
        t = -R @ np.array([cx, cy, cz])
        tables[name] = _table(name, lens[:4], R, t, (k1, k2, p1, p2, k3))
    return tables, "mm"


def recognises(root: Any) -> bool:
    """Is this camera-parameters.json: extrinsics by subject, S1 to S11?

    Args:
        root: a file's contents.

    Returns:
        Whether it is.
    """
    if not isinstance(root, dict) or not isinstance(root.get("intrinsics"), dict):
        return False
    outer = root.get("extrinsics")
    return isinstance(outer, dict) and bool(outer) and all(re.fullmatch(r"S\d+", k) for k in outer)


def read_parameters(
    root: dict[str, Any], path: Path, subject: str | int | None = None
) -> tuple[Tables, str]:
    """Cameras from camera-parameters.json: OpenCV's convention, world to camera.

    Args:
        root: its contents, `intrinsics[camera]` and `extrinsics[subject][camera]`.
        path: the file, for messages.
        subject: whose rig.

    Returns:
        The cameras, and the unit.
    """
    subjects = sorted(int(key[1:]) for key in root["extrinsics"])
    outer = root["extrinsics"][f"S{_number(subject, path, subjects)}"]
    tables = {}
    for name, inner in root["intrinsics"].items():
        tables[name] = dict(
            name=name,
            size=SIZES.get(name, (1000, 1000)),
            matrix=inner["calibration_matrix"],
            distortions=inner["distortion"],
            rotation=outer[name]["R"],
            translation=np.ravel(outer[name]["t"]),
        )
    return tables, "mm"


def read_h5(path: Path, subject: str | int | None = None) -> tuple[Tables, str]:
    """Cameras from cameras.h5, groups `subject{n}/camera{i}`.

    They hold R (transposed), the centre T, f, c, k (3), p (2), and the name as character codes.

    Args:
        path: the file.
        subject: whose rig.

    Returns:
        The cameras, and the unit.

    Raises:
        ValueError: it is another file, or the subject is none of its own.
    """
    root = contents(path)
    subjects = sorted(int(key.removeprefix("subject")) for key in root if key.startswith("subject"))
    if not subjects:
        raise ValueError(f"{path}: no subjects in it; expected Human3.6M's cameras.h5")
    group = root[f"subject{_number(subject, path, subjects)}"]
    tables = {}
    for camera in (group[key] for key in sorted(group)):
        fields = (np.array(camera[key], np.float64) for key in ("R", "T", "f", "c", "k", "p"))
        R, T, f, c, k, p = (x.T for x in fields)  # not MATLAB's: as it stands
        name = "".join(chr(int(code)) for code in np.ravel(camera["Name"]))
        (k1, k2, k3), centre = k.ravel(), T.ravel()
        intrinsics = (*f.ravel(), *c.ravel())
        tables[name] = _table(name, intrinsics, R.T, -R.T @ centre, (k1, k2, *p.ravel(), k3))
    return tables, "mm"
