"""DANNCE and Label3D: `*dannce.mat` with cameras, synchronous frames and labels; videos in folders.

`videos/Camera1/0.mp4`, `3000.mp4`. `sync` tells which frame of each video belongs to which sample,
`labelData` the samples that a human labelled; everything else is NaN.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...calibrations.isolated_parser import arrays
from .entry import Place, Recording, Truth, whole
from .footage import footage_of
from .matching import fitted
from .moments import indices_of

DANNCE_FIELDS = ("sync", "labelData", "skeleton")


def _file(place: Place) -> Path | None:
    """The only `*dannce.mat`; with several, the search for a calibration says so."""
    paths = sorted(place.folder.glob("*dannce.mat"))
    return paths[0] if len(paths) == 1 else None


def recognises(place: Place) -> bool:
    """A single `*dannce.mat` in the folder.

    Args:
        place: the folder.

    Returns:
        Whether it is there.
    """
    return _file(place) is not None


def read(place: Place) -> Recording:
    """A moment for every sample of `sync` (without it: every frame), truth where it is labelled.

    Args:
        place: the folder.

    Returns:
        The recording.

    Raises:
        FileNotFoundError: its file is gone.
    """
    if (path := _file(place)) is None:
        raise FileNotFoundError(f"{place.folder}: no *dannce.mat, or several")
    data, sources = arrays(place.inside(path), DANNCE_FIELDS), place.sources()
    rig = place.rig(path, sources)
    data = _of_cameras(data, place.places(rig, path))
    paths = place.matched(sources, rig, path)
    footage = fitted([footage_of(paths[name]) for name in rig.names], rig, path)
    sync, labels = (_samples(data, key, rig.views, path) for key in ("sync", "labelData"))
    table = None
    if sync is None:  # frame t of all cameras at one moment
        longest = max(len(whole(f)) for f in footage)
        frames = np.repeat(np.arange(longest)[:, None], rig.views, 1)
        ids = frames[:, 0]
    else:
        ids, frames = sync
        table = np.stack([indices_of(frames[:, v], f) for v, f in enumerate(footage)], 1)
    return Recording(
        rig=rig,
        footage=footage,
        fps=place.rate(footage),
        table=table,
        truth=None if labels is None else _truth(data, ids, frames, labels, path),
        clock=np.nan_to_num(frames[:, 0], nan=-1),
    )


def _of_cameras(data: dict, places: list[int]) -> dict:
    """`sync/2/...` as `sync/0/...`, if the file's third camera is the first chosen one."""
    if places == list(range(len(places))):
        return data
    out = {}
    for key, value in data.items():
        head, *rest = key.split("/")
        by_camera = head in ("sync", "labelData") and rest and rest[0].isdigit()
        if by_camera and int(rest[0]) in places:
            out["/".join([head, str(places.index(int(rest[0]))), *rest[1:]])] = value
        elif not by_camera:
            out[key] = value
    return out


def _samples(data: dict, key: str, views: int, path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Sample numbers (N,) and the frame of each camera (N, V); None where the file has no such."""
    columns = [
        data[name].astype(float).ravel()
        for v in range(views)
        if (name := f"{key}/{v}/data_frame") in data or (name := f"{key}/data_frame") in data
    ]
    if not columns or not columns[0].size:
        return None
    if len(columns) != views or len({len(c) for c in columns}) > 1:
        raise ValueError(
            f"{path}: {key} has {[len(c) for c in columns]} frames for {views} cameras; "
            "expected as many for each"
        )
    spellings = (f"{key}/0/data_sampleID", f"{key}/0/data_sampleId")
    ids = next((data[name].ravel() for name in spellings if name in data), None)
    if ids is None or len(ids) != len(columns[0]):
        return columns[0], np.stack(columns, 1)
    return ids.astype(float), np.stack(columns, 1)


def _truth(
    data: dict,
    ids: np.ndarray,
    frames: np.ndarray,
    labels: tuple[np.ndarray, np.ndarray],
    path: Path,
) -> Truth:
    """The labels at their rows of all samples: ids (T,), frames (T, V), labels as `_samples`."""
    at, positions = labels[0], data["labelData/0/data_3d"].astype(np.float32)
    if positions.size % (3 * len(at)):
        raise ValueError(
            f"{path}: labelData has {positions.size} numbers in data_3d for {len(at)} labelled "
            "samples; expected x, y, z of every joint"
        )
    positions = positions.reshape(len(at), -1, 3)
    joints = positions.shape[1]
    marks = _marks(data, frames.shape[1], len(at), joints)
    rows = _rows(ids, frames[:, 0], labels)
    names = tuple(str(n) for n in _texts(data, "skeleton/joint_names"))
    edges = data.get("skeleton/joints_idx", np.zeros((0, 2))).astype(int).reshape(-1, 2) - 1
    return Truth(
        positions=_placed(positions, rows, len(ids)),
        names=names if len(names) == joints else tuple(f"joint{j + 1}" for j in range(joints)),
        edges=tuple((int(a), int(b)) for a, b in edges if 0 <= min(a, b) and max(a, b) < joints),
        marks=None if marks is None else _placed(marks, rows, len(ids)),
    )


def _marks(data: dict, views: int, samples: int, joints: int) -> np.ndarray | None:
    """Where a human saw the joints, (N, V, J, 2) in pixels, if every view has them."""
    found = [data.get(f"labelData/{v}/data_2d", np.zeros(0)) for v in range(views)]
    flat = [marks.astype(np.float32) - 0.5 for marks in found]  # MATLAB counts pixels from 1
    if {marks.size for marks in flat} != {2 * samples * joints}:
        return None
    return np.stack([marks.reshape(samples, joints, 2) for marks in flat], 1)


def _rows(ids: np.ndarray, frames: np.ndarray, labels: tuple[np.ndarray, np.ndarray]) -> list[int]:
    """Where the labels (N,) lie among all samples; -1: nowhere.

    Files whose two tables number their samples differently agree in the first camera's frames.
    """
    rows = {int(i): t for t, i in enumerate(ids)}
    by_id = [rows.get(int(i), -1) for i in labels[0]]
    if any(row >= 0 for row in by_id):
        return by_id
    rows = {int(f): t for t, f in enumerate(frames) if np.isfinite(f)}
    return [rows.get(int(f), -1) for f in labels[1][:, 0]]


def _placed(labels: np.ndarray, rows: list[int], samples: int) -> np.ndarray:
    """Labels (N, ...) at their rows of all samples (T, ...), NaN elsewhere; a row below 0: none."""
    out = np.full((samples, *labels.shape[1:]), np.nan, np.float32)
    for t, label in zip(rows, labels):
        if t >= 0:
            out[t] = label
    return out


def _texts(data: dict, key: str) -> list:
    """A cell of texts, {key}/0, {key}/1, ..., or an array of them."""
    if key in data:
        return data[key].ravel().tolist()
    return [data[f"{key}/{i}"].item() for i in range(len(data)) if f"{key}/{i}" in data]
