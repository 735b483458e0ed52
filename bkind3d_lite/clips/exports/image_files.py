"""Files of other tools for keypoints in one camera's image.

DeepLabCut (CSV and h5), SLEAP's analysis h5, movement's data set with two space axes, and the npz
that BKinD's extraction leaves. Tools that count pixels from the first one's centre get half a pixel
less.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ...cameras import CameraRig
from ...files import write_atomically
from ..image_tracks import Track2D
from .binary import required, utf8
from .text import column_names, write_csv

COORDS = ("x", "y", "likelihood")
PX = "pixels; the first one's centre is (0, 0)"


def _opencv(track: Track2D) -> np.ndarray:
    """(T, K, 2) pixels, the first one's centre at (0, 0)."""
    return track.px.double().numpy() - 0.5


def deeplabcut_2d_csv(track: Track2D, path: Path, rig: CameraRig | None = None) -> Path:
    """DeepLabCut's 2D table: scorer, bodyparts, coords; frame number, then x, y, likelihood.

    Args:
        track: what to write.
        path: the file.
        rig: of no use to this format.

    Returns:
        The file.
    """
    names, number = column_names(track.skeleton.names), track.clock["numbers"].numpy()
    heads = [
        ["scorer"] + ["bkind3d_lite"] * 3 * len(names),
        ["bodyparts"] + [n for n in names for _ in COORDS],
        ["coords"] + list(COORDS) * len(names),
    ]
    return write_csv(path, heads, np.concatenate([number[:, None], _dlc_rows(track)], 1))


def _dlc_rows(track: Track2D) -> np.ndarray:
    sure = track.confidence.double().numpy()[..., None]
    return np.concatenate([_opencv(track), sure], -1).reshape(len(track), -1)


def deeplabcut_2d_h5(track: Track2D, path: Path, rig: CameraRig | None = None) -> Path:
    """The same as DeepLabCut's h5, key `df_with_missing`.

    Args:
        track: what to write.
        path: the file.
        rig: of no use to this format.

    Returns:
        The file.
    """
    pandas = required("pandas", path, "io")
    required("tables", path, "io")
    columns = pandas.MultiIndex.from_product(
        [["bkind3d_lite"], column_names(track.skeleton.names), COORDS],
        names=["scorer", "bodyparts", "coords"],
    )
    frame = pandas.DataFrame(_dlc_rows(track), track.clock["numbers"].numpy(), columns)
    return write_atomically(
        path, lambda file: frame.to_hdf(file, key="df_with_missing", format="table", mode="w")
    )


def sleap_analysis_h5(track: Track2D, path: Path, rig: CameraRig | None = None) -> Path:
    """SLEAP's analysis file of one animal.

    tracks (1, 2, nodes, frames), point_scores (1, nodes, frames), track_occupancy (frames, 1),
    names of nodes and edges; covariance (1, 3, nodes, frames) as var x, var y, cov is ours.

    Args:
        track: what to write.
        path: the file.
        rig: of no use to this format.

    Returns:
        The file.
    """
    h5py = required("h5py", path, "io")
    scores, names = track.confidence.double().numpy(), track.skeleton.names
    edges = np.array(track.skeleton.edges, np.int64).reshape(-1, 2)

    def write(temporary: Path) -> None:
        with h5py.File(temporary, "w") as file:
            file["tracks"] = _opencv(track).transpose(2, 1, 0)[None]
            file["point_scores"] = scores.T[None]
            file["instance_scores"] = file["tracking_scores"] = scores.mean(1)[None]
            file["track_occupancy"] = np.ones((len(track), 1), np.uint8)
            file["track_names"] = np.array(["animal"], "S")
            file["node_names"] = utf8(names)
            file["edge_inds"] = edges
            ends = utf8([names[k] for edge in edges for k in edge])
            file["edge_names"] = ends.reshape(-1, 2)
            file["frame_numbers"], file["times"] = track.clock["numbers"], track.clock["seconds"]
            file["labels_path"], file["video_path"], file["video_ind"] = "", track.camera, 0
            file["provenance"] = json.dumps({"bkind3d_lite": "confidence: peak and spread"})
            if track.covariance is not None:
                file["covariance"] = _three(track).transpose(2, 1, 0)[None]

    return write_atomically(path, write)


