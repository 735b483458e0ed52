"""Mirrors: the world in which left is right, and the cameras that see it."""

from __future__ import annotations

from dataclasses import replace

from ..cameras import CameraRig


def mirrored_rig(rig: CameraRig) -> CameraRig:
    """The cameras of mirrored images, left and right swapped, in the mirrored world, x to -x.

    They are cameras like any other, their rotations no reflections: a point (-x, y, z) lands at
    (w - u, v) where (x, y, z) lands at (u, v) in `rig`, lens and all.

    Args:
        rig: batch axes may lead.

    Returns:
        A rig with the same axes.
    """
    flip = rig.K.new_tensor([-1.0, 1.0, 1.0])
    K, distortion = rig.K.clone(), rig.distortion.clone()
    K[..., 0, 1] *= -1  # skew
    K[..., 0, 2] = rig.wh[0] - K[..., 0, 2]
    distortion[..., 3] *= -1  # p2
    return replace(rig, K=K, R=flip[:, None] * rig.R * flip, t=flip * rig.t, distortion=distortion)
