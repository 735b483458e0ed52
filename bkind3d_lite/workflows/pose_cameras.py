"""The verb `cameras`: a calibration from the 2D poses of somebody who moves in view."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..calibrations import load_calibration
from ..cameras import CameraRig, save_calibration
from ..files import refuse_unwritable
from ..multiview.camera_finder import FREE, FoundCameras, find_cameras
from ..multiview.people import one_person
from ..multiview.relative_poses import eight_point_pose, five_point_pose
from ..poses2d import Poses2D, left_right_pairs, read_people
from ..poses2d.entry import SURE

log = logging.getLogger(__name__)
SOLVERS = {"five": five_point_pose, "eight": eight_point_pose}


def cameras_from_poses(
    poses: str | Path,
    out: str | Path,
    *,
    order: str | None = None,
    person: str | None = None,
    views: Sequence[str] = (),
    bone: tuple[str, str, float] | None = None,
    unit: str = "mm",
    solver: str = "five",
    least: float = SURE,
    seed: int = 0,
    **intrinsics: Any,
) -> FoundCameras:
    """Find static cameras from poses and write them as Anipose's calibration.toml.

    Args:
        poses: what `read_people` reads.
        out: the TOML file.
        order: of the joints, where the files do not name them.
        person: `moving` where there are several.
        views: names of the cameras to use; (): all.
        bone: two joints and the length between them, in `unit`.
        unit: of that length.
        solver: of relative poses, a key of `SOLVERS`.
        least: confidence of the detector below which a reading is left out.
        seed: of the draws.
        **intrinsics: of `lenses_of`.

    Returns:
        The cameras; what they are like is logged.
    """
    out = refuse_unwritable(out, folder=False)
    one = one_person(read_people(poses, order), None, person).sure(least)
    if views:
        one = one.ordered(views)
    rig = lenses_of(one, **intrinsics)
    one = one.ordered(rig.names)
    ends = None if bone is None else (*_numbers(one, bone[:2]), bone[2])
    pairs = left_right_pairs(one.names)
    found = find_cameras(rig, one.px, pairs, ends, solver=SOLVERS[solver], seed=seed)
    found = replace(found, rig=replace(found.rig, unit=FREE if bone is None else unit))
    save_calibration(found.rig, out)
    log.info("%s", found.points.report(one.names, rig.names))
    for (i, j), share in found.agreeing.items():
        log.info("%s - %s: %.0f %% of their joints agree", rig.names[i], rig.names[j], 100 * share)
    scale = "no scale: give --length" if bone is None else f"{bone[0]} to {bone[1]} = {bone[2]:g}"
    log.info("wrote %s (unit %s; %s)", out, found.rig.unit, scale)
    return found


def _numbers(poses: Poses2D, names: Sequence[str]) -> tuple[int, int]:
    """Two joints by their names."""
    found = poses.joints(names).names
    return poses.names.index(found[0]), poses.names.index(found[1])


def lenses_of(
    poses: Poses2D,
    lenses: str | Path | None = None,
    focal: float | None = None,
    field: float | None = None,
    wh: tuple[int, int] | None = None,
) -> CameraRig:
    """The cameras as far as they are known: all at one place, in the order of the file.

    Args:
        poses: whose cameras.
        lenses: a calibration file whose intrinsics hold; its rotations and places are not used.
        focal: focal length in pixels of all cameras, instead of a file.
        field: or their horizontal field of view, degrees.
        wh: (W, H) in pixels of the images, with `focal` or `field`.

    Returns:
        A rig of which only the intrinsics mean something.

    Raises:
        ValueError: too little is known, or the file is of other cameras.
    """
    if lenses is not None:
        given = load_calibration(lenses)
        used = [n for n in given.names if _known(poses, n)]
        if len(used) < 2:
            raise ValueError(
                f"{lenses}: cameras {', '.join(given.names)}, poses of {', '.join(poses.cameras)}; "
                "rename one or the other, at least 2 must be the same"
            )
        return blind(given.take([given.names.index(n) for n in used]))
    if wh is None or (focal is None) == (field is None):
        raise ValueError(
            "the intrinsics are unknown: give --lenses calibration.toml, or --size W H with "
            "either --focal in pixels or --field in degrees"
        )
    if field is not None:
        focal = wh[0] / 2 / math.tan(math.radians(field) / 2)
    V = len(poses.cameras)
    K = torch.tensor([[focal, 0, wh[0] / 2], [0, focal, wh[1] / 2], [0, 0, 1]])
    return CameraRig(
        K=K.expand(V, 3, 3),
        R=torch.eye(3).expand(V, 3, 3),
        t=torch.zeros(V, 3),
        distortion=torch.zeros(V, 5),
        wh=wh,
        names=poses.cameras,
        unit=FREE,
    )


def _known(poses: Poses2D, camera: str) -> bool:
    """Whether a camera of a file has poses."""
    try:
        return bool(poses.ordered([camera]).cameras)
    except ValueError:
        return False


def blind(rig: CameraRig) -> CameraRig:
    """A rig of which only the lenses are known: all cameras at one place, unturned.

    Args:
        rig: V cameras.

    Returns:
        A rig with the same intrinsics.
    """
    return replace(rig, R=torch.eye(3).expand_as(rig.R), t=torch.zeros_like(rig.t))
