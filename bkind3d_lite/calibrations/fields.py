"""A camera's fields under the names that tools give them, as the one form of `entry`.

`distCoef`, `dist_coeffs`, `RadialDistortion`, `w` and `h`, `fx`, `rvec`, a matrix in a table of its
own. What looks like a lens, a size or a pose and is not understood is never dropped: where nothing
else says it, it is an error that names it, else a note.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from .entry import numbers
from .spellings import (
    CALLED,
    CAMERA_TO_WORLD,
    FLAGS,
    HARMLESS,
    LARGEST_COEFFICIENT,
    LOOKS,
    MAY_SAY_MODEL,
    MEANT,
    SAYS_MODEL,
    bare_name,
    check_words,
    entries_of,
)

Given = Mapping[str, list[tuple[str, np.ndarray]]]  # {field: its keys in the file, their numbers}
AS_WRITTEN = {
    "lens": "distortions = k1, k2, p1, p2, k3",
    "size": "size = width, height",
    "pose": "rotation and translation, world to camera",
}


def camera_of(fields: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    """A camera's fields of any names as those of `entry`.

    Args:
        fields: as the file has them; tables in it are looked into.
        name: the camera's.
        where: file and camera, for messages.

    Returns:
        `name`, `matrix`, `rotation`, `translation`, `distortions`, `size`, None where the file has
        none; `notes` of what was not understood; `projection` (3, 4) where only that is given.
    """
    check_words(fields, where)
    given: dict[str, list[tuple[str, np.ndarray]]] = {}
    left = []
    for key, short, value in entries_of(fields):
        if short in CAMERA_TO_WORLD and isinstance(value, Mapping):
            _refuse_camera_to_world(key, value, where)
            continue
        value = _spelled(value)
        if field := _field(short, value):
            given.setdefault(field, []).append((key, numbers(value, where, key)))
        else:
            left.append((key, short, value))
    rotation, translation = _pose(given, where)
    table: dict[str, Any] = {
        "name": name,
        "matrix": _matrix(given, where),
        "rotation": rotation,
        "translation": translation,
        "distortions": _distortions(given, where),
        "size": _size(given, where),
    }
    table = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in table.items()}
    if "projection" in given and (table["matrix"] is None or rotation is None):
        table["projection"] = given["projection"][0][1]
    return table | {"notes": _left_over(left, table, where)}


def _field(name: str, value: Any) -> str | None:
    """What a plain name means with so many numbers: k may be a matrix or coefficients."""
    field, count = MEANT.get(name), _count(value)
    if isinstance(value, str):  # no number, or `_spelled` had made it one
        return None if name in (*SAYS_MODEL, *MAY_SAY_MODEL, *FLAGS) else field
    if name == "k" and 0 < count <= 8:
        return "distortions" if count > 3 else "radial"
    if name == "p":
        return {12: "projection", 2: "tangential"}.get(count)
    if field in ("size", "hw") and count not in (0, 2):
        return None
    return None if not count and field != "distortions" else field


def _refuse_camera_to_world(key: str, value: Mapping[str, Any], where: str) -> None:
    if value:
        raise ValueError(
            f"{where}: {key} = {str(dict(value))[:56]} looks like a pose from camera to world; "
            f"write its inverse ({AS_WRITTEN['pose']}) and remove {key}"
        )


def _count(value: Any) -> int:
    """How many numbers there are in lists of lists."""
    if isinstance(value, np.ndarray):
        return int(value.size)
    return sum(map(_count, value)) if isinstance(value, (list, tuple)) else 1


def _spelled(value: Any) -> Any:
    """[1920, 1080] of "1920x1080", 0.05 of "5e-2"; true and false are words."""
    if not isinstance(value, (str, bool)):
        return value
    if words := re.fullmatch(r"\s*(\d{1,6})\s*[xX×,* ]\s*(\d{1,6})\s*", text := str(value)):
        return [int(words[1]), int(words[2])]
    with suppress(ValueError):
        return float(text)
    return text


def _one(given: Given, field: str, where: str) -> np.ndarray | None:
    """The numbers of a field; several names for it must agree."""
    return _agreed(given.get(field, ()), where)


def _agreed(
    values: Sequence[tuple[str, np.ndarray]], where: str, near: float = 1e-6
) -> np.ndarray | None:
    """The first of several sources of one thing, {key: numbers}, if they agree."""
    if not values:
        return None
    (first, one), *others = values
    for key, other in others:
        if other.size != one.size or np.abs(other.ravel() - one.ravel()).max(initial=0) > near:
            raise ValueError(
                f"{where}: {first} and {key} differ ({one.tolist()} and {other.tolist()}); "
                "keep the one that the videos were calibrated with"
            )
    return one


def _number(given: Given, field: str, where: str) -> float | None:
    value = _one(given, field, where)
    return float(value.ravel()[0]) if value is not None and value.size else None


# ---- intrinsics ----------------------------------------------------------------------------------
def _matrix(given: Given, where: str) -> Any:
    """A matrix, else focal lengths and principal point by themselves."""
    matrices = given.get("matrix", [])
    whole = [(key, value) for key, value in matrices if value.size == 9] or matrices
    if (K := _one({"matrix": whole}, "matrix", where)) is not None:
        K = K.reshape(3, 3) if K.shape == (9,) else K
        skew = _number(given, "skew", where)
        if skew and K.shape == (3, 3) and abs(K[0, 1] - skew) > 1e-6:
            raise ValueError(f"{where}: skew = {skew}, but the matrix has {K[0, 1]}; keep one")
        for field, cell in _CELLS.items() if K.shape == (3, 3) else ():
            if field in given:
                _agreed([(whole[0][0], K[cell]), *given[field]], where, 1e-2)
        return K
    f = _pair(given, ("fx", "fy", "focal"), where)
    c = _pair(given, ("cx", "cy", "centre"), where)
    if f is None or c is None or f[0] is None or None in c:
        return None
    fy = f[0] if f[1] is None else f[1]
    return [[f[0], _number(given, "skew", where) or 0.0, c[0]], [0, fy, c[1]], [0, 0, 1]]


# In pixels, whatever the tool; a focal length under another name may be in millimetres.
_CELLS = {"fx": (0, 0), "fy": (1, 1), "cx": (0, 2), "cy": (1, 2)}


def _pair(given: Given, keys: tuple[str, str, str], where: str) -> list[float | None] | None:
    """Two numbers by themselves, or both (or one for both) under a third name."""
    x, y = (_number(given, key, where) for key in keys[:2])
    if x is None and (both := _one(given, keys[2], where)) is not None:
        x, y = [*both.ravel().tolist(), None][:2]
    return None if x is None else [x, y]


def _distortions(given: Given, where: str) -> np.ndarray | None:
    """k1, k2, p1, p2, k3 from one list, from radial and tangential ones, or one by one."""
    ways: dict[str, np.ndarray] = {}
    listed = _one(given, "distortions", where)
    if listed is not None and listed.size:
        ways["distortions"] = _listed(listed.ravel(), where)
    if "radial" in given or "tangential" in given:
        k, p = (_one(given, key, where) for key in ("radial", "tangential"))
        ways["radial and tangential"] = _parted(_filled(k), _filled(p), where)
    if any(f"{letter}{i}" in given for letter in "kp" for i in (1, 2)):
        numbered = {key: _number(given, key, where) or 0.0 for key in _COEFFICIENTS}
        k, p = (np.array([v for n, v in numbered.items() if n[0] == x]) for x in "kp")
        ways["k1, k2 and on"] = _parted(k, p, where)
    values = list(ways.values())
    if any(not np.allclose(v[:5], values[0][:5], atol=1e-9) for v in values):
        raise ValueError(f"{where}: {' and '.join(ways)} are different lenses; keep the one in use")
    return values[0] if values else None


_COEFFICIENTS = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")


def _filled(value: np.ndarray | None) -> np.ndarray:
    return np.zeros(0) if value is None else value.ravel()


def _listed(d: np.ndarray, where: str) -> np.ndarray:
    if d.size == 3 and d[2]:
        raise ValueError(
            f"{where}: 3 distortion coefficients, {d.tolist()}: is the third one p1 or k3? "
            "write all five, k1, k2, p1, p2, k3"
        )
    return d if d.size >= 5 else np.pad(d, (0, 5 - d.size))


def _parted(k: np.ndarray, p: np.ndarray, where: str) -> np.ndarray:
    if np.abs(k[3:]).max(initial=0) > 0 or np.abs(p[2:]).max(initial=0) > 0:
        raise ValueError(
            f"{where}: radial {k.tolist()}, tangential {p.tolist()}: a lens model of more than "
            "k1, k2, k3 and p1, p2; undistort the video first, or calibrate with these five"
        )
    k, p = np.pad(k, (0, 3))[:3], np.pad(p, (0, 2))[:2]
    return np.array([k[0], k[1], p[0], p[1], k[2]])


def _size(given: Given, where: str) -> Any:
    """(W, H): by two names, by one, or as an array's shape (H, W)."""
    W, H = (_number(given, key, where) for key in ("width", "height"))
    ways = [] if W is None or H is None else [("width and height", np.array([W, H]))]
    ways += given.get("size", [])
    ways += [(key, shape.ravel()[1::-1]) for key, shape in given.get("hw", [])]
    return _agreed([way for way in ways if way[1].size], where)


