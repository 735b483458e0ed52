"""Plain JSON and NPZ: cameras by field, or nothing but 3 x 4 projection matrices."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from collections.abc import Container
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
    HARMLESS,
    LOOKS,
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
        ValueError: it is no JSON, or a key repeats.
    """
    try:
        root = json.loads(text_of(path), object_pairs_hook=lambda pairs: _once(pairs, path))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: not a JSON file ({error})") from error
    if human36m.recognises(root):
        return human36m.read_parameters(root, path, subject)
    return tables_of(cameras_in(root, path), path), unit_in(root)


def _once(pairs: list[tuple[str, Any]], path: Path) -> dict[str, Any]:
    """A table whose keys do not repeat: of two cameras of one name the first would be lost."""
    if len(table := dict(pairs)) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"{path}: the key {twice} stands there twice; rename or remove one")
    return table


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
    arrays with one item for each camera. A size, a lens or its model beside them holds for all;
    tables by their names and arrays in their order are theirs.

    Args:
        root: a file's contents.
        path: the file, for the message.

    Returns:
        {camera: its fields}; a projection matrix by itself is the field P.

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


def _found(root: Any, path: Path, whole: bool = False) -> dict[str, dict[str, Any]]:
    """The cameras, or {}; `whole`: the table stands under `cameras`, so every entry is one."""
    if isinstance(root, list):
        some = any(isinstance(c, (dict, list)) for c in root)
        return _with({}, _named(root, path), ()) if some else {}
    if not isinstance(root, dict):
        return {}
    check_words({k: v for k, v in root.items() if bare_name(k) in ABOUT}, str(path))
    if cameras := _by_field(root, path) or _by_index(root, path):
        return cameras
    for key, value in root.items():
        if (
            bare_name(key) in CONTAINERS
            and not is_single(value)
            and (cameras := _found(value, path, whole=True))
        ):
            return _with(root, cameras, (key,))
    cameras = _by_camera(root, whole)
    return _with(root, cameras, cameras)


def _named(items: Any, path: Path) -> dict[str, Any]:
    """A list of cameras by their names, which do not repeat."""
    otherwise = [str(i) if isinstance(c, dict) else f"cam{i}" for i, c in enumerate(items)]
    names = [called(c, name) for c, name in zip(items, otherwise)]
    return dict(zip(_own_names(names, path), items))


def _own_names(names: list[str], path: Path) -> list[str]:
    if repeated := [n for n, times in Counter(names).items() if times > 1]:
        raise ValueError(
            f"{path}: the camera names {', '.join(repeated[:8])} repeat; "
            "each camera needs a name of its own"
        )
    return names


def _with(
    root: dict[str, Any], cameras: dict[str, Any], used: Container[str | None]
) -> dict[str, dict[str, Any]]:
    """The cameras with what stands beside them: by their names, in their order, or for all."""
    known = {n: (n, called(camera, n)) for n, camera in cameras.items()}
    names = {n for both in known.values() for n in both}
    rest = {k: (v, _by_name(v, names)) for k, v in root.items() if k not in used}
    made = {}
    for v, (name, camera) in enumerate(cameras.items()):
        beside = {}
        for key, (value, table) in rest.items():
            own = next((table[n] for n in known[name] if n in table), None)
            item = own if table else _item(key, value, v, len(cameras))
            if item is not None:
                beside[key] = item
        fields = {"P": camera} if isinstance(camera, list) else camera
        made[name] = beside | (fields if isinstance(fields, dict) else {})
    return made


def _by_name(value: Any, names: set[str]) -> dict[str, Any]:
    """A table, or a list of tables with names, that has an entry for some of the cameras."""
    if isinstance(value, list):
        value = {called(item, ""): item for item in value if isinstance(item, dict)}
    return value if isinstance(value, dict) and names & value.keys() else {}


def _item(key: str, value: Any, v: int, views: int) -> Any:
    """What a value beside the cameras holds of one of them; None: nothing.

    Of a known field the number of axes tells whether it has an item for each camera; of others
    their length.
    """
    name = bare_name(key)
    field = MEANT.get(name)
    if isinstance(value, (list, np.ndarray)) and len(value) == views:
        try:
            axes = np.ndim(np.asarray(value, np.float64)) if field else np.ndim(value)
        except (TypeError, ValueError):  # words, or not of one length
            axes = 3
        if field and axes < 3:
            each = axes > FIELD_AXES.get(field, 1) or (axes == 1 and field not in VECTORS)
        else:
            each = axes > 1 or isinstance(value[0], (str, dict))
        if each:
            return value[v]
    by_name = LOOKS["lens"].search(name) and not isinstance(value, int)
    is_word = name in WORDS and not isinstance(value, dict)
    return value if field in OF_ALL or is_word or by_name else None


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


