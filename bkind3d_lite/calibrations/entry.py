"""A camera as a file has it, checked, and the rig that such cameras make.

Every dialect is brought to one form first, the fields of an Anipose table: `name`, `size` (W, H) or
None, `matrix` (3, 3) in pixels with the first pixel's centre at (0, 0), `distortions`
(k1, k2, p1, p2, k3), `rotation` (3) Rodrigues or (3, 3), world to camera, `translation` (3);
perhaps `turns`, clockwise quarters by which the pictures are shown, and `notes`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from ..cameras import CameraRig
from ..units import unit_named

REMEDY = "calibrate again, or correct the file"
NEEDED = ("name", "matrix", "rotation", "translation")
Tables = dict[str, dict[str, Any]]  # {where in the file: camera}
# (W, H) in pixels of the images, or what tells them by the camera's name (None: nobody knows).
Sizes = tuple[int, int] | Callable[[str], tuple[int, int] | None] | None
log = logging.getLogger(__name__)


def natural(name: str) -> list[str | int]:
    """Sort key under which cam_2 comes before cam_10.

    Args:
        name: of a file or camera.

    Returns:
        Its words and numbers in turn.
    """
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def numbers(value: Any, where: str, key: str) -> np.ndarray:
    """A field as finite float64 numbers.

    Args:
        value: as the file has it.
        where: file and camera, for the message.
        key: the field's name, for the message.

    Returns:
        An array of the value's own shape.

    Raises:
        ValueError: it is none, or not finite.
    """
    try:
        out = np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{where}: {key} = {value} is not an array of numbers; {REMEDY}"
        ) from error
    if not np.isfinite(out).all():
        raise ValueError(f"{where}: {key} = {value} is not finite; {REMEDY}")
    return out


def checked(table: Mapping[str, Any], where: str, wh: Sizes = None) -> dict[str, Any]:
    """One camera of any dialect as float64 arrays.

    Args:
        table: its fields, as at the head of this module.
        where: file and camera, for messages.
        wh: of its images, where the file has none.

    Returns:
        `name`, `size` (W, H), `K` (3, 3), `R` (3, 3), `t` (3), `distortion` (5).

    Raises:
        ValueError: a field is missing or cannot be; names `where`, the value and the remedy.
    """
    shown = wh(str(table.get("name"))) if callable(wh) else wh
    size = _whole(table, where, shown)
    K = numbers(table["matrix"], where, "matrix")
    distortions = table.get("distortions")
    d = numbers([] if distortions is None else distortions, where, "distortions")
    R = numbers(table["rotation"], where, "rotation")
    t = numbers(table["translation"], where, "translation")
    sides = numbers(size, where, "size")
    if sides.size != 2 or (sides < 1).any():
        raise ValueError(
            f"{where}: size = {size}; expected 2 numbers, the width and height in pixels"
        )
    if t.size != 3:
        raise ValueError(f"{where}: translation = {table['translation']}; expected 3 numbers")
    if not _is_intrinsic(K):
        raise ValueError(
            f"{where}: matrix = {table['matrix']}; "
            "expected [[fx, s, cx], [0, fy, cy], [0, 0, 1]] with fx, fy > 0"
        )
    K = K.copy()
    K[:2, 2] += 0.5  # OpenCV's first pixel centre is (0, 0), ours (0.5, 0.5)
    camera = dict(
        name=str(table["name"]),
        size=(int(sides.ravel()[0]), int(sides.ravel()[1])),
        K=K,
        R=_rotation(R, table["rotation"], where),
        t=t.ravel(),
        distortion=_five(d.ravel(), where),
    )
    return _shown(camera, table.get("turns", 0), shown)


def _shown(camera: dict[str, Any], turns: int, shown: tuple[int, int] | None) -> dict[str, Any]:
    """The camera of pictures that are shown turned, unless their shape says that these are not."""
    W, H = camera["size"]
    lies = shown is not None and turns % 2 and (shown[0] > shown[1]) == (W > H) and W != H
    return camera if lies else quarter_turned(camera, turns)


def quarter_turned(camera: dict[str, Any], turns: int) -> dict[str, Any]:
    """The camera of pictures turned clockwise by so many quarters.

    A clockwise quarter takes the corner-origin pixel (x, y) of an image W x H to (H - y, x).

    Args:
        camera: as `checked` makes it, `K` in corner-origin pixels.
        turns: quarters.

    Returns:
        The same camera in the turned pixels.
    """
    for _ in range(turns % 4):
        (W, H), K, (k1, k2, p1, p2, k3) = camera["size"], camera["K"], camera["distortion"]
        quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
        move = quarter.copy()
        move[0, 2] = H
        camera = camera | dict(
            size=(H, W),
            K=move @ K @ quarter.T,
            R=quarter @ camera["R"],
            t=quarter @ camera["t"],
            distortion=np.array([k1, k2, p2, -p1, k3]),
        )
    return camera


def _whole(table: Mapping[str, Any], where: str, wh: tuple[int, int] | None) -> Any:
    """The camera's image size, once it is clear that nothing is missing."""
    if missing := [key for key in NEEDED if table.get(key) is None]:
        raise ValueError(
            f"{where}: no {', '.join(missing)}; "
            "a camera has name, size, matrix, distortions, rotation, translation"
        )
    size = table.get("size")
    if size is None and wh is None:
        raise ValueError(
            f"{where}: this format holds no image size; "
            "open the folder together with its videos, or give wh=(W, H)"
        )
    return wh if size is None else size


