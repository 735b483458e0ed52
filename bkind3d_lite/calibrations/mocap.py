"""Motion-capture systems: Qualisys `.qca.txt` and Vicon `.xcp`, both XML, in millimetres."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from scipy.spatial.transform import Rotation

SUBPIXELS = 64  # Qualisys writes intrinsics in 1/64 pixel


def parse(path: Path) -> ElementTree.Element:
    """The root of an XML file without a document type (no entities, so nothing expands and nothing outside is read)."""
    text = path.read_bytes()
    if (
        b"<!DOCTYPE" in text or b"<!ENTITY" in text or b"\0" in text
    ):  # zeros: two bytes a letter, in which a document type could hide
        raise ValueError(
            f"{path}: holds a document type; no calibration tool writes one: remove it"
        )
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"{path}: not an XML file ({error})") from error


def _floats(element: ElementTree.Element, *keys: str) -> np.ndarray:
    return np.array([float(element.get(key)) for key in keys])


def read_qualisys(path: Path) -> tuple[dict, str]:
    """Video cameras of a Qualisys calibration. Its axes: the camera looks along -z with y up, so R = diag(1, -1, -1) M, t = -R C."""
    tables = {}
    for camera in parse(path).iter("camera"):
        view, inner, outer = (camera.find(tag) for tag in ("fov_video", "intrinsic", "transform"))
        if view is None or inner is None or outer is None:
            continue
        left, top, right, bottom = _floats(view, "left", "top", "right", "bottom")
        fu, fv, cu, cv = (
            _floats(inner, "focalLengthU", "focalLengthV", "centerPointU", "centerPointV")
            / SUBPIXELS
        )
        M = _floats(outer, *(f"r{i}{j}" for i in (1, 2, 3) for j in (1, 2, 3))).reshape(3, 3)
        R = np.diag([1.0, -1, -1]) @ M
        name = camera.get("serial") or camera.get("id")
        if float(inner.get("skew") or 0):
            raise ValueError(
                f"{path} [{name}]: skew = {inner.get('skew')}, in a unit that is nowhere written; calibrate with skew 0, or give K as JSON"
            )
        lens = _floats(
            inner,
            "radialDistortion1",
            "radialDistortion2",
            "tangentalDistortion1",
            "tangentalDistortion2",
            "radialDistortion3",
        )
        tables[name] = dict(
            name=name,
            size=(right - left + 1, bottom - top + 1),
            matrix=[[fu, 0, cu - left], [0, fv, cv - top], [0, 0, 1]],
            distortions=lens,
            rotation=R,
            translation=-R @ _floats(outer, "x", "y", "z"),
        )
    return tables, "mm"


def read_vicon(path: Path) -> tuple[dict, str]:
    """Cameras of a Vicon `.xcp`: quaternion (scalar last) from camera to world, position in the world, radial coefficients alone."""
    tables = {}
    for camera in parse(path).iter("Camera"):
        key = camera.find("KeyFrames/KeyFrame")
        if key is None:
            continue
        words = {
            name: [float(x) for x in key.get(name, "").split() if _is_number(x)]
            for name in (
                "FOCAL_LENGTH",
                "PRINCIPAL_POINT",
                "ORIENTATION",
                "POSITION",
                "VICON_RADIAL",
                "VICON_RADIAL2",
            )
        }
        name = camera.get("DEVICEID") or camera.get("USERID")
        focal, (cx, cy) = words["FOCAL_LENGTH"][0], words["PRINCIPAL_POINT"]
        k = (words["VICON_RADIAL2"][2:] or words["VICON_RADIAL"])[
            :3
        ]  # two numbers of the centre come first
        k = k + [0.0] * (3 - len(k))
        R = Rotation.from_quat(words["ORIENTATION"]).as_matrix().T
        tables[name] = dict(
            name=name,
            size=[float(x) for x in camera.get("SENSOR_SIZE", "").split()],
            distortions=[k[0], k[1], 0, 0, k[2]],
            matrix=[
                [focal, 0, cx],
                [0, focal / float(camera.get("PIXEL_ASPECT_RATIO", 1)), cy],
                [0, 0, 1],
            ],
            rotation=R,
            translation=-R @ np.array(words["POSITION"]),
        )
    return tables, "mm"


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