# ---- pose ----------------------------------------------------------------------------------------
def _pose(given: Given, where: str) -> tuple[Any, Any]:
    """Rotation and translation, world to camera; of two rotations the matrix, if they agree."""
    parts = [(key, *_split(key, E, where)) for key, E in given.get("extrinsic", [])]
    turns = sorted(given.get("rotation", []), key=lambda turn: -turn[1].size)
    R = turns[0][1] if turns else None
    for key, other in turns[1:]:
        a, b = _as_matrix(turns[0][1]), _as_matrix(other)
        if a is not None and b is not None and np.abs(a - b).max() > 2e-2:
            raise ValueError(f"{where}: {turns[0][0]} and {key} are different rotations; keep one")
    t = _one(given, "translation", where)
    whole = None if R is None else _as_matrix(R)
    of_R = [(turns[0][0], whole)] if whole is not None else []
    _agreed(of_R + [(key, r) for key, r, _ in parts], where, 2e-3)
    of_t = [(key, x) for key, _, x in parts]
    far = max((float(np.abs(x).max()) for _, x in of_t), default=0)
    _agreed([*given.get("translation", []), *of_t], where, 1e-3 * far + 1e-6)
    if parts:
        R, t = (parts[0][1] if R is None else R), (parts[0][2] if t is None else t)
    return (R.reshape(3, 3) if R is not None and R.shape == (9,) else R), t


