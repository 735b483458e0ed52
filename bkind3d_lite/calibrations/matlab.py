"""MATLAB: DANNCE and Label3D `*dannce.mat` (v5 and v7.3), Rat7M `mocap-s*-d*.mat`.

MATLAB's convention is row vectors, [u v 1] ~ [X 1] [r; t] K, and pixels from 1: K and r are transposed, the principal point moves by -1.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .entry import natural
from .isolated_parser import contents

FIELDS = {
    "K": ("K", "IntrinsicMatrix"),
    "r": ("r", "R", "rotationMatrix"),
    "t": ("t", "translationVector"),
    "radial": ("RDistort", "RadialDistortion"),
    "tangential": ("TDistort", "TangentialDistortion"),
}


def read_mat(path: Path) -> tuple[dict, str]:
    """Cameras of a DANNCE or Label3D file (cell `params`, names in `camnames`) or a Rat7M one (struct `cameras`), in mm."""
    root = contents(path)
    if isinstance(root.get("cameras"), dict):
        found = {
            name: root["cameras"][name] for name in sorted(root["cameras"], key=natural)
        }  # by name: the field order is arbitrary
    elif "params" in root:
        cameras = root["params"] if isinstance(root["params"], list) else [root["params"]]
        names = [str(n) for n in root.get("camnames", [])] or [
            f"Camera{i + 1}" for i in range(len(cameras))
        ]
        if len(names) != len(cameras):
            raise ValueError(
                f"{path}: {len(cameras)} cameras in params, {len(names)} names in camnames; they must agree"
            )
        found = dict(zip(names, cameras))
    else:
        raise ValueError(
            f"{path}: neither params (DANNCE, Label3D) nor cameras (Rat7M) in it, but {', '.join(sorted(root)) or 'nothing'}"
        )
    return {name: _camera(name, camera, path) for name, camera in found.items()}, "mm"


def _camera(name: str, fields: dict, path: Path) -> dict:
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
            f"{path} [{name}]: m = {fields['m']}, a camera seen in a mirror; flip its video and calibrate it unmirrored"
        )
    K = np.array(value["K"], np.float64).T
    if K.shape == (3, 3):
        K[:2, 2] -= 1  # MATLAB counts pixels from 1
    k, p = (
        np.pad(np.array(_some(value[key]), np.float64).ravel(), (0, n))[:n]
        for key, n in (("radial", 3), ("tangential", 2))
    )
    return dict(
        name=name,
        matrix=K,
        rotation=np.array(value["r"], np.float64).T,
        translation=np.array(value["t"], np.float64).ravel(),
        distortions=[k[0], k[1], p[0], p[1], k[2]],
    )


def _some(value) -> object:
    return [] if value is None else value
