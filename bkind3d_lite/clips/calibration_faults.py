"""Calibration faults: does the moving animal agree with the cameras, and what would make it agree?

The centre of the animal's silhouette in every view is a correspondence that needs no label. If the
cameras are as the file says, its rays meet; if not, the usual mistakes are tried.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor

from ..cameras import CameraRig, triangulate
from .clip import Survey
from .left_out import doubtful, triangulate_without_each

# Misfit, in image widths, up to which a calibration is believed: silhouettes' centres are no exact
# correspondences.
FITS = 0.05
BETTER = 0.6  # a suspect is named if it leaves less than this share of the misfit
MOMENTS = 100  # frames looked at
LEAST = 5  # sightings of which a median is taken
TELLING = 48  # frames that a clip has at least, if a late camera is to be told
UNITS = (1000.0, 100.0, 10.0, 0.1, 0.01, 0.001)
AXES = {
    "x, z, -y": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
    "x, -z, y": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
    "y, z, x": ((0, 0, 1), (1, 0, 0), (0, 1, 0)),
    "z, x, y": ((0, 1, 0), (0, 0, 1), (1, 0, 0)),
    "x, -y, -z": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),
    "x, y, -z": ((1, 0, 0), (0, 1, 0), (0, 0, -1)),
}
SCALES = (1 / 4, 1 / 3, 1 / 2, 2 / 3, 3 / 2, 2.0, 3.0, 4.0)


@dataclass(frozen=True)
class Sightings:
    """Centres of the animal's silhouettes."""

    px: Tensor  # (T, V, 2) pixels of the rig
    valid: Tensor  # (T, V) bool: a silhouette neither missing nor cut by the border


class Fault(NamedTuple):
    """One usual mistake, and the rig as it would be without it."""

    name: str
    remedy: str
    rig: CameraRig


@dataclass(frozen=True)
class Suspect:
    """A fault that would explain what does not agree."""

    name: str
    remedy: str
    misfit: float  # what would be left, in image widths


# ---- what the views say --------------------------------------------------------------------------
def silhouette_centres(survey: Survey, rig: CameraRig, least: float = 5e-4) -> Sightings:
    """Centres of the foreground in every view at every time.

    Args:
        survey: of T frames.
        rig: V cameras, in whose pixels the centres are given.
        least: share of the image below which nothing is there.

    Returns:
        The centres.
    """
    # Of a long film not all at once.
    parts = [_centres(thumbs, rig, least) for thumbs in survey.thumbs.split(512)]
    return Sightings(torch.cat([s.px for s in parts]), torch.cat([s.valid for s in parts]))


def silhouette_path(survey: Survey, rig: CameraRig) -> Tensor:
    """Where the animal is by the centres of its silhouettes alone: quick, and good to a limb.

    Args:
        survey: of T frames.
        rig: V cameras.

    Returns:
        (T, 3) world units; NaN where fewer than two views see it whole.
    """
    centres = silhouette_centres(survey, rig)
    return triangulate(rig, centres.px[:, :, None], centres.valid.float()[..., None])[:, 0]


def _centres(thumbs: Tensor, rig: CameraRig, least: float) -> Sightings:
    mass = thumbs.float() / 255
    mass = torch.where(mass > 0.5, mass, mass.new_zeros(()))
    h, w = mass.shape[2:]
    total = mass.sum((2, 3)).clamp(min=1e-6)
    x, y = ((torch.arange(n) + 0.5) * size / n for n, size in ((w, rig.wh[0]), (h, rig.wh[1])))
    px = torch.stack([(mass.sum(2) * x).sum(-1) / total, (mass.sum(3) * y).sum(-1) / total], -1)
    border = mass.clone()
    border[:, :, 1:-1, 1:-1] = 0
    return Sightings(px, (total / (h * w) > least) & (border.sum((2, 3)) < 0.05 * total))


def _predicted(rig: CameraRig, sightings: Sightings) -> tuple[Tensor, Tensor]:
    """Where the other views say that the centre is in each, (T, V, 2), and when, (T, V) bool.

    Of two views: where the point is that both of them make.
    """
    weight, px = sightings.valid.float()[..., None], sightings.px[:, :, None]
    if rig.views > 2:
        points = triangulate_without_each(rig, px, weight)
    else:
        points = triangulate(rig, px, weight)[:, None].expand(-1, rig.views, -1, -1)
    seen = points.nan_to_num(0.0) @ rig.R.mT + rig.t[:, None]  # each view's own point
    return rig.px_from_cam(seen)[:, :, 0], points.isfinite().all(-1)[:, :, 0]


