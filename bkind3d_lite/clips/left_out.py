"""Left out: where all views but one see a point, for every view at once.

Triangulating anew without each view costs views times views. The equations of a point are a sum
over views, so that each view's own can be taken from it again.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..cameras import CameraRig


def triangulate_without_each(rig: CameraRig, px: Tensor, weight: Tensor) -> Tensor:
    """`cameras.triangulate` of all views but one, for each; linear in the number of views.

    In float64, in which a sum less one of its terms is the sum of the others.

    Args:
        rig: V cameras.
        px: (..., V, P, 2) pixels.
        weight: (..., V, P) >= 0.

    Returns:
        (..., V, P, 3) world, at v what the others say; NaN where fewer than two of them see it.
    """
    seen, flat = weight > 0, rig.flat_from_px(px).double()
    flat = torch.where(seen[..., None], flat, flat.new_zeros(()))
    R, origin = rig.R.double(), rig.centres.double().mean(-2, keepdim=True)
    t = rig.t.double() + (R @ origin[..., None])[..., 0]
    left = flat[..., None] * R[..., None, None, 2, :] - R[..., None, :2, :]
    right = t[..., None, :2] - flat * t[..., None, 2:]
    w2 = weight.double().square()[..., None, None]
    normal, moment = w2 * (left.mT @ left), w2 * (left.mT @ right[..., None])
    normal, moment = (x.sum(-4, keepdim=True) - x for x in (normal, moment))
    enough = seen.sum(-2, keepdim=True) - seen.long() >= 2
    normal = torch.where(enough[..., None, None], normal, torch.eye(3).to(normal))
    points, failed = torch.linalg.solve_ex(normal, moment)
    solved = (enough & (failed == 0))[..., None]
    found = torch.where(solved, points[..., 0] + origin, points.new_full((), math.nan))
    return found.to(px.dtype)


def doubtful(misfits: Tensor, most: int = 6) -> list[int]:
    """The views that agree least with the others.

    Args:
        misfits: (V,); NaN: not known.
        most: how many are named.

    Returns:
        Their numbers in order; all views where there are no more.
    """
    worst = misfits.nan_to_num(-1.0).topk(min(most, len(misfits))).indices
    return sorted(worst.tolist())