def _split(key: str, E: np.ndarray, where: str) -> tuple[np.ndarray, np.ndarray]:
    """R (3, 3) and t (3) of [R | t]."""
    E = E.reshape(-1, 4) if E.shape in ((12,), (16,)) else E
    if E.shape not in ((3, 4), (4, 4)):
        raise ValueError(
            f"{where}: {key} has the shape {E.shape}; expected [R | t] (3 x 4 or 4 x 4) from "
            "world to camera"
        )
    return E[:3, :3], E[:3, 3]


def _as_matrix(R: np.ndarray) -> np.ndarray | None:
    if R.size == 3:
        return Rotation.from_rotvec(R.ravel()).as_matrix()
    return R.reshape(3, 3) if R.size == 9 else None


# ---- what is left --------------------------------------------------------------------------------
def _left_over(
    left: list[tuple[str, str, Any]], table: Mapping[str, Any], where: str
) -> tuple[str, ...]:
    """Notes of what looks like a camera's field and is not understood.

    An error where nothing else says the same.
    """
    posed = table["rotation"] is not None and table["translation"] is not None
    has = {
        "lens": table["distortions"] is not None,
        "size": table["size"] is not None,
        "pose": posed or "projection" in table,
    }
    notes = []
    for key, name, value in left:
        if (kind := _looks_like(name, value, has)) is None:
            continue
        shown = value if isinstance(value, str) else str(np.asarray(value).tolist())
        shown = shown if len(shown) < 60 else f"{shown[:56]} ..."
        if not has[kind]:
            raise ValueError(
                f"{where}: {key} = {shown} looks like a {kind}, under a name that is not known "
                f"here, and nothing else says it: rename it ({AS_WRITTEN[kind]}), "
                "or remove it if it is none"
            )
        notes.append(f"{key} = {shown} is not read")
    return tuple(notes)


def _looks_like(name: str, value: Any, has: Mapping[str, bool]) -> str | None:
    """`lens`, `size` or `pose`: by its name, or where one is missing by its shape."""
    if HARMLESS.search(name) or name in (*map(bare_name, CALLED), *SAYS_MODEL, *FLAGS):
        return None
    try:
        found = np.asarray([] if isinstance(value, (str, bool)) else value, np.float64)
    except (TypeError, ValueError):
        return None
    if not np.any(found):
        return None
    if kind := next((kind for kind, look in LOOKS.items() if look.search(name)), None):
        return kind
    fractions = bool((found % 1).any())
    if (
        not has["lens"]
        and found.size in (4, 5, 8, 12, 14)
        and np.abs(found).max() < LARGEST_COEFFICIENT
    ):
        return "lens" if fractions else None
    is_size = found.size == 2 and not fractions and found.min() >= 16
    return "size" if is_size and not has["size"] else None