def misfits(rig: CameraRig, sightings: Sightings) -> Tensor:
    """Median distance between each view's centres and where the other views say they are.

    With two views: the distance to the reprojection of the point that both make.

    Args:
        rig: V cameras.
        sightings: of V views; at most `MOMENTS` of them are looked at.

    Returns:
        (V,) in image widths, at most 1; NaN where there are too few sightings.
    """
    every = max(1, len(sightings.px) // MOMENTS)
    some = Sightings(sightings.px[::every], sightings.valid[::every])
    px, predicted = _predicted(rig, some)
    away = ((px - some.px).norm(dim=-1) / rig.wh[0]).clamp(max=1.0)
    away = away.masked_fill(~(some.valid & predicted), torch.nan)
    middle = away.nanmedian(0).values
    return middle.masked_fill(away.isfinite().sum(0) < LEAST, torch.nan)


def misfit(rig: CameraRig, sightings: Sightings) -> float:
    """Mean over the views of `misfits`.

    Args:
        rig: V cameras.
        sightings: of V views.

    Returns:
        Image widths; NaN if no view has enough sightings.
    """
    return float(misfits(rig, sightings).nanmean())


# ---- mistakes ------------------------------------------------------------------------------------
def _turned(A: Tensor, b: Tensor) -> Tensor:
    """-A b, of each view."""
    return -(A @ b[..., None])[..., 0]


def _rig_faults(rig: CameraRig) -> Iterator[Fault]:
    """Mistakes that all cameras share."""
    R, t, flip = rig.R, rig.t, torch.diag(rig.R.new_tensor([1.0, -1, -1]))
    yield Fault(
        "the rotations are transposed",
        "write each rotation as world to camera (its transpose)",
        replace(rig, R=R.mT),
    )
    yield Fault(
        "the translations are camera centres", "write t = -R C", replace(rig, t=_turned(R, t))
    )
    yield Fault(
        "the poses are camera to world",
        "write R transposed and t = -R^T t",
        replace(rig, R=R.mT, t=_turned(R.mT, t)),
    )
    yield Fault(
        "the cameras' y and z axes are turned (OpenGL's convention)",
        "multiply R and t by diag(1, -1, -1)",
        replace(rig, R=flip @ R, t=(flip @ t[..., None])[..., 0]),
    )
    yield from _intrinsic_faults(rig)


def _intrinsic_faults(rig: CameraRig) -> Iterator[Fault]:
    for s in SCALES:
        K = rig.K.clone()
        K[..., :2, :] *= s
        yield Fault(
            f"the calibration is of images {1 / s:.3g} x as large as these",
            f"multiply fx, fy, cx, cy by {s:.3g}, or give the size of the images "
            "that were calibrated",
            replace(rig, K=K),
        )
    K = rig.K.clone()
    K[..., 0, 2], K[..., 1, 2] = rig.K[..., 1, 2], rig.K[..., 0, 2]
    yield Fault("cx and cy are swapped", "swap them", replace(rig, K=K))
    if rig.distortion.any():
        yield Fault(
            "the videos are undistorted already",
            "set all distortions to 0",
            replace(rig, distortion=torch.zeros_like(rig.distortion)),
        )
        yield Fault(
            "the distortion has the opposite sign",
            "multiply the distortions by -1",
            replace(rig, distortion=-rig.distortion),
        )


def _swaps(rig: CameraRig, views: Sequence[int]) -> Iterator[Fault]:
    for i, j in combinations(views, 2):
        yield Fault(
            f"cameras {rig.names[i]} and {rig.names[j]} are swapped",
            "swap their names in the calibration, or their videos",
            swapped(rig, i, j),
        )


def swapped(rig: CameraRig, i: int, j: int) -> CameraRig:
    """The rig with the calibrations of two cameras exchanged.

    Args:
        rig: the cameras.
        i: number of the one.
        j: number of the other.

    Returns:
        A rig with the same names in the same order.
    """
    order = list(range(rig.views))
    order[i], order[j] = j, i
    return replace(rig.take(order), names=rig.names)


def point_faults(rig: CameraRig, views: Sequence[int]) -> Iterator[tuple[Fault, Tensor]]:
    """Mistakes that given 3D points can show.

    Args:
        rig: as it was calibrated.
        views: that may be swapped.

    Yields:
        A fault and A (3, 3): if it was made, its rig sees A x where the points are said to be at x.
    """
    eye = torch.eye(3)
    for s in UNITS:
        name = f"the points' unit is {s:g} x the calibration's"
        yield Fault(name, f"multiply the positions in truth.npz by {s:g}", rig), s * eye
    for axes, rows in AXES.items():
        name = f"the points' axes are {axes} of the calibration's"
        remedy = f"write ({axes}) turned back into the calibration's x, y, z"
        yield Fault(name, remedy, rig), torch.tensor(rows).float()
    for fault in (*_swaps(rig, views), *_rig_faults(rig)):
        yield fault, eye


def _camera_faults(
    rig: CameraRig, sightings: Sightings, most: int
) -> Iterator[tuple[Fault, Sightings]]:
    """Mistakes of one camera or two of the doubtful: swapped, mirrored, upside down, late.

    With each, the sightings as they would be without it.
    """
    views = doubtful(misfits(rig, sightings))
    for fault in _swaps(rig, views):
        yield fault, sightings
    wh, shifts = sightings.px.new_tensor(rig.wh), lags(rig, sightings, most)
    for v in views:
        name, lag, centre = rig.names[v], shifts[v], sightings.px[:, v]
        mirrored = torch.stack([wh[0] - centre[:, 0], centre[:, 1]], -1)
        for what, moved in (("mirrored", mirrored), ("upside down", wh - centre)):
            px = sightings.px.clone()
            px[:, v] = moved
            fault = Fault(
                f"the video of {name} is {what}", "turn it back, or calibrate it as it is", rig
            )
            yield fault, replace(sightings, px=px)
        if lag:
            late, later = ("late", "later") if lag > 0 else ("early", "earlier")
            fault = Fault(
                f"{name} runs {abs(lag)} frames {late}",
                f"read it so many frames {later}: --offset {name}={lag}",
                rig,
            )
            yield fault, shifted(sightings, v, lag)


# ---- time ----------------------------------------------------------------------------------------
def shifted(sightings: Sightings, view: int, lag: int) -> Sightings:
    """The sightings if one view were read later.

    Args:
        sightings: of V views.
        view: number of the one.
        lag: frames: frame t of the others meets its frame t + lag.

    Returns:
        As many sightings; not valid where the view has no such frame.
    """
    px, valid, T = sightings.px.clone(), sightings.valid.clone(), len(sightings.px)
    index = torch.arange(T) + lag
    inside = (index >= 0) & (index < T)
    px[:, view] = sightings.px[index.clamp(0, T - 1), view]
    valid[:, view] = sightings.valid[index.clamp(0, T - 1), view] & inside
    return Sightings(px, valid)


def longest_lag(frames: int) -> int:
    """Of which shifts so many frames can tell: a short clip agrees with itself at many.

    Args:
        frames: in the clip.

    Returns:
        Frames; 0 if it is too short to tell of any.
    """
    return frames // 5 if frames >= TELLING else 0


def lags(rig: CameraRig, sightings: Sightings, most: int = 60) -> list[int]:
    """The shift of each view at which it agrees best with what the others predict.

    Args:
        rig: V cameras.
        sightings: of V views.
        most: frames either way that are tried.

    Returns:
        Frames; 0 where no shift agrees clearly better, and with two views.
    """
    most = min(most, longest_lag(len(sightings.px)))
    if rig.views < 3 or not most:
        return [0] * rig.views
    out, (px, predicted) = [], _predicted(rig, sightings)
    for v in range(rig.views):
        distance = _distances(px[:, v], predicted[:, v], sightings, v, most)
        best = min(range(len(distance)), key=lambda i: (distance[i], abs(i - most)))
        out.append(best - most if distance[best] < BETTER * distance[most] else 0)
    return out


def _distances(
    px: Tensor, predicted: Tensor, sightings: Sightings, view: int, most: int
) -> list[float]:
    """Median distance in pixels at each shift from -most to most."""
    T, distances = len(sightings.px), []
    for lag in range(-most, most + 1):
        t = torch.arange(max(0, -lag), min(T, T - lag))
        good = predicted[t] & sightings.valid[t + lag, view]
        away = (px[t] - sightings.px[t + lag, view]).norm(dim=-1)[good]
        distances.append(float(away.median()) if len(away) >= LEAST else float("inf"))
    return distances


# ---- the verdict ---------------------------------------------------------------------------------
def suspects(rig: CameraRig, sightings: Sightings, most: int = 60) -> list[Suspect]:
    """All usual mistakes without which the rays would meet clearly better.

    Of many cameras, those of single ones are looked for where they agree least.

    Args:
        rig: V cameras.
        sightings: of V views.
        most: largest shift between cameras that is tried, frames.

    Returns:
        The likeliest first; none if the calibration fits as it is.
    """
    given = misfit(rig, sightings)
    tried = [(fault, sightings) for fault in _rig_faults(rig)]
    tried += _camera_faults(rig, sightings, most)
    all_of_them = [Suspect(f.name, f.remedy, misfit(f.rig, moved)) for f, moved in tried]
    return sorted((s for s in all_of_them if s.misfit < BETTER * given), key=lambda s: s.misfit)
