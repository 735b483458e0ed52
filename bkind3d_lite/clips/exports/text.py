"""Tables that need no library: Anipose's 3D CSV, DeepLabCut's 3D CSV, TRC."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ...cameras import CameraRig
from ...files import write_atomically
from ..tracks import Track


def words(names: tuple[str, ...]) -> list[str]:
    """Names as one word each, as column heads need them; two that become the same are refused."""
    out = [re.sub(r"\W+", "_", name) or "_" for name in names]
    if len(set(out)) < len(out):
        twice = next(w for w in out if out.count(w) > 1)
        raise ValueError(
            f"keypoint names {', '.join(n for n, w in zip(names, out) if w == twice)} become the same column {twice!r}; rename one"
        )
    return out


def _table(
    path: Path, heads: list[str], columns: np.ndarray, head_rows: list[list[str]] | None = None
) -> Path:
    lines = [",".join(row) for row in (head_rows or [heads])]
    lines += [",".join("" if np.isnan(x) else f"{x:.7g}" for x in row) for row in columns]
    return write_atomically(
        path, lambda temporary: temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    )


def anipose_csv(track: Track, path: Path, rig: CameraRig | None = None) -> Path:
    """Per keypoint x, y, z, error, ncams, score; then M_00..M_22 (identity), center_0..2 (zero), fnum. error is not known: empty."""
    T, K, _ = track.world.shape
    world, score = track.world.double().numpy(), track.confidence.double().numpy()[..., None]
    views = np.full((T, K, 1), rig.views if rig else np.nan)
    own = np.concatenate([world, np.full((T, K, 1), np.nan), views, score], -1).reshape(T, -1)
    frame = np.concatenate(
        [np.tile(np.eye(3).ravel(), (T, 1)), np.zeros((T, 3)), np.arange(T)[:, None]], 1
    )
    heads = [
        f"{n}_{c}"
        for n in words(track.skeleton.names)
        for c in ("x", "y", "z", "error", "ncams", "score")
    ]
    heads += [f"M_{i}{j}" for i in range(3) for j in range(3)] + [
        "center_0",
        "center_1",
        "center_2",
        "fnum",
    ]
    return _table(path, heads, np.concatenate([own, frame], 1))


def deeplabcut_csv(track: Track, path: Path, rig: CameraRig | None = None) -> Path:
    """Three head rows (scorer, bodyparts, coords), then frame number and x, y, z of each keypoint; DeepLabCut's 3D has no likelihood."""
    T, K, _ = track.world.shape
    names = words(track.skeleton.names)
    heads = [
        ["scorer"] + ["bkind3d_lite"] * 3 * K,
        ["bodyparts"] + [n for n in names for _ in "xyz"],
        ["coords"] + list("xyz") * K,
    ]
    return _table(
        path,
        [],
        np.concatenate([np.arange(T)[:, None], track.world.double().numpy().reshape(T, -1)], 1),
        heads,
    )


def trc(track: Track, path: Path, rig: CameraRig | None = None) -> Path:
    """OpenSim's marker file, y up (our z): columns are (y, z, x) of the world, as Pose2Sim writes them; in the track's unit."""
    T, K, _ = track.world.shape
    unit = track.unit if track.unit in ("mm", "cm", "m") else "mm"
    rows = [
        ["PathFileType", "4", "(X/Y/Z)", path.name],
        [
            "DataRate",
            "CameraRate",
            "NumFrames",
            "NumMarkers",
            "Units",
            "OrigDataRate",
            "OrigDataStartFrame",
            "OrigNumFrames",
        ],
        [f"{track.fps:g}", f"{track.fps:g}", str(T), str(K), unit, f"{track.fps:g}", "0", str(T)],
        ["Frame#", "Time"] + [cell for n in words(track.skeleton.names) for cell in (n, "", "")],
        ["", ""] + [f"{axis}{k + 1}" for k in range(K) for axis in "XYZ"],
    ]
    for t, points in enumerate(track.world[..., [1, 2, 0]].double().numpy()):
        rows.append(
            [str(t), f"{t / track.fps:.6f}"]
            + ["" if np.isnan(x) else f"{x:.6f}" for x in points.ravel()]
        )
    return write_atomically(
        path,
        lambda temporary: temporary.write_text(
            "\n".join("\t".join(row) for row in rows) + "\n", encoding="utf-8"
        ),
    )
