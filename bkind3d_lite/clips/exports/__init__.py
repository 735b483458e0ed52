"""Exports: a track as the files of the tools that come after."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import torch

from ...cameras import CameraRig
from ..tracks import Skeleton, Track
from .binary import dannce_mat, deeplabcut_h5, movement_netcdf, nwb, sleap_anipose_h5
from .text import anipose_csv, deeplabcut_csv, trc

# name: (usual file name, writer)
EXPORTS = {
    "anipose": ("keypoints_anipose.csv", anipose_csv),
    "deeplabcut": ("keypoints_deeplabcut.csv", deeplabcut_csv),
    "deeplabcut-h5": ("keypoints_deeplabcut.h5", deeplabcut_h5),
    "trc": ("keypoints.trc", trc),
    "dannce": ("save_data_AVG.mat", dannce_mat),
    "sleap-anipose": ("points3d.h5", sleap_anipose_h5),
    "movement": ("keypoints_movement.nc", movement_netcdf),
    "nwb": ("keypoints.nwb", nwb),
}


def export(
    track: Track,
    folder: str | Path,
    formats: tuple[str, ...] = tuple(EXPORTS),
    rig: CameraRig | None = None,
) -> list[Path]:
    """Write `track` into `folder` in each of `formats` (names of `EXPORTS`), calibration included where the format has a place for it.

    Raises `ValueError` for an unknown format, and where a format needs a library that is not installed (saying which).
    """
    if unknown := [name for name in formats if name not in EXPORTS]:
        raise ValueError(f"unknown export {unknown[0]!r}; known: {', '.join(EXPORTS)}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return [EXPORTS[name][1](track, folder / EXPORTS[name][0], rig) for name in formats]


def read_track(path: str | Path) -> Track:
    """The track that `Track.save` wrote as `.npz`. Raises `FileNotFoundError` or `ValueError` naming the file."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no track here; expected the keypoints.npz of a run")
    try:
        with np.load(path, allow_pickle=False) as data:
            skeleton = Skeleton(
                tuple(str(n) for n in data["names"]),
                tuple((int(a), int(b)) for a, b in data["edges"]),
            )
            world, weight = (
                torch.from_numpy(data[key]).float() for key in ("positions", "confidence")
            )
            return Track(world, weight, skeleton, float(data["fps"]), str(data["unit"]))
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path}: not a track ({error}); expected the keypoints.npz of a run"
        ) from error
