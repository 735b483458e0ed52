"""Files of other tools: DANNCE `.mat`, sleap-anipose and DeepLabCut `.h5`, movement netCDF."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ...cameras import CameraRig
from ...files import write_atomically
from ..tracks import EGOCENTRIC, ORIGIN, Track
from .text import column_names

BRINGS = {
    "io": "h5py xarray h5netcdf pandas tables",
    "nwb": "pynwb ndx-pose",
}  # an extra of this package -> its libraries, by their names for pip


def required(module: str, path: Path, extra: str) -> ModuleType:
    """A library that one format needs.

    Args:
        module: its name.
        path: the file that shall be written, for the message.
        extra: of this package, that installs it.

    Returns:
        The module.

    Raises:
        ValueError: it is not installed; says how to get it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{path}: writing it needs {error.name}; pip install {BRINGS[extra]}"
        ) from error


def description(track: Track, rig: CameraRig | None) -> dict[str, str]:
    """Skeleton, unit and calibration for formats without a place of their own for them.

    Args:
        track: gives skeleton and unit.
        rig: the calibration; None: without it.

    Returns:
        Short texts by key, JSON where they are more than a word.
    """
    about = {
        "unit": track.unit,
        "skeleton_edges": json.dumps([list(e) for e in track.skeleton.edges]),
        "skeleton_names": json.dumps(list(track.skeleton.names)),
        "confidence": "geometric mean of peak and spread of the keypoint's 3D heatmap, 0 to 1",
    }
    if rig is not None:
        cameras = {name: _camera(rig, v) for v, name in enumerate(rig.names)}
        about["calibration"] = json.dumps(cameras)
    return about


def _camera(rig: CameraRig, view: int) -> dict[str, list]:
    """One camera as the fields of an Anipose table, its rotation as a matrix."""
    return dict(
        matrix=opencv_pose(rig, view)[0].tolist(),
        rotation=rig.R[view].tolist(),
        translation=rig.t[view].tolist(),
        size=list(rig.wh),
        distortions=rig.distortion[view].tolist(),
    )


def opencv_pose(rig: CameraRig, view: int) -> tuple[np.ndarray, np.ndarray]:
    """One camera in OpenCV's convention, the first pixel's centre at (0, 0).

    Args:
        rig: the cameras.
        view: number of one.

    Returns:
        K (3, 3), and [R | t] (3, 4), world to camera.
    """
    K = rig.K[view].double().numpy().copy()
    K[:2, 2] -= 0.5
    pose = [rig.R[view].double().numpy(), rig.t[view].double().numpy()[:, None]]
    return K, np.concatenate(pose, 1)


def dannce_mat(track: Track, path: Path, rig: CameraRig | None = None) -> Path:
    """DANNCE's `save_data_AVG.mat`.

    pred (N, 3, K), p_max (N, K), sampleID (1, N), the frames' numbers in their recording, and time
    (1, N) in seconds; data (labels) is NaN; `about` has unit, skeleton
    and calibration as texts. covariance (N, 3, 3, K), where it is known, is ours.

    Args:
        track: what to write.
        path: the file.
        rig: the calibration.

    Returns:
        The file.
    """
    from scipy.io import savemat

    pred = track.world.double().numpy().transpose(0, 2, 1)
    values = dict(
        pred=pred,
        data=np.full_like(pred, np.nan),
        p_max=track.confidence.double().numpy(),
        sampleID=track.clock["numbers"].numpy()[None],
        time=track.clock["seconds"].numpy()[None],
        fps=track.fps,
        joint_names=np.array(track.skeleton.names, object),
        joints_idx=np.array(track.skeleton.edges).reshape(-1, 2) + 1,
        about=description(track, rig),
    )
    if track.covariance is not None:
        values["covariance"] = track.covariance.double().numpy().transpose(0, 2, 3, 1)
    return write_atomically(
        path, lambda temporary: savemat(str(temporary), values, appendmat=False)
    )