def _three(track: Track2D) -> np.ndarray:
    """(T, K, 3) var x, var y, cov xy in pixels squared."""
    if track.covariance is None:
        raise ValueError(
            "this track holds no covariance, which the format needs: it was made from keypoints "
            "in space; track with a recipe of lift flat (bkind-2d, quick-2d)"
        )
    spread = track.covariance.double().numpy()
    return np.stack([spread[..., 0, 0], spread[..., 1, 1], spread[..., 0, 1]], -1)


def movement_2d_netcdf(track: Track2D, path: Path, rig: CameraRig | None = None) -> Path:
    """movement's poses data set with space x, y; opens with xarray alone.

    position (time, space, keypoints, individuals), confidence (time, keypoints, individuals), and
    where it is known covariance (time, space, space2, keypoints, individuals).

    Args:
        track: what to write.
        path: the file.
        rig: of no use to this format.

    Returns:
        The file.
    """
    xarray = required("xarray", path, "io")
    required("h5netcdf", path, "io")
    coords: dict[str, Any] = dict(
        time=track.clock["seconds"].numpy(),
        space=["x", "y"],
        keypoints=list(track.skeleton.names),
        individuals=["id_0"],
    )
    position = _opencv(track).transpose(0, 2, 1)[..., None]
    sure = track.confidence.double().numpy()[..., None]
    data: dict[str, Any] = dict(
        position=(("time", "space", "keypoints", "individuals"), position),
        confidence=(("time", "keypoints", "individuals"), sure),
    )
    if track.covariance is not None:
        spread = track.covariance.double().numpy().transpose(0, 2, 3, 1)[..., None]
        data["covariance"] = (("time", "space", "space2", "keypoints", "individuals"), spread)
        coords["space2"] = ["x", "y"]
    about: dict[str, Any] = dict(
        source_software="bkind3d_lite", ds_type="poses", time_unit="seconds"
    )
    about |= dict(fps=float(track.fps), unit=PX, source_file=track.camera)
    about["skeleton_edges"] = json.dumps([list(e) for e in track.skeleton.edges])
    dataset = xarray.Dataset(data, coords, about)
    return write_atomically(path, lambda file: dataset.to_netcdf(file, engine="h5netcdf"))


def bkind_npz(track: Track2D, path: Path, rig: CameraRig | None = None) -> Path:
    """What BKinD's extraction leaves of a video, without its slip in `covs`.

    keypoints (T, K, 2) whole numbers (row y, column x) of the video, confidence (T, K) the peak of
    the softmax, covs (T, K, 3) var x, var y, cov xy in half image widths and heights.

    Args:
        track: what to write; with covariance and peak.
        path: the file.
        rig: of no use to this format.

    Returns:
        The file.
    """
    return _bkind(track, path, slip=0.0)


def bkind_npz_plus_one(track: Track2D, path: Path, rig: CameraRig | None = None) -> Path:
    """The same with the slip: the released code adds 1 to every number of `covs`.

    Args:
        track: what to write; with covariance and peak.
        path: the file.
        rig: of no use to this format.

    Returns:
        The file.
    """
    return _bkind(track, path, slip=1.0)


def _bkind(track: Track2D, path: Path, slip: float) -> Path:
    arrays: dict[str, Any] = bkind_arrays(track)
    arrays["covs"] += np.float32(slip)
    return write_atomically(path, lambda file: np.savez(file, **arrays))


def bkind_arrays(track: Track2D) -> dict[str, np.ndarray]:
    """The arrays of `bkind_npz`.

    Args:
        track: with covariance and peak.

    Returns:
        keypoints int64, confidence and covs float32.

    Raises:
        ValueError: the track has no peak.
    """
    (W, H), covs = track.wh, _three(track)
    if track.peak is None:
        raise ValueError("this track holds no peaks, BKinD's confidence; track the video again")
    half = np.array([W * W, H * H, W * H]) / 4
    pixel = track.px.double().floor().clamp(min=0).numpy().astype(np.int64)
    return dict(
        keypoints=np.minimum(pixel, [W - 1, H - 1])[..., ::-1],
        confidence=track.peak.float().numpy(),
        covs=(covs / half).astype(np.float32),
    )
