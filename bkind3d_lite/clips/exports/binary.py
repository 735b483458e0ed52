"""Files of other tools: DANNCE `.mat`, sleap-anipose `points3d.h5`, movement netCDF, NWB by ndx-pose, DeepLabCut `.h5`."""

from __future__ import annotations

import importlib
import json
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from ...cameras import CameraRig
from ...files import write_atomically
from ..tracks import Track
from .text import words


def needs(module: str, path: Path, extra: str):
    """The module, or one clear error that says how to get it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ValueError(
            f'{path}: writing it needs {error.name}; pip install "bkind3d_lite[{extra}]"'
        ) from error


def described(track: Track, rig: CameraRig | None) -> dict[str, str]:
    """Skeleton, unit and calibration as short JSON texts, for formats without a place of their own for them."""
    about = {
        "unit": track.unit,
        "skeleton_edges": json.dumps([list(e) for e in track.skeleton.edges]),
        "skeleton_names": json.dumps(list(track.skeleton.names)),
        "confidence": "geometric mean of peak and spread of the keypoint's 3D heatmap, 0 to 1",
    }
    if rig is not None:
        about["calibration"] = json.dumps(
            {
                name: dict(
                    matrix=opencv(rig, v)[0].tolist(),
                    rotation=rig.R[v].tolist(),
                    translation=rig.t[v].tolist(),
                    size=list(rig.wh),
                    distortions=rig.distortion[v].tolist(),
                )
                for v, name in enumerate(rig.names)
            }
        )
    return about


def opencv(rig: CameraRig, view: int) -> tuple[np.ndarray, np.ndarray]:
    """K (3, 3) with the first pixel's centre at (0, 0), and [R | t] (3, 4), world to camera."""
    K = rig.K[view].double().numpy().copy()
    K[:2, 2] -= 0.5
    return K, np.concatenate(
        [rig.R[view].double().numpy(), rig.t[view].double().numpy()[:, None]], 1
    )


def dannce_mat(track: Track, path: Path, rig: CameraRig | None = None) -> Path:
    """`save_data_AVG.mat`: pred (N, 3, K), p_max (N, K), sampleID (1, N); data (labels) is NaN; `about` has unit, skeleton and calibration as texts."""
    from scipy.io import savemat

    pred = track.world.double().numpy().transpose(0, 2, 1)
    values = dict(
        pred=pred,
        data=np.full_like(pred, np.nan),
        p_max=track.confidence.double().numpy(),
        sampleID=np.arange(len(pred))[None],
        fps=track.fps,
        joint_names=np.array(track.skeleton.names, object),
        joints_idx=np.array(track.skeleton.edges).reshape(-1, 2) + 1,
        about=described(track, rig),
    )
    return write_atomically(
        path, lambda temporary: savemat(str(temporary), values, appendmat=False)
    )


def sleap_anipose_h5(track: Track, path: Path, rig: CameraRig | None = None) -> Path:
    """`points3d.h5`: tracks (frames, 1, nodes, 3), point_scores (frames, 1, nodes), node names and edges."""
    h5py = needs("h5py", path, "io")

    def write(temporary: Path) -> None:
        with h5py.File(temporary, "w") as file:
            tracks = file.create_dataset(
                "tracks", data=track.world.double().numpy()[:, None], compression="gzip"
            )
            tracks.attrs["Description"] = "cameras: " + ", ".join(rig.names if rig else ())
            file["point_scores"] = track.confidence.double().numpy()[:, None]
            file["frames"] = np.array([0, len(track.world)])
            file["node_names"] = np.array(track.skeleton.names, "S")
            file["edge_inds"] = np.array(track.skeleton.edges, np.int64).reshape(-1, 2)
            file.attrs.update(described(track, rig) | {"fps": track.fps})

    return write_atomically(path, write)


