"""Bundle adjustment: cameras moved until all readings of all views agree best.

Only the 6 (V - 1) numbers of the cameras are searched; the points follow from them by
triangulation inside (variable projection). Soft L1 keeps wrong readings from pulling.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation
from torch import Tensor

from ..cameras import CameraRig, triangulate_flat

BEHIND_PX = 50.0  # residual of a point behind a camera, in scales


@dataclass(frozen=True)
class _Problem:
    """What stays while cameras move: the start, readings (N, V, 1, 2) and weights (N, V, 1).

    `flat` are the readings on the planes z = 1.
    """

    rig: CameraRig
    px: Tensor
    flat: Tensor
    weight: Tensor
    scale: float
    fixed: int

    def moved(self, change: np.ndarray) -> CameraRig:
        """The rig after turns and shifts, (V - 1) * 6 numbers; one camera stays."""
        V, step = self.rig.views, torch.zeros(self.rig.views, 6, dtype=torch.float64)
        others = [v for v in range(V) if v != self.fixed]
        step[others] = torch.from_numpy(change.reshape(-1, 6))
        turn = torch.from_numpy(Rotation.from_rotvec(step[:, :3].numpy()).as_matrix())
        t = (turn @ self.rig.t[..., None])[..., 0] + step[:, 3:]
        return replace(self.rig, R=turn @ self.rig.R, t=t)

    def residuals(self, change: np.ndarray) -> np.ndarray:
        """Readings minus projections in scales, then how far the rig has grown."""
        rig = self.moved(change)
        world = triangulate_flat(rig, self.flat, self.weight)
        known = world.isfinite().all(-1, keepdim=True)  # (N, 1, 1)
        cam = rig.cam_from_world(torch.where(known, world, 0.0))
        z = cam[..., 2:].clamp(min=1e-6)
        there = (cam[..., :2] / z) @ rig.K[:, :2, :2].mT + rig.K[:, None, :2, 2]
        off = (there - self.px) / self.scale
        off = torch.where(cam[..., 2:] > 1e-3, off, BEHIND_PX).clamp(-BEHIND_PX, BEHIND_PX)
        off = torch.where((self.weight > 0)[..., None] & known[..., None, :, :], off, 0.0)
        size = self.size(rig) / self.size(self.rig)
        return np.append(off.numpy().ravel(), 100 * np.log(size))

    def size(self, rig: CameraRig) -> float:
        """How far the cameras stand from their middle."""
        return float((rig.centres - rig.centres.mean(0)).norm(dim=-1).mean())


def adjusted(
    rig: CameraRig, px: Tensor, weight: Tensor, scale: float, fixed: int = 0, most: int = 2000
) -> CameraRig:
    """The cameras at which the readings of all views agree best; the rig keeps its size.

    Args:
        rig: V cameras to begin with.
        px: (N, V, 2) readings of N points; NaN: not seen.
        weight: (N, V) >= 0 how much each counts in the triangulation; 0: not at all.
        scale: residual from which a reading pulls no harder, pixels.
        fixed: the camera that stays where it is.
        most: points that are used, evenly over all.

    Returns:
        A float64 rig.
    """
    several = ((weight > 0).sum(1) >= 2).nonzero()[:, 0]
    if len(several) > most:
        several = several[torch.linspace(0, len(several) - 1, most).long()]
    rig, px, weight = rig.to(torch.float64), px[several].double(), weight[several].double()
    plain = replace(rig, distortion=torch.zeros_like(rig.distortion))
    flat = rig.flat_from_px(px[..., None, :])
    weight = torch.where(flat.isfinite().all(-1), weight[..., None], 0.0)
    flat = torch.where((weight > 0)[..., None], flat, 0.0)
    problem = _Problem(
        rig=plain,
        px=plain.px_from_flat(flat),
        flat=flat,
        weight=weight,
        scale=scale,
        fixed=fixed,
    )
    start = np.zeros(6 * (rig.views - 1))
    size = problem.size(plain)
    steps = np.tile([1.0, 1.0, 1.0, size, size, size], rig.views - 1)
    found = least_squares(
        problem.residuals,
        start,
        loss="soft_l1",
        x_scale=steps,
        max_nfev=60,
        diff_step=1e-6,
        ftol=1e-7,
        xtol=1e-7,
    )
    moved = problem.moved(found.x)
    return replace(rig, R=moved.R, t=moved.t)
