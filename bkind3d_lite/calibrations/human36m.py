"""Human3.6M: the original `metadata.xml`, the widespread `camera-parameters.json`, and `cameras.h5`. Millimetres, one rig a subject.

The data set's own tangential terms lack OpenCV's factor 2 on the cross terms; read as OpenCV's they are up to about a pixel off in the corners.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from .isolated_parser import contents
from .mocap import parse

CAMERAS = ("54138969", "55011271", "58860488", "60457274")
SIZES = {"54138969": (1000, 1002), "60457274": (1000, 1002)}
SUBJECTS = (1, 5, 6, 7, 8, 9, 11)


def _number(subject: str | int | None, path: Path, known=SUBJECTS) -> int:
    """11 from `S11`, `11` or 11."""
    digits = str(subject).upper().removeprefix("S")
    if not digits.isdigit() or int(digits) not in known:
        raise ValueError(
            f"{path}: subject = {subject}; this file holds one rig for each of {', '.join(f'S{n}' for n in known)}: say subject='S1'"
        )
    return int(digits)


def _table(name: str, intrinsics, R: np.ndarray, t: np.ndarray, distortion) -> dict:
    fx, fy, cx, cy = intrinsics
    return dict(
        name=name,
        size=SIZES.get(name, (1000, 1000)),
        matrix=[[fx, 0, cx], [0, fy, cy], [0, 0, 1]],
        rotation=R,
        translation=t,
        distortions=distortion,
    )


def read_metadata(path: Path, subject=None) -> tuple[dict, str]:
    """`w0` of metadata.xml: 4 x 11 x (three angles, camera centre), then 4 x (fx, fy, cx, cy, k1, k2, k3, p1, p2)."""
    text = next((e.text for e in parse(path).iter("w0")), None)
    w0 = np.array([float(x) for x in (text or "").strip().strip("[]").replace(",", " ").split()])
    if w0.size != 300:
        raise ValueError(
            f"{path}: {w0.size} numbers in w0, expected the 300 of Human3.6M's metadata.xml"
        )
    outside, inside = (
        w0[:264].reshape(4, 11, 6)[:, _number(subject, path, range(1, 12)) - 1],
        w0[264:].reshape(4, 9),
    )
    tables = {}
    for name, (rx, ry, rz, *centre), (fx, fy, cx, cy, k1, k2, k3, p1, p2) in zip(
        CAMERAS, outside, inside
    ):
        R = (
            Rotation.from_euler("x", rx)
            * Rotation.from_euler("y", ry)
            * Rotation.from_euler("z", rz)
        ).as_matrix()
        tables[name] = _table(
            name, (fx, fy, cx, cy), R, -R @ np.array(centre), (k1, k2, p1, p2, k3)
        )
    return tables, "mm"


def read_parameters(root: dict, path: Path, subject=None) -> tuple[dict, str]:
    """`intrinsics[camera]` and `extrinsics[subject][camera]`: OpenCV, world to camera."""
    known = sorted(int(key[1:]) for key in root["extrinsics"])
    outside = root["extrinsics"][f"S{_number(subject, path, known)}"]
    tables = {}
    for name, inside in root["intrinsics"].items():
        size = SIZES.get(name, (1000, 1000))
        tables[name] = dict(
            name=name,
            size=size,
            matrix=inside["calibration_matrix"],
            distortions=inside["distortion"],
            rotation=outside[name]["R"],
            translation=np.ravel(outside[name]["t"]),
        )
    return tables, "mm"


def read_h5(path: Path, subject=None) -> tuple[dict, str]:
    """cameras.h5: `subject{n}/camera{i}` with R stored transposed, the centre T, f, c, k (3), p (2), the name as character codes."""
    root = contents(path)
    known = sorted(int(key.removeprefix("subject")) for key in root if key.startswith("subject"))
    if not known:
        raise ValueError(f"{path}: no subjects in it; expected Human3.6M's cameras.h5")
    group, tables = root[f"subject{_number(subject, path, known)}"], {}
    for camera in (group[key] for key in sorted(group)):
        R, T, f, c, k, p = (
            np.array(camera[key], np.float64).T for key in ("R", "T", "f", "c", "k", "p")
        )  # not MATLAB's: as it stands
        name = "".join(chr(int(code)) for code in np.ravel(camera["Name"]))
        k1, k2, k3 = k.ravel()
        tables[name] = _table(
            name, (*f.ravel(), *c.ravel()), R.T, -R.T @ T.ravel(), (k1, k2, *p.ravel(), k3)
        )
    return tables, "mm"