def _by_camera(root: dict[str, Any], whole: bool) -> dict[str, Any]:
    """{camera: fields or P}: all that are cameras, and what has fields in common with them."""
    sure = {n: v for n, v in root.items() if is_camera(v) or (isinstance(v, list) and _is_p(v))}
    common = {bare_name(k) for v in sure.values() if isinstance(v, dict) for k in v}
    kinds = {dict, type(None), *map(type, sure.values())}

    def also(name: str, value: Any) -> bool:
        """Neither understood nor anything else that may stand among cameras."""
        return (
            bool(whole and sure)
            and type(value) in kinds
            and not (_is_no_camera(name) or _by_name(value, set(sure)))
        )

    return {
        str(n): v
        for n, v in root.items()
        if n in sure
        or (isinstance(v, dict) and len(common & set(map(bare_name, v))) > 1)
        or also(n, v)
    }


def _is_no_camera(key: str) -> bool:
    name = bare_name(key)
    is_field = len(name) > 1 and name in MEANT
    looks = HARMLESS.search(name) or LOOKS["lens"].search(name)
    return bool(is_field or looks or name in (*ABOUT, *CONTAINERS, *WORDS))


def _is_p(value: list) -> bool:
    return len(value) == 3 and all(isinstance(row, list) and len(row) == 4 for row in value)


def _by_field(root: dict[str, Any], path: Path) -> dict[str, dict[str, Any]]:
    """{intrinsics: {camera: ...}, extrinsics: {camera: ...}} turned into {camera: {field: ...}}."""
    tables: dict[str, dict[str, Any]] = {}
    for key, value in root.items():
        if not MEANT.get(bare_name(key)):
            continue
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            value = _named(value, path)
        # One whose keys are all fields holds for all cameras.
        if isinstance(value, dict) and not all(MEANT.get(bare_name(n)) for n in value):
            if not {"rows", "cols", "data"} <= value.keys():
                tables[key] = value
    if len(tables) < 2 or not set.intersection(*(set(table) for table in tables.values())):
        return {}
    names = dict.fromkeys(n for table in tables.values() for n in table)
    return _with(
        root,
        {n: {key: table[n] for key, table in tables.items() if n in table} for n in names},
        tables,
    )


def _by_index(root: dict[str, Any], path: Path) -> dict[str, dict[str, Any]]:
    """Arrays with one item for each camera, as in an archive."""
    views = 0
    for key, value in root.items():
        field = MEANT.get(bare_name(key))
        if field in ("matrix", "projection", "extrinsic") and not isinstance(value, dict):
            with suppress(TypeError, ValueError):
                array = np.asarray(value, np.float64)
                views = views or (len(array) if array.ndim == 3 else 0)
    if not views:
        return {}
    named = next((k for k in root if bare_name(k) in ("names", "cameranames", "camnames")), None)
    names = [f"cam{v}" for v in range(views)] if named is None else [str(n) for n in root[named]]
    if len(names) != views:
        raise ValueError(f"{path}: {len(names)} names for {views} cameras; write one for each")
    read = {k: v for k, v in root.items() if MEANT.get(bare_name(k)) or np.isscalar(v)}
    cameras = {
        name: {
            k: item for k, x in read.items() if (item := _array_item(k, x, v, views)) is not None
        }
        for v, name in enumerate(_own_names(names, path))
    }
    return _with(root, cameras, {*read, named})


def _array_item(key: str, value: Any, v: int, views: int) -> Any:
    item = value if np.isscalar(value) else _item(key, value, v, views)
    return value if item is None else item


OF_ALL = """size hw width height distortions radial tangential k1 k2 k3 k4 k5 k6 p1 p2""".split()
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
        arrays = {key: data[key] if data[key].ndim else data[key].item() for key in data}
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
        cameras: {camera: its fields}.
        path: the file, for messages.

    Returns:
        {camera: table}.
    """
    return {key: _table(key, value, path) for key, value in cameras.items()}


def _table(key: str, value: dict[str, Any], path: Path) -> dict[str, Any]:
    where = f"{path} [{key}]"
    table = camera_of(value, str(value.get("name", key)), where)
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
