"""Tables that need no library: Anipose's 3D CSV, DeepLabCut's 3D CSV, TRC."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ...cameras import CameraRig
from ...files import write_atomically
from ...units import METRES, unit_named
from ..tracks import Track

ANIPOSE_FIELDS = ("x", "y", "z", "error", "ncams", "score")  # of each keypoint
TRC_UNITS = ("mm", "cm", "m")
TRC_HEADS = (
    "DataRate",
    "CameraRate",
    "NumFrames",
    "NumMarkers",
    "Units",
    "OrigDataRate",
    "OrigDataStartFrame",
    "OrigNumFrames",
)


def column_names(names: tuple[str, ...]) -> list[str]:
    """Keypoints' names as one word each, as column heads need them.

    Args:
        names: any texts.

    Returns:
        As many words.

    Raises:
        ValueError: two become the same.
    """
    words = [re.sub(r"\W+", "_", name) or "_" for name in names]
    if len(set(words)) < len(words):
        twice = next(w for w in words if words.count(w) > 1)
        raise ValueError(
            f"keypoint names {', '.join(n for n, w in zip(names, words) if w == twice)} become the "
            f"same column {twice!r}; rename one"
        )
    return words


def _write_lines(path: Path, rows: Iterable[list[str]], separator: str) -> Path:
    text = "\n".join(separator.join(row) for row in rows) + "\n"
    return write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_csv(path: Path, heads: list[list[str]], columns: np.ndarray) -> Path:
    """Write head rows, then a row a frame; NaN is empty.

    Args:
        path: the file.
        heads: rows of words.
        columns: (T, n) numbers.

    Returns:
        The file.
    """
    rows = [["" if np.isnan(x) else f"{x:.7g}" for x in row] for row in columns]
    return _write_lines(path, heads + rows, ",")


def _numbers(track: Track) -> np.ndarray:
    """The frames' numbers in their recording, (T, 1)."""
    return track.clock["numbers"].numpy()[:, None]


def anipose_csv(track: Track, path: Path, rig: CameraRig | None = None) -> Path:
    """Anipose's 3D table.

    x, y, z, error, ncams, score of each keypoint; then M_00..M_22 (identity), center_0..2 (zero),
    fnum. The error is not known: empty.

    Args:
        track: what to write.
        path: the file.
        rig: gives ncams; None: empty.

    Returns:
        The file.
    """
    T, K, _ = track.world.shape
    world, score = track.world.double().numpy(), track.confidence.double().numpy()[..., None]
    error = np.full((T, K, 1), np.nan)
    cameras = np.full((T, K, 1), rig.views if rig else np.nan)
    own = np.concatenate([world, error, cameras, score], -1).reshape(T, -1)
    identity, number = np.tile(np.eye(3).ravel(), (T, 1)), _numbers(track)
    heads = [f"{n}_{f}" for n in column_names(track.skeleton.names) for f in ANIPOSE_FIELDS]
    heads += [f"M_{i}{j}" for i in range(3) for j in range(3)]
    heads += ["center_0", "center_1", "center_2", "fnum"]
    columns = np.concatenate([own, identity, np.zeros((T, 3)), number], 1)
    return write_csv(path, [heads], columns)


def deeplabcut_csv(track: Track, path: Path, rig: CameraRig | None = None) -> Path:
    """DeepLabCut's 3D table, which has no likelihood.

    Three head rows (scorer, bodyparts, coords), then frame number and x, y, z of each keypoint.

    Args:
        track: what to write.
        path: the file.
        rig: of no use to this format.

    Returns:
        The file.
    """
    T, K, _ = track.world.shape
    names = column_names(track.skeleton.names)
    heads = [
        ["scorer"] + ["bkind3d_lite"] * 3 * K,
        ["bodyparts"] + [n for n in names for _ in "xyz"],
        ["coords"] + list("xyz") * K,
    ]
    number, world = _numbers(track), track.world.double().numpy().reshape(T, -1)
    return write_csv(path, heads, np.concatenate([number, world], 1))


def trc(track: Track, path: Path, rig: CameraRig | None = None) -> Path:
    """OpenSim's marker file, y up (our z), in mm, cm or m: other units are converted to mm.

    Columns are (y, z, x) of the world, as Pose2Sim writes them.

    Args:
        track: what to write.
        path: the file.
        rig: of no use to this format.

    Returns:
        The file.

    Raises:
        ValueError: the track's unit is not known.
    """
    T, K, _ = track.world.shape
    unit, scale = _trc_unit(track, path)
    numbers, seconds = (track.clock[key].tolist() for key in ("numbers", "seconds"))
    fps = f"{track.fps:g}"
    rows = [
        ["PathFileType", "4", "(X/Y/Z)", path.name],
        list(TRC_HEADS),
        [fps, fps, str(T), str(K), unit, fps, str(numbers[0]) if T else "0", str(T)],
        ["Frame#", "Time", *(x for n in column_names(track.skeleton.names) for x in (n, "", ""))],
        ["", "", *(f"{axis}{k + 1}" for k in range(K) for axis in "XYZ")],
    ]
    for t, points in enumerate(scale * track.world[..., [1, 2, 0]].double().numpy()):
        places = ["" if np.isnan(x) else f"{x:.6f}" for x in points.ravel()]
        rows.append([str(numbers[t]), f"{seconds[t]:.6f}", *places])
    return _write_lines(path, rows, "\t")


def _trc_unit(track: Track, path: Path) -> tuple[str, float]:
    """The unit that the file names, and the factor that brings the track to it."""
    unit = unit_named(track.unit)
    if unit in TRC_UNITS:
        return unit, 1.0
    if unit not in METRES:
        raise ValueError(
            f"{path}: the track's unit is {track.unit!r}, and OpenSim must know it; write unit "
            "under [metadata] of the calibration and track again, or tell it: --unit mm (export("
            '..., unit="mm"))'
        )
    return "mm", METRES[unit] / METRES["mm"]
