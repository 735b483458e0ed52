"""Poses in tables: DeepLabCut's CSV and HDF5, SLEAP's analysis HDF5, and plain NPZ.

DeepLabCut's HDF5 keeps its column names as a Python pickle; it is read by an unpickler that knows
lists, tuples and text and refuses everything else, so that a file cannot run code.
"""

from __future__ import annotations

import csv
import io
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..files import text_of
from .entry import CORNER, People2D, stacked
from .orders import order_of

_Frames = dict[int, np.ndarray]


# ---- DeepLabCut ----------------------------------------------------------------------------------
def read_deeplabcut(files: dict[str, Path]) -> People2D:
    """DeepLabCut's results, one CSV or HDF5 file for each camera.

    Args:
        files: {camera: its file}.

    Returns:
        The animals; joints by the names of the files.

    Raises:
        ValueError: a file that is none of DeepLabCut's, or files with other joints.
    """
    views: dict[str, _Frames] = {}
    names: tuple[str, ...] | None = None
    for camera, path in files.items():
        columns, rows, values = _csv(path) if path.suffix.lower() == ".csv" else _pandas_table(path)
        joints = tuple(dict.fromkeys(column[-2] for column in columns))
        animals = list(dict.fromkeys(column[:-2] for column in columns))
        if names is not None and joints != names:
            raise ValueError(f"{path}: joints {joints}, but the files before have {names}")
        names = joints
        cells = {(c[:-2], c[-2], c[-1]): values[:, i] for i, c in enumerate(columns)}
        try:
            table = np.array(
                [
                    [[cells[a, j, k] for k in ("x", "y", "likelihood")] for j in joints]
                    for a in animals
                ]
            )
        except KeyError as error:
            raise ValueError(f"{path}: no column {error}; expected x, y, likelihood") from error
        views[camera] = dict(zip(rows, table.transpose(3, 0, 1, 2)))
    return stacked(views, names or ())


def _csv(path: Path) -> tuple[list[tuple[str, ...]], list[int], np.ndarray]:
    """Columns, frame numbers and values of a CSV with three or four rows of head."""
    lines = list(csv.reader(io.StringIO(text_of(path), newline="")))
    heads = {line[0]: line[1:] for line in lines[:4] if line}
    if not {"bodyparts", "coords"} <= heads.keys():
        raise ValueError(f"{path}: no rows 'bodyparts' and 'coords'; expected DeepLabCut's CSV")
    wanted = [heads[key] for key in ("individuals", "bodyparts", "coords") if key in heads]
    body = [line for line in lines if line and line[0].isdigit()]
    try:
        values = np.array([[float(x) if x else np.nan for x in line[1:]] for line in body])
    except ValueError as error:
        raise ValueError(f"{path}: {error} in a row of numbers") from error
    if not body or values.ndim != 2 or values.shape[1] != len(wanted[0]):
        raise ValueError(f"{path}: {len(body)} rows of numbers that do not fit its head")
    return list(zip(*wanted)), [int(line[0]) for line in body], values


