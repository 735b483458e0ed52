"""MATLAB: DANNCE and Label3D `*dannce.mat` (v5 and v7.3), Rat7M `mocap-s*-d*.mat`.

MATLAB's convention is row vectors, [u v 1] ~ [X 1] [r; t] K, and pixels from 1: K and r are
transposed, the principal point moves by -1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .entry import Tables, natural
from .isolated_parser import contents

FIELDS = {
    "K": ("K", "IntrinsicMatrix"),
    "r": ("r", "R", "rotationMatrix"),
    "t": ("t", "translationVector"),
    "radial": ("RDistort", "RadialDistortion"),
    "tangential": ("TDistort", "TangentialDistortion"),
}


def read_mat(path: Path) -> tuple[Tables, str]:
    """Cameras of a DANNCE or Label3D file, or of a Rat7M one.

    The former have a cell `params` and names in `camnames`, the latter a struct `cameras`.

    Args:
        path: the file.

    Returns:
        The cameras, and the unit, mm.

    Raises:
        ValueError: it is another file, or names and cameras do not agree.
    """
    root = contents(path)
    if isinstance(root.get("cameras"), dict):
        # By name: the order of a struct's fields is arbitrary.
        cameras = {name: root["cameras"][name] for name in sorted(root["cameras"], key=natural)}
    elif "params" in root:
        cameras = _by_name(root, path)
    else:
        raise ValueError(
            f"{path}: neither params (DANNCE, Label3D) nor cameras (Rat7M) in it, "
            f"but {', '.join(sorted(root)) or 'nothing'}"
        )
    return {name: _camera(name, camera, path) for name, camera in cameras.items()}, "mm"


def _by_name(root: dict[str, Any], path: Path) -> dict[str, Any]:
    """The cameras of a cell `params`, by their names in `camnames`."""
    cameras = root["params"] if isinstance(root["params"], list) else [root["params"]]
    names = [str(n) for n in root.get("camnames", [])]
    names = names or [f"Camera{i + 1}" for i in range(len(cameras))]
    if len(names) != len(cameras):
        raise ValueError(
            f"{path}: {len(cameras)} cameras in params, {len(names)} names in camnames; "
            "they must agree"
        )
    return dict(zip(names, cameras))


def _camera(name: str, fields: dict[str, Any], path: Path) -> dict[str, Any]:
    if not isinstance(fields, dict):
        raise ValueError(f"{path} [{name}]: not a struct of K, r, t, RDistort, TDistort")
    value = {
        key: next((fields[k] for k in keys if k in fields), None) for key, keys in FIELDS.items()
    }
    if missing := [FIELDS[key][0] for key in ("K", "r", "t") if value[key] is None]:
        raise ValueError(
            f"{path} [{name}]: no {', '.join(missing)}; a camera has K, r, t, RDistort, TDistort"
        )
    if np.any(fields.get("m", 0)):
        raise ValueError(
            f"{path} [{name}]: m = {fields['m']}, a camera seen in a mirror; "
            "flip its video and calibrate it unmirrored"
        )
    K = np.array(value["K"], np.float64).T
    if K.shape == (3, 3):
        K[:2, 2] -= 1  # MATLAB counts pixels from 1
    k, p = _coefficients(value["radial"], 3), _coefficients(value["tangential"], 2)
    return dict(
        name=name,
        matrix=K,
        rotation=np.array(value["r"], np.float64).T,
        translation=np.array(value["t"], np.float64).ravel(),
        distortions=[k[0], k[1], p[0], p[1], k[2]],
    )


def _coefficients(value: Any, count: int) -> np.ndarray:
    """So many numbers of a field, zeros where it has fewer or is missing."""
    given = np.array([] if value is None else value, np.float64).ravel()
    return np.pad(given, (0, count))[:count]
