"""Exports: a track as the files of the tools that come after."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...cameras import CameraRig
from ...files import refuse_unwritable
from ..image_tracks import Track2D, track2d_of
from ..tracks import Skeleton, Track, read_time
from .binary import dannce_mat, deeplabcut_h5, movement_netcdf, sleap_anipose_h5
from .image_files import (
    bkind_npz,
    bkind_npz_plus_one,
    deeplabcut_2d_csv,
    deeplabcut_2d_h5,
    movement_2d_netcdf,
    sleap_analysis_h5,
)
from .nwb_file import nwb
from .text import anipose_csv, deeplabcut_csv, trc

__all__ = ["EXPORTS", "EXPORTS_2D", "export", "read_track"]

log = logging.getLogger(__name__)
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


# of tracks in an image
EXPORTS_2D = {
    "deeplabcut": ("keypoints_deeplabcut.csv", deeplabcut_2d_csv),
    "deeplabcut-h5": ("keypoints_deeplabcut.h5", deeplabcut_2d_h5),
    "sleap": ("keypoints_sleap.analysis.h5", sleap_analysis_h5),
    "movement": ("keypoints_movement.nc", movement_2d_netcdf),
    "bkind": ("keypoints_bkind.npz", bkind_npz),
    "bkind-covs-plus-1": ("keypoints_bkind_plus_1.npz", bkind_npz_plus_one),
}


def export(
    track: Track | Track2D,
    folder: str | Path,
    formats: Sequence[str] | None = None,
    rig: CameraRig | None = None,
    unit: str | None = None,
) -> list[Path]:
    """Write a track for other tools: what can be written is, and what cannot is named.

    Args:
        track: what to write.
        folder: where to, made if need be.
        formats: names of `EXPORTS`, of a track in an image those of `EXPORTS_2D`; None: all for
            which the libraries are here.
        rig: the calibration, included where a format has a place for it.
        unit: of the track, if the calibration named none or a wrong one.

    Returns:
        The files.

    Raises:
        ValueError: an unknown format, or one that was asked for and cannot be written (says why);
            the others are written before that.
    """
    known: dict[str, Any] = EXPORTS_2D if isinstance(track, Track2D) else EXPORTS
    wanted = tuple(known) if formats is None else tuple(formats)
    if unknown := [name for name in wanted if name not in known]:
        what = " of a track in an image" if isinstance(track, Track2D) else ""
        raise ValueError(f"unknown export {unknown[0]!r}{what}; known: {', '.join(known)}")
    folder, written, missing = refuse_unwritable(folder), [], []
    if unit is not None and isinstance(track, Track):
        track = replace(track, unit=unit)
    for name in wanted:
        try:
            written.append(known[name][1](track, folder / known[name][0], rig))
        except (ValueError, OSError, ImportError) as error:
            words = getattr(error, "strerror", None) or str(error)
            file = folder / known[name][0]
            missing.append(words if str(file) in words else f"{file}: not written ({words})")
    if missing and (formats is not None or not written):
        raise ValueError("; ".join(missing))
    for reason in missing:
        log.warning("not written: %s", reason)
    return written


def read_track(path: str | Path) -> Track | Track2D:
    """The track that `Track.save` or `Track2D.save` wrote as `.npz`.

    Args:
        path: the file.

    Returns:
        A float32 track, with heading and covariance where they are known.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no track; names the file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no track here; expected the keypoints.npz of a run")
    try:
        with np.load(path, allow_pickle=False) as data:
            if "px" in data:
                return track2d_of(data)
            names = tuple(str(n) for n in data["names"])
            edges = tuple((int(a), int(b)) for a, b in data["edges"])
            heading = {
                name: torch.from_numpy(data[name]).float()
                for name in ("heading", "heading_confidence", "covariance")
                if name in data
            }
            return Track(
                world=torch.from_numpy(data["positions"]).float(),
                confidence=torch.from_numpy(data["confidence"]).float(),
                skeleton=Skeleton(names, edges),
                fps=float(data["fps"]),
                unit=str(data["unit"]),
                **heading,
                **read_time(data),
            )
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path}: not a track ({error}); expected the keypoints.npz of a run"
        ) from error