class _Words(pickle.Unpickler):
    """Unpickles lists, tuples, numbers and text; anything else is refused."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name} has no place among column names")


def _pandas_table(path: Path) -> tuple[list[tuple[str, ...]], list[int], np.ndarray]:
    """Columns, frame numbers and values of the table that pandas wrote."""
    with opened_h5(path) as file:
        group = next((g for g in file.values() if "table" in g), None)
        if group is None or "values_block_0" not in group["table"].dtype.names:
            raise ValueError(f"{path}: no table; expected DeepLabCut's HDF5 (format 'table')")
        table = group["table"]
        kind = table.attrs["values_block_0_kind"]
        try:
            columns = _Words(io.BytesIO(bytes(kind))).load()
        except (pickle.UnpicklingError, EOFError, ValueError) as error:
            raise ValueError(f"{path}: its column names cannot be read ({error})") from error
        values = np.asarray(table["values_block_0"], np.float64)
        index = table["index"]
        rows = [int(i) for i in index] if index.dtype.kind in "iu" else list(range(len(values)))
    return [tuple(str(word) for word in column[1:]) for column in columns], rows, values


# ---- SLEAP ---------------------------------------------------------------------------------------
def read_sleap(files: dict[str, Path]) -> People2D:
    """SLEAP's analysis files, one HDF5 for each camera.

    Args:
        files: {camera: its file}.

    Returns:
        The animals; joints by the names of the files.

    Raises:
        ValueError: a file that is none of SLEAP's, or files with other joints.
    """
    views: dict[str, _Frames] = {}
    names: tuple[str, ...] | None = None
    for camera, path in files.items():
        with opened_h5(path) as file:
            if not {"tracks", "node_names"} <= file.keys():
                raise ValueError(f"{path}: no 'tracks' and 'node_names'; expected SLEAP's analysis")
            tracks = np.asarray(file["tracks"], np.float64)  # (N, 2, J, T)
            nodes = tuple(n.decode() for n in np.asarray(file["node_names"]).ravel())
            scores = np.asarray(file["point_scores"]) if "point_scores" in file else None
        if tracks.ndim != 4 or tracks.shape[1] != 2 or tracks.shape[2] != len(nodes):
            raise ValueError(f"{path}: tracks {tracks.shape}, expected (N, 2, {len(nodes)}, T)")
        if names is not None and nodes != names:
            raise ValueError(f"{path}: joints {nodes}, but the files before have {names}")
        names = nodes
        sure = np.isfinite(tracks[:, 0]).astype(float) if scores is None else scores
        table = np.concatenate([tracks, sure[:, None]], 1).transpose(3, 0, 2, 1)
        views[camera] = dict(enumerate(table))
    return stacked(views, names or ())


def opened_h5(path: Path) -> Any:
    """An HDF5 file, by a library that is an extra.

    Args:
        path: the file.

    Returns:
        The opened h5py.File.

    Raises:
        ValueError: h5py is not installed, or the file is damaged.
    """
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise ValueError(f"{path}: reading it needs h5py; pip install h5py") from error
    try:
        return h5py.File(path)
    except OSError as error:
        raise ValueError(f"{path}: not an HDF5 file ({error})") from error


# ---- NPZ -----------------------------------------------------------------------------------------
def read_pose_npz(path: Path, order: str | None) -> People2D:
    """An NPZ file: `px` (T, V, J, 2 or 3), or (T, V, N, J, ...) where there are several people.

    `names`, `cameras`, `frames`, `weight` lie beside it or not; `Poses2D.save` writes them all.
    Without `convention="corner"` the first pixel's centre is (0, 0), as everywhere else.

    Args:
        path: the file.
        order: of the joints, where it holds no `names`.

    Returns:
        The people.

    Raises:
        ValueError: a file without such an array.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not a NumPy file of plain arrays ({error})") from error
    points = next((arrays[k] for k in ("px", "keypoints", "positions") if k in arrays), None)
    if points is None or points.ndim not in (4, 5) or points.shape[-1] not in (2, 3):
        raise ValueError(
            f"{path}: arrays {', '.join(arrays)}; expected px (T, V, J, 2) with names and cameras"
        )
    table = _with_confidence(points.astype(np.float32), arrays.get("weight"), path)
    table = table[:, :, None] if table.ndim == 4 else table
    T, V, _, J, _ = table.shape
    names = _words(arrays, "names", J) or order_of(order, J, path)
    cameras = _words(arrays, "cameras", V) or [f"cam{v + 1}" for v in range(V)]
    frames = arrays.get("frames", np.arange(T))
    if len(frames) != T or len(set(frames.tolist())) != T:
        raise ValueError(f"{path}: {len(set(frames.tolist()))} frames for {T} rows of px")
    offset = 0.0 if str(arrays.get("convention", "")) == "corner" else CORNER
    people = stacked(
        {c: dict(enumerate(table[:, v])) for v, c in enumerate(cameras)}, names, offset
    )
    return People2D(**{**vars(people), "frames": people.frames.new_tensor(frames)})


def _with_confidence(points: np.ndarray, weight: np.ndarray | None, path: Path) -> np.ndarray:
    if points.shape[-1] == 3:
        return points
    weight = np.isfinite(points[..., 0]) if weight is None else weight
    if weight.shape != points.shape[:-1]:
        raise ValueError(f"{path}: weight {weight.shape} does not fit px {points.shape}")
    return np.concatenate([points, weight[..., None].astype(np.float32)], -1)


def _words(arrays: Mapping[str, np.ndarray], key: str, count: int) -> Sequence[str]:
    words = [str(word) for word in arrays.get(key, [])]
    return tuple(words) if len(words) == count else ()
