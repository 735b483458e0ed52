"""MATLAB: DANNCE and Label3D `*dannce.mat` (v5 and v7.3), Rat7M `mocap-s*-d*.mat`.

MATLAB's convention is row vectors, [u v 1] ~ [X 1] [r; t] K, and pixels from 1: K and r are
transposed, the principal point moves by -1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .entry import Tables, natural
from .fields import camera_of
from .isolated_parser import contents
from .spellings import bare_name


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
    if np.any(fields.get("m", 0)):
        raise ValueError(
            f"{path} [{name}]: m = {fields['m']}, a camera seen in a mirror; "
            "flip its video and calibrate it unmirrored"
        )
    # MATLAB's sizes are (rows, columns).
    fields = {"shape" if bare_name(k) == "imagesize" else k: v for k, v in fields.items()}
    fields = {k: v for k, v in fields.items() if k not in ("m", "frame")}
    table = camera_of(fields, name, f"{path} [{name}]")
    needed = {"K": "matrix", "r": "rotation", "t": "translation"}
    if missing := [key for key, field in needed.items() if table[field] is None]:
        raise ValueError(
            f"{path} [{name}]: no {', '.join(missing)}; a camera has K, r, t, RDistort, TDistort"
        )
    K, R = (np.array(table[key], np.float64).T for key in ("matrix", "rotation"))
    if K.shape == (3, 3):
        K[:2, 2] -= 1  # MATLAB counts pixels from 1
    return table | dict(matrix=K, rotation=R)
