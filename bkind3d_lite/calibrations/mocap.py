"""Motion-capture systems: Qualisys `.qca.txt` and Vicon `.xcp`, both XML, in millimetres."""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from scipy.spatial.transform import Rotation

from ..files import text_of
from .entry import Tables

SUBPIXELS = 64  # Qualisys writes intrinsics in 1/64 pixel
LENS = (
    "radialDistortion1",
    "radialDistortion2",
    "tangentalDistortion1",
    "tangentalDistortion2",
    "radialDistortion3",
)
FRAME = (
    "FOCAL_LENGTH",
    "PRINCIPAL_POINT",
    "ORIENTATION",
    "POSITION",
    "VICON_RADIAL",
    "VICON_RADIAL2",
)


def parse(path: Path) -> ElementTree.Element:
    """The root of an XML file without a document type.

    So there are no entities: nothing expands and nothing outside is read.

    Args:
        path: the file.

    Returns:
        Its root.

    Raises:
        ValueError: it has a document type, or is no XML.
    """
    text = path.read_bytes()
    if text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        # As UTF-8, without the declaration that names the other encoding.
        text = re.sub(r"^\s*<\?xml.*?\?>", "", text_of(path), flags=re.DOTALL).encode()
    # Zeros: two bytes a letter, in which a document type could hide.
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text or b"\0" in text:
        raise ValueError(
            f"{path}: holds a document type; no calibration tool writes one: remove it"
        )
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"{path}: not an XML file ({error})") from error


def _floats(element: ElementTree.Element, *keys: str) -> np.ndarray:
    return np.array([float(element.get(key)) for key in keys])  # type: ignore[arg-type]  # None: caught


def read_qualisys(path: Path) -> tuple[Tables, str]:
    """Video cameras of a Qualisys calibration.

    Its axes: the camera looks along -z with y up, so R = diag(1, -1, -1) M, t = -R C. Intrinsics
    are of the sensor; `viewrotation` is how its pictures are shown and exported.

    Args:
        path: the file.

    Returns:
        The cameras, and the unit, mm.

    Raises:
        ValueError: a camera has a skew.
    """
    tables = {}
    for camera in parse(path).iter("camera"):
        view, inner, outer = (camera.find(tag) for tag in ("fov_video", "intrinsic", "transform"))
        if view is None or inner is None or outer is None:
            continue
        name = camera.get("serial") or camera.get("id")
        left, top, right, bottom = _floats(view, "left", "top", "right", "bottom")
        intrinsics = _floats(inner, "focalLengthU", "focalLengthV", "centerPointU", "centerPointV")
        fu, fv, cu, cv = intrinsics / SUBPIXELS
        M = _floats(outer, *(f"r{i}{j}" for i in (1, 2, 3) for j in (1, 2, 3))).reshape(3, 3)
        R = np.diag([1.0, -1, -1]) @ M
        if float(inner.get("skew") or 0):
            raise ValueError(
                f"{path} [{name}]: skew = {inner.get('skew')}, in a unit that is nowhere written; "
                "calibrate with skew 0, or give K as JSON"
            )
        tables[str(name)] = dict(
            name=name,
            size=(right - left + 1, bottom - top + 1),
            matrix=[[fu, 0, cu - left], [0, fv, cv - top], [0, 0, 1]],
            distortions=_floats(inner, *LENS),
            rotation=R,
            translation=-R @ _floats(outer, "x", "y", "z"),
            turns=_quarters(camera, f"{path} [{name}]"),
        )
    return tables, "mm"


def _quarters(camera: ElementTree.Element, where: str) -> int:
    """Clockwise quarters by which a camera's pictures are shown."""
    turns, rest = divmod(float(camera.get("viewrotation") or 0), 90)
    if rest:
        raise ValueError(
            f"{where}: viewrotation = {camera.get('viewrotation')}; expected 0, 90, 180 or 270"
        )
    return int(turns) % 4


def read_vicon(path: Path) -> tuple[Tables, str]:
    """Cameras of a Vicon `.xcp`.

    Quaternion (scalar last) from camera to world, position in the world, radial coefficients alone.

    Args:
        path: the file.

    Returns:
        The cameras, and the unit, mm.
    """
    tables = {}
    for camera in parse(path).iter("Camera"):
        frame = camera.find("KeyFrames/KeyFrame")
        if frame is not None:
            table = _vicon_camera(camera, frame)
            tables[table["name"]] = table
    return tables, "mm"


def _vicon_camera(camera: ElementTree.Element, frame: ElementTree.Element) -> dict[str, Any]:
    words = {
        name: [float(x) for x in frame.get(name, "").split() if _is_number(x)] for name in FRAME
    }
    focal, (cx, cy) = words["FOCAL_LENGTH"][0], words["PRINCIPAL_POINT"]
    # Of the newer field, two numbers of the centre come first.
    k = (words["VICON_RADIAL2"][2:] or words["VICON_RADIAL"])[:3]
    k = k + [0.0] * (3 - len(k))
    R = Rotation.from_quat(words["ORIENTATION"]).as_matrix().T
    aspect = float(camera.get("PIXEL_ASPECT_RATIO", 1))
    return dict(
        name=camera.get("DEVICEID") or camera.get("USERID"),
        size=[float(x) for x in camera.get("SENSOR_SIZE", "").split()],
        distortions=[k[0], k[1], 0, 0, k[2]],
        matrix=[[focal, 0, cx], [0, focal / aspect, cy], [0, 0, 1]],
        rotation=R,
        translation=-R @ np.array(words["POSITION"]),
    )


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