def _is_intrinsic(K: np.ndarray) -> bool:
    if K.shape != (3, 3) or K[2].tolist() != [0, 0, 1]:
        return False
    return K[1, 0] == 0 and K[0, 0] > 0 and K[1, 1] > 0


def _five(d: np.ndarray, where: str) -> np.ndarray:
    """k1, k2, p1, p2, k3; further coefficients are refused unless they are zero."""
    if d.size > 5 and np.abs(d[5:]).max() > 0:
        raise ValueError(
            f"{where}: {d.size} distortion coefficients (a rational, thin-prism or tilted model); "
            "expected at most 5 (k1, k2, p1, p2, k3): "
            "undistort the video first, or calibrate with the 5-coefficient model"
        )
    return np.pad(d[:5], (0, 5 - d[:5].size))


def _rotation(R: np.ndarray, value: Any, where: str) -> np.ndarray:
    """The matrix (3, 3); `value` is what the file has, for the message."""
    if R.size == 3:
        R = Rotation.from_rotvec(R.ravel()).as_matrix()
    if R.shape != (3, 3) or np.abs(R @ R.T - np.eye(3)).max() > 1e-3 or np.linalg.det(R) < 0:
        raise ValueError(
            f"{where}: rotation = {value} is not a rotation (R R^T = 1, det R = +1); "
            "expected a Rodrigues vector, or a 3 x 3 matrix from world to camera"
        )
    return R


def rig_of(
    tables: Mapping[str, Mapping[str, Any]],
    path: str | Path,
    unit: str = "unknown",
    wh: Sizes = None,
) -> CameraRig:
    """The rig of all cameras of a file, in their order.

    Args:
        tables: {where in the file: camera}.
        path: the file, for messages.
        unit: of the world.
        wh: of the images, where the file has no sizes or the pictures may be turned.

    Returns:
        A float32 rig; cameras of other image sizes are rescaled to the first one's, their own are
        in `sizes`.

    Raises:
        ValueError: fewer than two cameras, names that repeat, or a field that cannot be.
    """
    cameras = [checked(table, f"{path} [{key}]", wh) for key, table in tables.items()]
    if len(cameras) < 2:
        raise ValueError(f"{path}: {len(cameras)} camera(s); at least 2 views are needed for 3D")
    names = tuple(camera["name"] for camera in cameras)
    if len(set(names)) < len(names):
        raise ValueError(
            f"{path}: camera names {names} repeat; each camera needs a name of its own"
        )
    notes = tuple(f"{key}: {note}" for key, t in tables.items() for note in t.get("notes", ()))
    if notes:
        log.warning("%s: %s", path, "; ".join(notes))
    first = cameras[0]["size"]
    for camera in cameras:
        W, H = camera["size"]
        camera["K"] = camera["K"] * [[first[0] / W], [first[1] / H], [1]]
    stacked: dict[str, Any] = {
        key: torch.from_numpy(np.stack([camera[key] for camera in cameras])).float()
        for key in ("K", "R", "t", "distortion")
    }
    return CameraRig(
        **stacked,
        wh=first,
        names=names,
        unit=unit_named(unit),
        sizes=tuple(camera["size"] for camera in cameras),
        notes=notes,
    )
