"""Neurodata Without Borders, by pynwb and its extension ndx-pose."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ...cameras import CameraRig
from ...files import write_atomically
from ..tracks import Track
from .binary import description, opencv_pose, required
from .text import column_names


def nwb(track: Track, path: Path, rig: CameraRig | None = None) -> Path:
    """A Skeleton, a PoseEstimationSeries (T, 3) each keypoint, cameras as CalibratedCamera devices.

    Args:
        track: what to write.
        path: the file.
        rig: the calibration.

    Returns:
        The file.
    """
    pynwb, ndx_pose = required("pynwb", path, "nwb"), required("ndx_pose", path, "nwb")
    file = pynwb.NWBFile(
        "keypoints discovered without labels",
        "bkind3d_lite",
        datetime.now(timezone.utc),
        notes=json.dumps(description(track, rig)),
    )
    file.subject = pynwb.file.Subject(subject_id="id_0", species="unknown")
    for device in _cameras(rig, ndx_pose) if rig else ():
        file.add_device(device)
    skeleton = ndx_pose.Skeleton(
        name="discovered",
        nodes=list(track.skeleton.names),
        edges=np.array(track.skeleton.edges, np.uint8).reshape(-1, 2),
        subject=file.subject,
    )
    pose = ndx_pose.PoseEstimation(
        name="PoseEstimation",
        pose_estimation_series=list(_series(track, ndx_pose)),
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


def _cameras(rig: CameraRig, ndx_pose: ModuleType) -> Iterator[Any]:
    for v, name in enumerate(rig.names):
        K, pose = opencv_pose(rig, v)
        yield ndx_pose.CalibratedCamera(
            name=name,
            intrinsic_matrix=K,
            rotation_matrix=pose[:, :3],
            translation_vector=pose[:, 3],
            distortion_coefficients=rig.distortion[v].double().numpy(),
            description=f"{rig.wh[0]} x {rig.wh[1]} px, "
            f"x_camera = R x_world + t in {rig.unit}, first pixel's centre at (0, 0)",
        )


def _series(track: Track, ndx_pose: ModuleType) -> Iterator[Any]:
    for k, name in enumerate(column_names(track.skeleton.names)):
        yield ndx_pose.PoseEstimationSeries(
            name=name,
            data=track.world[:, k].double().numpy(),
            unit=track.unit,
            rate=float(track.fps),
            starting_time=0.0,
            confidence=track.confidence[:, k].double().numpy(),
            confidence_definition="peak and spread of the 3D heatmap",
            reference_frame="world of the calibration",
        )
