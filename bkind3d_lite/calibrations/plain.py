"""Plain JSON and NPZ: cameras by field, or nothing but 3 x 4 projection matrices."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy.linalg import rq

from . import human36m
from .entry import Tables

NAMES = {
    "matrix": ("matrix", "K", "intrinsics", "intrinsic_matrix", "camera_matrix"),
    "rotation": ("R", "rotation", "rvec", "rotation_matrix"),
    "translation": ("t", "translation", "T", "tvec"),
    "distortions": ("distortions", "distortion", "dist", "distCoeffs"),
    "size": ("size", "image_size", "resolution"),
}
MOST_BYTES = 1 << 26  # of the arrays of an archive


def read_json(path: Path, subject: str | int | None = None) -> tuple[Tables, str]:
    """Cameras of a JSON file.

    {camera: {K, R, t, ...}} or {camera: P}, a list of cameras with `name`, or either under
    `cameras`; or Human3.6M's camera-parameters.json.

    Args:
        path: the file.
        subject: whose rig, of Human3.6M's.

    Returns:
        The cameras, and the unit: of the key `unit`, else "unknown".

    Raises:
        ValueError: it is no JSON.
    """
    try:
        root = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: not a JSON file ({error})") from error
    if isinstance(root, dict) and {"intrinsics", "extrinsics"} <= root.keys():
        return human36m.read_parameters(root, path, subject)
    unit = str(root.get("unit", "unknown")) if isinstance(root, dict) else "unknown"
    cameras = root.get("cameras", root) if isinstance(root, dict) else root
    if isinstance(cameras, list):
        cameras = {_listed_name(c, i): c for i, c in enumerate(cameras)}
    tables = {
        name: _table(name, value, path)
        for name, value in cameras.items()
        if isinstance(value, (dict, list))
    }
    return tables, unit


def _listed_name(camera: Any, i: int) -> str:
    return str(camera.get("name", i)) if isinstance(camera, dict) else f"cam{i}"


def read_npz(path: Path) -> tuple[Tables, str]:
    """Cameras of an archive of arrays, without pickles.

    `P` (V, 3, 4), or `K` (V, 3, 3), `R` (V, 3, 3), `t` (V, 3), with `distortion`, `size`, `names`,
    `unit` where known.

    Args:
        path: the file.

    Returns:
        The cameras, and the unit: of the array `unit`, else "unknown".

    Raises:
        ValueError: it is another file, or unpacks to more than any calibration.
    """
    with zipfile.ZipFile(path) as archive:
        if (total := sum(entry.file_size for entry in archive.infolist())) > MOST_BYTES:
            raise ValueError(f"{path}: {total >> 20} MB unpacked; no calibration is that large")
    with np.load(path, allow_pickle=False) as data:
        arrays = {key: data[key] for key in data}
    key = next((k for k in ("P", "K", "matrix") if k in arrays and arrays[k].ndim == 3), None)
    if key is None:
        raise ValueError(
            f"{path}: no P (V, 3, 4) and no K (V, 3, 3), R, t in it, "
            f"but {', '.join(arrays) or 'nothing'}"
        )
    views = len(arrays[key])
    names = [str(n) for n in arrays.get("names", [f"cam{v}" for v in range(views)])]
    shared = {"size": arrays["size"]} if "size" in arrays and arrays["size"].ndim == 1 else {}
    by_view = {
        k: a
        for k, a in arrays.items()
        if k not in ("names", "unit", *shared) and a.ndim and len(a) == views
    }
    tables = {}
    for v, name in enumerate(names[:views]):
        tables[name] = _table(name, {k: a[v] for k, a in by_view.items()} | shared, path)
    return tables, str(arrays.get("unit", "unknown"))


def _table(name: str, value: dict[str, Any] | list, path: Path) -> dict[str, Any]:
    if isinstance(value, list):
        value = {"P": value}
    table = {key: next((value[k] for k in keys if k in value), None) for key, keys in NAMES.items()}
    if "P" in value and table["rotation"] is None:
        K, R, t = from_projection(value["P"], f"{path} [{name}]")
        table |= dict(matrix=K, rotation=R, translation=t)
    if value.get("fisheye"):
        table["fisheye"] = True
    return table | {"name": str(value.get("name", name))}


def from_projection(P: Any, where: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """K, R, t of a projection matrix, whatever its scale and sign.

    Hartley and Zisserman, Multiple View Geometry, 6.2.4.

    Args:
        P: (3, 4) as the file has it.
        where: file and camera, for the message.

    Returns:
        K (3, 3), R (3, 3), t (3).

    Raises:
        ValueError: it is not the matrix of a camera at a finite place.
    """
    P = np.asarray(P, np.float64)
    if not _is_projection(P):
        raise ValueError(
            f"{where}: P = {P.tolist()}; "
            "expected a finite 3 x 4 projection matrix of a camera at a finite place"
        )
    K, R = rq(P[:, :3])
    flip = np.diag(np.sign(np.diag(K)))
    K, R = K @ flip, flip @ R  # focal lengths are positive
    sign = np.sign(np.linalg.det(R))
    t = np.linalg.solve(K, P[:, 3]) * sign
    return np.triu(K / K[2, 2]), R * sign, t


def _is_projection(P: np.ndarray) -> bool:
    if P.shape != (3, 4) or not np.isfinite(P).all():
        return False
    return abs(np.linalg.det(P[:, :3])) >= 1e-12 * max(1e-300, np.abs(P[:, :3]).max() ** 3)
