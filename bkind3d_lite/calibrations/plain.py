"""Plain JSON and NPZ: cameras by field, or nothing but 3 x 4 projection matrices."""

from __future__ import annotations

import json
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from scipy.linalg import rq

from ..files import text_of
from . import human36m
from .entry import Tables
from .fields import camera_of
from .spellings import (
    ABOUT,
    FLAGS,
    MAY_SAY_MODEL,
    MEANT,
    SAYS_MODEL,
    bare_name,
    called,
    check_words,
    is_camera,
)

WORDS = ("xi", *FLAGS, *SAYS_MODEL, *MAY_SAY_MODEL)
MOST_BYTES = 1 << 26  # of the arrays of an archive
CONTAINERS = ("cameras", "cams", "camera", "calibration", "calibrations", "rig", "views", "data")
# Of such fields an item has so many axes; arrays of more hold one item for each camera.
FIELD_AXES = {"matrix": 2, "projection": 2, "extrinsic": 2, "translation": 1, "size": 1, "hw": 1}


def read_json(path: Path, subject: str | int | None = None) -> tuple[Tables, str]:
    """Cameras of a JSON file, by its structure (`cameras_in`); or of camera-parameters.json.

    Args:
        path: the file.
        subject: whose rig, of Human3.6M's.

    Returns:
        The cameras, and the unit: of the key `unit`, else "unknown".

    Raises:
        ValueError: it is no JSON.
    """
    try:
        root = json.loads(text_of(path))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: not a JSON file ({error})") from error
    if human36m.recognises(root):
        return human36m.read_parameters(root, path, subject)
    return tables_of(cameras_in(root, path), path), unit_in(root)


def unit_in(root: Any) -> str:
    """The unit that a file names: `unit`, `units`, at its root or under `metadata`.

    Args:
        root: the file's contents.

    Returns:
        Its word, or "unknown".
    """
    if not isinstance(root, dict):
        return "unknown"
    places = [root, *(v for k, v in root.items() if bare_name(k) in ABOUT)]
    words = [
        v
        for place in places
        if isinstance(place, dict)
        for k, v in place.items()
        if bare_name(k) in ("unit", "units", "lengthunit", "worldunit", "unitoflength")
    ]
    return str(words[0]) if words and isinstance(words[0], str) else "unknown"


def cameras_in(root: Any, path: Path) -> dict[str, Any]:
    """Where the cameras are in nested tables and lists.

    {camera: {K, R, t, ...}} or {camera: P}; a list of cameras with names; either under `cameras`
    and the like; a table for each field, {intrinsics: {camera: ...}, extrinsics: {camera: ...}};
    arrays with one item for each camera. What stands beside them and is a size or a lens model
    holds for all.

    Args:
        root: a file's contents.
        path: the file, for the message.

    Returns:
        {camera: its fields, or its projection matrix}.

    Raises:
        ValueError: there are none.
    """
    cameras = _found(root, path)
    if not cameras:
        there = (
            ", ".join(map(str, list(root)[:8])) if isinstance(root, (dict, list)) else "no table"
        )
        raise ValueError(
            f"{path}: no cameras in it; expected {{camera: {{K, R, t, distortion, size}}}}, a list "
            "of cameras with names, or tables intrinsics and extrinsics by camera; "
            f"it has {there[:200] or 'nothing'}"
        )
    return cameras


def _found(root: Any, path: Path) -> dict[str, Any]:
    if isinstance(root, list):
        return {
            called(c, f"cam{i}" if not isinstance(c, dict) else str(i)): c
            for i, c in enumerate(root)
        }
    if not isinstance(root, dict):
        return {}
    check_words({k: v for k, v in root.items() if bare_name(k) in ABOUT}, str(path))
    shared = {
        key: value
        for key, value in root.items()
        if not isinstance(value, dict)
        and (
            MEANT.get(bare_name(key)) in ("size", "hw", "width", "height")
            or bare_name(key) in WORDS
        )
    }
    if cameras := _by_field(root) or _by_index(root, path):
        return {name: shared | fields for name, fields in cameras.items()}
    for key, value in root.items():
        if (
            bare_name(key) in CONTAINERS
            and not is_single(value)
            and (cameras := _found(value, path))
        ):
            return {n: shared | c if isinstance(c, dict) else c for n, c in cameras.items()}
    return {n: shared | c if isinstance(c, dict) else c for n, c in _by_camera(root).items()}


def is_single(value: Any) -> bool:
    """Are these the fields of one camera, not a table of cameras?

    Args:
        value: of a key.

    Returns:
        Whether intrinsics stand right there.
    """
    return isinstance(value, dict) and any(
        MEANT.get(bare_name(k)) in ("matrix", "fx") and not isinstance(v, dict)
        for k, v in value.items()
    )


