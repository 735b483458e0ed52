"""Suspects: does the moving animal agree with the calibration, and which usual mistake would make it agree?

The centre of the animal's silhouette in every view is a correspondence that needs no label. If the cameras are as the file says, its rays meet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations

import torch
from torch import Tensor

from ..cameras import CameraRig, triangulate
from .clip import Survey

FITS = 0.05  # misfit, in image widths, up to which a calibration is believed: silhouettes' centres are no exact correspondences
BETTER = 0.6  # a suspect is named if it leaves less than this share of the misfit
MOMENTS = 100  # frames looked at
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
    """Centres of the silhouettes: px (T, V, 2) in pixels of `rig`, seen (T, V) bool: a silhouette neither missing nor cut by the border."""

    px: Tensor
    seen: Tensor


@dataclass(frozen=True)
class Suspect:
    """One usual mistake: what it is called, what to do, the misfit if it were so."""

    name: str
    remedy: str
    misfit: float


def sightings(survey: Survey, rig: CameraRig, least: float = 5e-4) -> Sightings:
    """From the foreground thumbnails of a survey; `least`: share of the image below which nothing is seen."""
    some = [
        _sightings(thumbs, rig, least) for thumbs in survey.thumbs.split(512)
    ]  # of a long film not all at once
    return Sightings(torch.cat([s.px for s in some]), torch.cat([s.seen for s in some]))


def _sightings(thumbs: Tensor, rig: CameraRig, least: float) -> Sightings:
    mass = thumbs.float() / 255
    mass = torch.where(mass > 0.5, mass, mass.new_zeros(()))
    T, V, h, w = mass.shape
    total = mass.sum((2, 3)).clamp(min=1e-6)
    x, y = ((torch.arange(n) + 0.5) * size / n for n, size in ((w, rig.wh[0]), (h, rig.wh[1])))
    px = torch.stack([(mass.sum(2) * x).sum(-1) / total, (mass.sum(3) * y).sum(-1) / total], -1)
    border = mass.clone()
    border[:, :, 1:-1, 1:-1] = 0
    return Sightings(px, (total / (h * w) > least) & (border.sum((2, 3)) < 0.05 * total))


def misfits(rig: CameraRig, found: Sightings) -> Tensor:
    """Median distance (V,) between each view's silhouette centre and where the other views say it is, in image widths, at most 1.

    With two views: the distance to the reprojection of the point that both make.
    """
    every = max(1, len(found.px) // MOMENTS)
    found = Sightings(found.px[::every], found.seen[::every])
    px, V = found.px[:, :, None], rig.views
    out = []
    for v in range(V):
        weight = found.seen.float()[..., None].clone()
        if V > 2:
            weight[:, v] = 0
        point = triangulate(rig, px, weight)
        away = (rig.px_from_world(point.nan_to_num(0.0))[:, v, 0] - found.px[:, v]).norm(
            dim=-1
        ) / rig.wh[0]
        good = found.seen[:, v] & point.isfinite().all(-1)[:, 0]
        out.append(
            away[good].clamp(max=1.0).median() if good.sum() >= 5 else away.new_tensor(float("nan"))
        )
    return torch.stack(out)


def misfit(rig: CameraRig, found: Sightings) -> float:
    """Mean over the views of `misfits`; NaN if no view has enough sightings."""
    return float(misfits(rig, found).nanmean())


def _of_the_rig(rig: CameraRig) -> Iterator[tuple[str, str, CameraRig]]:
    """Mistakes that all cameras share."""
    R, t, flip = rig.R, rig.t, torch.diag(rig.R.new_tensor([1.0, -1, -1]))

    def turned(A: Tensor, b: Tensor) -> Tensor:
        return -(A @ b[..., None])[..., 0]

    yield (
        "the rotations are transposed",
        "write each rotation as world to camera (its transpose)",
        replace(rig, R=R.mT),
    )
    yield "the translations are camera centres", "write t = -R C", replace(rig, t=turned(R, t))
    yield (
        "the poses are camera to world",
        "write R transposed and t = -R^T t",
        replace(rig, R=R.mT, t=turned(R.mT, t)),
    )
    yield (
        "the cameras' y and z axes are turned (OpenGL's convention)",
        "multiply R and t by diag(1, -1, -1)",
        replace(rig, R=flip @ R, t=(flip @ t[..., None])[..., 0]),
    )
    for s in SCALES:
        K = rig.K.clone()
        K[..., :2, :] *= s
        yield (
            f"the calibration is of images {1 / s:.3g} x as large as these",
            f"multiply fx, fy, cx, cy by {s:.3g}, or give the size of the images "
            "that were calibrated",
            replace(rig, K=K),
        )
    K = rig.K.clone()
    K[..., 0, 2], K[..., 1, 2] = rig.K[..., 1, 2], rig.K[..., 0, 2]
    yield "cx and cy are swapped", "swap them", replace(rig, K=K)
    if rig.distortion.any():
        yield (
            "the videos are undistorted already",
            "set all distortions to 0",
            replace(rig, distortion=torch.zeros_like(rig.distortion)),
        )
        yield (
            "the distortion has the opposite sign",
            "multiply the distortions by -1",
            replace(rig, distortion=-rig.distortion),
        )


def of_the_points(rig: CameraRig) -> Iterator[tuple[str, str, CameraRig, Tensor]]:
    """Mistakes that given 3D points can show: (name, remedy, rig, A (3, 3)); if it was made, the rig sees A x where the points are said to be at x."""
    eye = torch.eye(3)
    for s in UNITS:
        yield (
            f"the points' unit is {s:g} x the calibration's",
            f"multiply the positions in truth.npz by {s:g}",
            rig,
            s * eye,
        )
    for axes, rows in AXES.items():
        turn = torch.tensor(rows).float()
        yield (
            f"the points' axes are {axes} of the calibration's",
            f"write ({axes}) turned back into the calibration's x, y, z",
            rig,
            turn,
        )
    for i, j in combinations(range(rig.views), 2):
        yield (
            f"cameras {rig.names[i]} and {rig.names[j]} are swapped",
            "swap their names in the calibration, or their videos",
            swapped(rig, i, j),
            eye,
        )
    for name, remedy, other in _of_the_rig(rig):
        yield name, remedy, other, eye


def swapped(rig: CameraRig, i: int, j: int) -> CameraRig:
    """The rig with the calibrations of two cameras exchanged."""
    order = list(range(rig.views))
    order[i], order[j] = j, i
    return replace(rig.take(order), names=rig.names)


def _of_a_camera(
    rig: CameraRig, found: Sightings, most: int
) -> Iterator[tuple[str, str, CameraRig, Sightings]]:
    """Mistakes of one camera or two: swapped, mirrored, upside down, late."""
    size = found.px.new_tensor(rig.wh)
    for i, j in combinations(range(rig.views), 2):
        yield (
            f"cameras {rig.names[i]} and {rig.names[j]} are swapped",
            "swap their names in the calibration, or their videos",
            swapped(rig, i, j),
            found,
        )
    for v, (name, lag) in enumerate(zip(rig.names, lags(rig, found, most))):
        for what, moved in (
            ("mirrored", torch.stack([size[0] - found.px[:, v, 0], found.px[:, v, 1]], -1)),
            ("upside down", size - found.px[:, v]),
        ):
            px = found.px.clone()
            px[:, v] = moved
            yield (
                f"the video of {name} is {what}",
                "turn it back, or calibrate it as it is",
                rig,
                replace(found, px=px),
            )
        if lag:
            yield (
                f"{name} runs {abs(lag)} frames {'late' if lag > 0 else 'early'}",
                f"read it so many frames {'later' if lag > 0 else 'earlier'}: --offset {name}={lag}",
                rig,
                late(found, v, lag),
            )


def late(found: Sightings, view: int, lag: int) -> Sightings:
    """The sightings if `view` were read `lag` frames later: frame t of the others meets its frame t + lag."""
    px, seen, T = found.px.clone(), found.seen.clone(), len(found.px)
    index = torch.arange(T) + lag
    inside = (index >= 0) & (index < T)
    px[:, view] = found.px[index.clamp(0, T - 1), view]
    seen[:, view] = found.seen[index.clamp(0, T - 1), view] & inside
    return Sightings(px, seen)


def lags(rig: CameraRig, found: Sightings, most: int = 60) -> list[int]:
    """For each view the shift in frames, up to `most` either way, at which it agrees best with what the others predict; 0 with two views."""
    T, out = len(found.px), []
    most = min(most, T // 3)
    for v in range(rig.views if rig.views > 2 else 0):
        weight = found.seen.float()[..., None].clone()
        weight[:, v] = 0
        point = triangulate(rig, found.px[:, :, None], weight)
        there = rig.px_from_world(point.nan_to_num(0.0))[:, v, 0]
        known = point.isfinite().all(-1)[:, 0]
        distance = []
        for lag in range(-most, most + 1):
            t = torch.arange(max(0, -lag), min(T, T - lag))
            good = known[t] & found.seen[t + lag, v]
            away = (there[t] - found.px[t + lag, v]).norm(dim=-1)[good]
            distance.append(float(away.median()) if len(away) >= 5 else float("inf"))
        best = min(range(len(distance)), key=lambda i: (distance[i], abs(i - most)))
        out.append(best - most if distance[best] < BETTER * distance[most] else 0)
    return out or [0] * rig.views


def suspects(rig: CameraRig, found: Sightings, most: int = 60) -> list[Suspect]:
    """All usual mistakes that would make the rays meet clearly better, the likeliest first; none if the calibration fits as it is.

    most: largest shift between cameras that is tried, in frames.
    """
    given = misfit(rig, found)
    tried = [
        Suspect(name, remedy, misfit(other, found)) for name, remedy, other in _of_the_rig(rig)
    ]
    tried += [
        Suspect(name, remedy, misfit(other, moved))
        for name, remedy, other, moved in _of_a_camera(rig, found, most)
    ]
    return sorted((s for s in tried if s.misfit < BETTER * given), key=lambda s: s.misfit)
