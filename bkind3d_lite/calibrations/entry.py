"""A camera as a file has it, checked, and the rig that such cameras make.

Every dialect is brought to one form first, the fields of an Anipose table: `name`, `size` (W, H) or None, `matrix` (3, 3) in pixels with the
first pixel's centre at (0, 0), `distortions` (k1, k2, p1, p2, k3), `rotation` (3) Rodrigues or (3, 3), world to camera, `translation` (3).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from ..cameras import CameraRig

REMEDY = "calibrate again, or correct the file"


def natural(name: str) -> list:
    """Sort key under which cam_2 comes before cam_10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def numbers(value, where: str, key: str) -> np.ndarray:
    """`value` as finite float64 numbers, or one `ValueError` that names it."""
    try:
        out = np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{where}: {key} = {value} is not an array of numbers; {REMEDY}"
        ) from error
    if not np.isfinite(out).all():
        raise ValueError(f"{where}: {key} = {value} is not finite; {REMEDY}")
    return out


def checked(table: Mapping, where: str, wh: tuple[int, int] | None = None) -> dict:
    """One camera of any dialect as float64 arrays; `wh` stands in where the file has none. Raises `ValueError` naming `where`."""
    if table.get("fisheye"):
        raise ValueError(
            f"{where}: fisheye = true is not supported; undistort the video first or calibrate a pinhole model"
        )
    if missing := [
        key for key in ("name", "matrix", "rotation", "translation") if table.get(key) is None
    ]:
        raise ValueError(
            f"{where}: no {', '.join(missing)}; a camera has name, size, matrix, distortions, rotation, translation"
        )
    if (given := table.get("size") if table.get("size") is not None else wh) is None:
        raise ValueError(
            f"{where}: this format holds no image size; open the folder together with its videos, or give wh=(W, H)"
        )
    K, d, R, t, wh = (
        numbers(value, where, key)
        for key, value in (
            ("matrix", table["matrix"]),
            ("distortions", _or_none(table.get("distortions"))),
            ("rotation", table["rotation"]),
            ("translation", table["translation"]),
            ("size", given),
        )
    )
    if wh.size != 2 or (wh < 1).any():
        raise ValueError(
            f"{where}: size = {given}; expected 2 numbers, the width and height in pixels"
        )
    if t.size != 3:
        raise ValueError(f"{where}: translation = {table['translation']}; expected 3 numbers")
    if (
        K.shape != (3, 3)
        or K[2].tolist() != [0, 0, 1]
        or K[1, 0] != 0
        or K[0, 0] <= 0
        or K[1, 1] <= 0
    ):
        raise ValueError(
            f"{where}: matrix = {table['matrix']}; expected [[fx, s, cx], [0, fy, cy], [0, 0, 1]] with fx, fy > 0"
        )
    return dict(
        name=str(table["name"]),
        size=tuple(int(s) for s in wh.ravel()),
        K=K,
        R=_rotation(R, table["rotation"], where),
        t=t.ravel(),
        distortion=_five(d.ravel(), where),
    )


def _or_none(value) -> object:
    return [] if value is None else value


def _five(d: np.ndarray, where: str) -> np.ndarray:
    """k1, k2, p1, p2, k3; further coefficients are refused unless they are zero."""
    if d.size > 5 and np.abs(d[5:]).max() > 0:
        raise ValueError(
            f"{where}: {d.size} distortion coefficients (a rational, thin-prism or tilted model); expected at most 5 (k1, k2, p1, p2, k3): "
            "undistort the video first, or calibrate with the 5-coefficient model"
        )
    return np.pad(d[:5], (0, 5 - d[:5].size))


def _rotation(R: np.ndarray, said, where: str) -> np.ndarray:
    if R.size == 3:
        R = Rotation.from_rotvec(R.ravel()).as_matrix()
    if R.shape != (3, 3) or np.abs(R @ R.T - np.eye(3)).max() > 1e-3 or np.linalg.det(R) < 0:
        raise ValueError(
            f"{where}: rotation = {said} is not a rotation (R R^T = 1, det R = +1); "
            "expected a Rodrigues vector, or a 3 x 3 matrix from world to camera"
        )
    return R


def rig_of(
    tables: Mapping[str, Mapping], path, unit: str = "unknown", wh: tuple[int, int] | None = None
) -> CameraRig:
    """The rig of all `tables` ({where in the file: camera}), in their order; other image sizes are rescaled to the first one's."""
    cameras = [checked(table, f"{path} [{key}]", wh) for key, table in tables.items()]
    if len(cameras) < 2:
        raise ValueError(f"{path}: {len(cameras)} camera(s); at least 2 views are needed for 3D")
    names = tuple(camera["name"] for camera in cameras)
    if len(set(names)) < len(names):
        raise ValueError(
            f"{path}: camera names {names} repeat; each camera needs a name of its own"
        )
    first = cameras[0]["size"]
    for camera in cameras:
        camera["K"][:2, 2] += 0.5  # OpenCV's first pixel centre is (0, 0), ours (0.5, 0.5)
        camera["K"] = camera["K"] * [
            [first[0] / camera["size"][0]],
            [first[1] / camera["size"][1]],
            [1],
        ]
    stacked = {
        key: torch.from_numpy(np.stack([camera[key] for camera in cameras])).float()
        for key in ("K", "R", "t", "distortion")
    }
    return CameraRig(**stacked, wh=first, names=names, unit=unit)