def _by_camera(root: dict[str, Any]) -> dict[str, Any]:
    """{camera: fields or P}: all that are cameras, and what has fields in common with them."""
    sure = {n: v for n, v in root.items() if is_camera(v) or (isinstance(v, list) and _is_p(v))}
    common = {bare_name(k) for v in sure.values() if isinstance(v, dict) for k in v}
    return {
        str(n): v
        for n, v in root.items()
        if n in sure or (isinstance(v, dict) and len(common & set(map(bare_name, v))) > 1)
    }


def _is_p(value: list) -> bool:
    return len(value) == 3 and all(isinstance(row, list) and len(row) == 4 for row in value)


def _by_field(root: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """{intrinsics: {camera: ...}, extrinsics: {camera: ...}} turned into {camera: {field: ...}}."""
    tables: dict[str, dict[str, Any]] = {}
    for key, value in root.items():
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            value = {called(item, str(i)): item for i, item in enumerate(value)}
        known = MEANT.get(bare_name(key))
        if known and isinstance(value, dict) and not {"rows", "cols", "data"} <= value.keys():
            tables[key] = value
    if len(tables) < 2:
        return {}
    names = [str(n) for n in dict.fromkeys(n for table in tables.values() for n in table)]
    shared = set.intersection(*(set(map(str, table)) for table in tables.values()))
    if not shared or all(MEANT.get(bare_name(name)) for name in shared):
        return {}
    return {
        name: {key: table[name] for key, table in tables.items() if name in table} for name in names
    }


def _by_index(root: dict[str, Any], path: Path) -> dict[str, dict[str, Any]]:
    """Arrays with one item for each camera, as in an archive."""
    arrays = {}
    for key, value in root.items():
        if isinstance(value, (list, np.ndarray)) and MEANT.get(bare_name(key)):
            with suppress(TypeError, ValueError):
                arrays[key] = np.asarray(value, np.float64)
    views = next(
        (
            len(a)
            for key, a in arrays.items()
            if MEANT[bare_name(key)] in ("matrix", "projection", "extrinsic") and a.ndim == 3
        ),
        0,
    )
    if not views:
        return {}
    names = next(
        (root[k] for k in root if bare_name(k) in ("names", "cameranames", "camnames")), None
    )
    names = [f"cam{v}" for v in range(views)] if names is None else [str(n) for n in names]
    if len(names) != views:
        raise ValueError(f"{path}: {len(names)} names for {views} cameras; write one for each")
    others = {k: v for k, v in root.items() if k not in arrays and np.ndim(v) == 0}
    return {
        name: others | {key: _item(key, a, v, views) for key, a in arrays.items()}
        for v, name in enumerate(names)
    }


def _item(key: str, array: np.ndarray, v: int, views: int) -> np.ndarray:
    """What an array holds of one camera; one that has no axis of cameras holds for all."""
    axes = FIELD_AXES.get(MEANT[bare_name(key)], 1)
    by_camera = array.ndim > axes or (array.ndim == 1 and MEANT[bare_name(key)] not in VECTORS)
    return array[v] if by_camera and len(array) == views else array


VECTORS = ("translation", "size", "hw", "distortions", "radial", "tangential", "rotation", "centre")


def read_npz(path: Path) -> tuple[Tables, str]:
    """Cameras of an archive of arrays, without pickles.

    `P` (V, 3, 4), or `K` (V, 3, 3), `R` (V, 3, 3), `t` (V, 3), with `distortion`, `size`, `names`,
    `unit` where known; other names as of `spellings`.

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
    cameras = _by_index(arrays, path)
    if not cameras:
        raise ValueError(
            f"{path}: no P (V, 3, 4) and no K (V, 3, 3), R, t in it, "
            f"but {', '.join(arrays) or 'nothing'}"
        )
    return tables_of(cameras, path), str(arrays.get("unit", arrays.get("units", "unknown")))


def tables_of(cameras: dict[str, Any], path: Path) -> Tables:
    """Cameras of any spelling as tables of `entry`.

    Args:
        cameras: {camera: its fields, or its projection matrix}.
        path: the file, for messages.

    Returns:
        {camera: table}.
    """
    return {key: _table(key, value, path) for key, value in cameras.items()}


def _table(key: str, value: Any, path: Path) -> dict[str, Any]:
    where = f"{path} [{key}]"
    name = value.get("name", key) if isinstance(value, dict) else key
    table = camera_of({"P": value} if isinstance(value, list) else value, str(name), where)
    if "projection" in table and table["rotation"] is None:
        K, R, t = from_projection(np.reshape(table["projection"], (3, 4)), where)
        table |= dict(matrix=K, rotation=R, translation=t)
    return table


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