def sleap_anipose_h5(track: Track, path: Path, rig: CameraRig | None = None) -> Path:
    """sleap-anipose's `points3d.h5`.

    tracks (frames, 1, nodes, 3), point_scores (frames, 1, nodes), node names and edges; frames
    (first, end) where these follow one another, frame_numbers and times (frames,) in seconds;
    covariance (frames, 1, nodes, 3, 3), where it is known, is ours.

    Args:
        track: what to write.
        path: the file.
        rig: the calibration.

    Returns:
        The file.
    """
    h5py = required("h5py", path, "io")

    def write(temporary: Path) -> None:
        world = track.world.double().numpy()[:, None]
        with h5py.File(temporary, "w") as file:
            tracks = file.create_dataset("tracks", data=world, compression="gzip")
            tracks.attrs["Description"] = "cameras: " + ", ".join(rig.names if rig else ())
            file["point_scores"] = track.confidence.double().numpy()[:, None]
            if track.covariance is not None:
                file["covariance"] = track.covariance.double().numpy()[:, None]
            numbers = track.clock["numbers"].numpy()
            first = numbers[0] if len(numbers) and (np.diff(numbers) == 1).all() else 0
            file["frames"] = np.array([first, first + len(numbers)])
            file["frame_numbers"], file["times"] = numbers, track.clock["seconds"].numpy()
            file["node_names"] = utf8(track.skeleton.names)
            file["edge_inds"] = np.array(track.skeleton.edges, np.int64).reshape(-1, 2)
            file.attrs.update(description(track, rig) | {"fps": track.fps})

    return write_atomically(path, write)


def utf8(texts: Sequence[str]) -> np.ndarray:
    """Texts as HDF5 strings, whatever letters they have.

    Args:
        texts: names.

    Returns:
        An array of as many, for h5py to write.
    """
    import h5py

    words = [text.encode() for text in texts]
    return np.array(words, h5py.string_dtype("utf-8", max(1, *map(len, words), 1)))


def movement_netcdf(track: Track, path: Path, rig: CameraRig | None = None) -> Path:
    """movement's poses data set; opens with xarray alone.

    position (time, space, keypoints, individuals) and confidence (time, keypoints, individuals);
    where the heading is known, egocentric as position, origin (time, space, individuals), heading
    and heading_confidence (time, individuals); where the spread is known, covariance (time, space,
    space2, keypoints, individuals) in units squared.

    Args:
        track: what to write.
        path: the file.
        rig: the calibration.

    Returns:
        The file.
    """
    xarray = required("xarray", path, "io")
    required("h5netcdf", path, "io")
    position = track.world.double().numpy().transpose(0, 2, 1)[..., None]
    confidence = track.confidence.double().numpy()[..., None]
    coords: dict[str, Any] = dict(
        time=track.clock["seconds"].numpy(),
        space=["x", "y", "z"],
        keypoints=list(track.skeleton.names),
        individuals=["id_0"],
    )
    data: dict[str, Any] = dict(
        position=(("time", "space", "keypoints", "individuals"), position),
        confidence=(("time", "keypoints", "individuals"), confidence),
    )
    attributes = dict(
        source_software="bkind3d_lite", ds_type="poses", time_unit="seconds", fps=float(track.fps)
    )
    data |= _movement_heading(track)
    if track.covariance is not None:
        spread = track.covariance.double().numpy().transpose(0, 2, 3, 1)[..., None]
        data["covariance"] = (("time", "space", "space2", "keypoints", "individuals"), spread)
        coords["space2"] = ["x", "y", "z"]
    dataset = xarray.Dataset(data, coords, attributes | description(track, rig))
    return write_atomically(path, lambda temporary: dataset.to_netcdf(temporary, engine="h5netcdf"))


def _movement_heading(track: Track) -> dict[str, Any]:
    """Heading, its confidence and what turns with it; {} where it is not known."""
    time, more = ("time", "individuals"), dict[str, Any]()
    if track.heading is not None:
        own = track.egocentric().double().numpy().transpose(0, 2, 1)[..., None]
        origin, heading = track.origin.double().numpy(), track.heading.double().numpy()
        about = dict(units="radians", description="about the world's z axis, from x towards y")
        turned = dict(description=EGOCENTRIC)
        more["heading"] = (time, heading[:, None], about)
        more["origin"] = (
            ("time", "space", "individuals"),
            origin[..., None],
            dict(description=ORIGIN),
        )
        more["egocentric"] = (("time", "space", "keypoints", "individuals"), own, turned)
    if track.heading_confidence is not None:
        words = dict(description="that the true heading is within 90 degrees")
        more["heading_confidence"] = (
            time,
            track.heading_confidence.double().numpy()[:, None],
            words,
        )
    return more


def deeplabcut_h5(track: Track, path: Path, rig: CameraRig | None = None) -> Path:
    """DeepLabCut's 3D table: key `df_with_missing`, columns (scorer, bodyparts, coords).

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
        [["bkind3d_lite"], column_names(track.skeleton.names), ["x", "y", "z"]],
        names=["scorer", "bodyparts", "coords"],
    )
    rows = track.world.double().numpy().reshape(len(track.world), -1)
    frame = pandas.DataFrame(rows, track.clock["numbers"].numpy(), columns)
    return write_atomically(
        path,
        lambda temporary: frame.to_hdf(temporary, key="df_with_missing", format="table", mode="w"),
    )
