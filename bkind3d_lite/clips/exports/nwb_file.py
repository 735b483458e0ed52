"""Neurodata Without Borders, by pynwb and its extension ndx-pose."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from torch import Tensor

from ...cameras import CameraRig
from ...files import write_atomically
from ..tracks import EGOCENTRIC, ORIGIN, Track
from .binary import description, opencv_pose, required
from .text import column_names


def nwb(track: Track, path: Path, rig: CameraRig | None = None) -> Path:
    """A Skeleton, a PoseEstimationSeries (T, 3) each keypoint, cameras as CalibratedCamera devices.

    Where the heading is known, beside PoseEstimation: CompassDirection (heading), Position
    (origin), the TimeSeries heading_confidence, and EgocentricPoseEstimation as PoseEstimation.

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
    module = file.create_processing_module("behavior", "3D pose")
    module.add(ndx_pose.Skeletons(skeletons=[skeleton]))
    module.add(_pose("PoseEstimation", track, track.world, skeleton, "world of the calibration"))
    for container in _heading(track, skeleton):
        module.add(container)

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


def _pose(name: str, track: Track, points: Tensor, skeleton: Any, frame: str) -> Any:
    """Points (T, K, 3) of a track as a PoseEstimation, in words the frame that they are in."""
    import ndx_pose

    series = [
        ndx_pose.PoseEstimationSeries(
            name=keypoint,
            data=points[:, k].double().numpy(),
            unit=track.unit,
            **_clock(track),
            confidence=track.confidence[:, k].double().numpy(),
            confidence_definition="peak and spread of the 3D heatmap",
            reference_frame=frame,
        )
        for k, keypoint in enumerate(column_names(track.skeleton.names))
    ]
    return ndx_pose.PoseEstimation(
        name=name,
        pose_estimation_series=series,
        skeleton=skeleton,
        source_software="bkind3d_lite",
    )


def _clock(track: Track) -> dict[str, Any]:
    """Rate and beginning, or the time of every frame where they are not evenly spaced."""
    seconds = track.clock["seconds"].numpy()
    if np.allclose(np.diff(seconds), 1 / track.fps, rtol=1e-3):
        return dict(rate=float(track.fps), starting_time=float(seconds[0]) if len(seconds) else 0.0)
    return dict(timestamps=seconds)


def _heading(track: Track, skeleton: Any) -> Iterator[Any]:
    """Heading, its confidence and what turns with it; nothing where it is not known."""
    from pynwb import TimeSeries, behavior

    if track.heading is not None:
        heading = behavior.SpatialSeries(
            name="heading",
            data=track.heading.double().numpy(),
            unit="radians",
            reference_frame="about the world's z axis, from x towards y",
            **_clock(track),
        )
        yield behavior.CompassDirection(spatial_series=heading)
        origin = behavior.SpatialSeries(
            name="origin",
            data=track.origin.double().numpy(),
            unit=track.unit,
            reference_frame=ORIGIN,
            **_clock(track),
        )
        yield behavior.Position(spatial_series=origin)
        own = track.egocentric()
        yield _pose("EgocentricPoseEstimation", track, own, skeleton, EGOCENTRIC)
    if track.heading_confidence is not None:
        yield TimeSeries(
            name="heading_confidence",
            data=track.heading_confidence.double().numpy(),
            unit="n.a.",
            description="that the true heading is within 90 degrees, 0 to 1",
            **_clock(track),
        )