def movement_netcdf(track: Track, path: Path, rig: CameraRig | None = None) -> Path:
    """movement's poses data set: position (time, space, keypoints, individuals), confidence; opens with xarray alone."""
    xarray = needs("xarray", path, "io")
    needs("h5netcdf", path, "io")
    T = len(track.world)
    position = track.world.double().numpy().transpose(0, 2, 1)[..., None]
    coords = dict(
        time=np.arange(T) / track.fps,
        space=["x", "y", "z"],
        keypoints=list(track.skeleton.names),
        individuals=["id_0"],
    )
    data = dict(
        position=(("time", "space", "keypoints", "individuals"), position),
        confidence=(
            ("time", "keypoints", "individuals"),
            track.confidence.double().numpy()[..., None],
        ),
    )
    attributes = dict(
        source_software="bkind3d_lite", ds_type="poses", time_unit="seconds", fps=float(track.fps)
    ) | described(track, rig)
    dataset = xarray.Dataset(data, coords, attributes)
    return write_atomically(path, lambda temporary: dataset.to_netcdf(temporary, engine="h5netcdf"))


def deeplabcut_h5(track: Track, path: Path, rig: CameraRig | None = None) -> Path:
    """DeepLabCut's 3D table: key `df_with_missing`, columns (scorer, bodyparts, coords)."""
    pandas = needs("pandas", path, "io")
    needs("tables", path, "io")
    columns = pandas.MultiIndex.from_product(
        [["bkind3d_lite"], words(track.skeleton.names), ["x", "y", "z"]],
        names=["scorer", "bodyparts", "coords"],
    )
    frame = pandas.DataFrame(
        track.world.double().numpy().reshape(len(track.world), -1), columns=columns
    )
    return write_atomically(
        path,
        lambda temporary: frame.to_hdf(temporary, key="df_with_missing", format="table", mode="w"),
    )


def nwb(track: Track, path: Path, rig: CameraRig | None = None) -> Path:
    """NWB with ndx-pose: a Skeleton, one PoseEstimationSeries (T, 3) with confidence for each keypoint, the cameras as CalibratedCamera devices."""
    pynwb, ndx_pose = needs("pynwb", path, "nwb"), needs("ndx_pose", path, "nwb")
    file = pynwb.NWBFile(
        "keypoints discovered without labels",
        "bkind3d_lite",
        datetime.now(timezone.utc),
        notes=json.dumps(described(track, rig)),
    )
    file.subject = pynwb.file.Subject(subject_id="id_0", species="unknown")
    for v, name in enumerate(rig.names if rig else ()):
        intrinsics, placing = opencv(rig, v)
        file.add_device(
            ndx_pose.CalibratedCamera(
                name=name,
                intrinsic_matrix=intrinsics,
                rotation_matrix=placing[:, :3],
                translation_vector=placing[:, 3],
                distortion_coefficients=rig.distortion[v].double().numpy(),
                description=f"{rig.wh[0]} x {rig.wh[1]} px, "
                f"x_camera = R x_world + t in {rig.unit}, first pixel's centre at (0, 0)",
            )
        )
    skeleton = ndx_pose.Skeleton(
        name="discovered",
        nodes=list(track.skeleton.names),
        edges=np.array(track.skeleton.edges, np.uint8).reshape(-1, 2),
        subject=file.subject,
    )
    series = [
        ndx_pose.PoseEstimationSeries(
            name=name,
            data=track.world[:, k].double().numpy(),
            unit=track.unit,
            rate=float(track.fps),
            starting_time=0.0,
            confidence=track.confidence[:, k].double().numpy(),
            confidence_definition="peak and spread of the 3D heatmap",
            reference_frame="world of the calibration",
        )
        for k, name in enumerate(words(track.skeleton.names))
    ]
    pose = ndx_pose.PoseEstimation(
        name="PoseEstimation",
        pose_estimation_series=series,
        skeleton=skeleton,
        source_software="bkind3d_lite",
    )
    module = file.create_processing_module("behavior", "3D pose")
    module.add(ndx_pose.Skeletons(skeletons=[skeleton]))
    module.add(pose)

    def write(temporary: Path) -> None:
        with pynwb.NWBHDF5IO(str(temporary), "w") as io:
            io.write(file)

    return write_atomically(path, write)
