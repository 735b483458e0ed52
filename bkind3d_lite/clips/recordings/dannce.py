"""DANNCE and Label3D: `*dannce.mat` with cameras, synchronous frames and labels; `videos/Camera1/0.mp4`, `3000.mp4`.

`sync` tells which frame of each video belongs to which sample, `labelData` the samples that a human labelled; everything else is NaN.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...calibrations.isolated_parser import arrays
from .entry import Place, Recording, Truth, footage_of, match_videos, places_of, same_aspect, whole

DANNCE_FIELDS = ("sync", "labelData", "skeleton")


def _file(place: Place) -> Path | None:
    found = sorted(place.folder.glob("*dannce.mat"))
    return (
        found[0] if len(found) == 1 else None
    )  # with several, the search for a calibration says so


def recognises(place: Place) -> bool:
    """A single `*dannce.mat` in the folder."""
    return _file(place) is not None


def read(place: Place) -> Recording:
    """A moment for every sample of `sync` (without it: every frame), truth where it is labelled."""
    path = place.inside(_file(place))
    data, sources = arrays(path, DANNCE_FIELDS), place.sources()
    rig = place.rig(path, sources)
    paths = match_videos(sources, rig.names, place.folder, path)
    footage = tuple(footage_of(paths[name]) for name in rig.names)
    same_aspect(footage, rig, path)
    sync, labels = (_samples(data, key, rig.views, path) for key in ("sync", "labelData"))
    if sync is None:  # frame t of all cameras at one moment
        frames, table = (
            np.repeat(np.arange(max(len(whole(f)) for f in footage))[:, None], rig.views, 1),
            None,
        )
        ids = frames[:, 0]
    else:
        ids, frames = sync
        table = np.stack([places_of(frames[:, v], f) for v, f in enumerate(footage)], 1)
    truth = None if labels is None else _truth(data, ids, frames, labels, path)
    return Recording(
        rig, footage, place.rate(footage), table, truth, np.nan_to_num(frames[:, 0], nan=-1)
    )


def _samples(data: dict, key: str, views: int, path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Sample numbers (N,) and the frame of each camera (N, V); None where nothing of the kind is in the file."""
    columns = [
        data[name].astype(float).ravel()
        for v in range(views)
        if (name := f"{key}/{v}/data_frame") in data or (name := f"{key}/data_frame") in data
    ]
    if not columns or not columns[0].size:
        return None
    if len(columns) != views or len({len(c) for c in columns}) > 1:
        raise ValueError(
            f"{path}: {key} has {[len(c) for c in columns]} frames for {views} cameras; expected as many for each"
        )
    ids = next(
        (
            data[name].ravel()
            for field in ("data_sampleID", "data_sampleId")
            if (name := f"{key}/0/{field}") in data
        ),
        None,
    )
    return (
        columns[0] if ids is None or len(ids) != len(columns[0]) else ids.astype(float)
    ), np.stack(columns, 1)


def _truth(
    data: dict,
    ids: np.ndarray,
    frames: np.ndarray,
    labels: tuple[np.ndarray, np.ndarray],
    path: Path,
) -> Truth:
    at, said = labels[0], data["labelData/0/data_3d"].astype(np.float32)
    if said.size % (3 * len(at)):
        raise ValueError(
            f"{path}: labelData has {said.size} numbers in data_3d for {len(at)} labelled samples; expected x, y, z of every joint"
        )
    said, views = said.reshape(len(at), -1, 3), frames.shape[1]
    joints = said.shape[1]
    seen = [
        data.get(f"labelData/{v}/data_2d", np.zeros(0)).astype(np.float32) - 0.5
        for v in range(views)
    ]  # MATLAB counts pixels from 1
    seen = (
        np.stack([s.reshape(len(at), joints, 2) for s in seen], 1)
        if {s.size for s in seen} == {2 * len(at) * joints}
        else None
    )
    rows = {int(i): t for t, i in enumerate(ids)}
    known = [rows.get(int(i), -1) for i in at]
    if all(
        k < 0 for k in known
    ):  # files whose two tables number their samples differently agree in the frames
        rows = {int(f): t for t, f in enumerate(frames[:, 0]) if np.isfinite(f)}
        known = [rows.get(int(f), -1) for f in labels[1][:, 0]]
    names = tuple(str(n) for n in _listed(data, "skeleton/joint_names"))
    edges = data.get("skeleton/joints_idx", np.zeros((0, 2))).astype(int).reshape(-1, 2) - 1
    return Truth(
        _placed(said, known, len(ids)),
        names if len(names) == joints else tuple(f"joint{j + 1}" for j in range(joints)),
        tuple((int(a), int(b)) for a, b in edges if 0 <= min(a, b) and max(a, b) < joints),
        marks=None if seen is None else _placed(seen, known, len(ids)),
    )


def _placed(labels: np.ndarray, rows: list[int], samples: int) -> np.ndarray:
    """Labels (N, ...) at their rows of all samples (T, ...), NaN elsewhere; a row below 0 is none."""
    out = np.full((samples, *labels.shape[1:]), np.nan, np.float32)
    for t, label in zip(rows, labels):
        if t >= 0:
            out[t] = label
    return out


def _listed(data: dict, key: str) -> list:
    """A cell of texts, {key}/0, {key}/1, ..., or an array of them."""
    return (
        data[key].ravel().tolist()
        if key in data
        else [data[f"{key}/{i}"].item() for i in range(len(data)) if f"{key}/{i}" in data]
    )
