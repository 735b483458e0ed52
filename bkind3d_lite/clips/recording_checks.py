"""Questions: what the doctor asks of a recording, one function each; the answer is a `Check` with its figure and remedy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..cameras import CameraRig, largest_radius2
from ..volumes import overlap
from .calibration_faults import FITS, lags, misfits, of_the_points, sightings, suspects
from .clip import MultiViewClip, Survey

PASS, WARN, FAIL = "pass", "warn", "fail"
COUNTED = {
    1.0: ("the calibration counts pixels from 1 (MATLAB's habit)", "subtract 1 from cx and cy"),
    -1.0: ("the marks count pixels from 1 (MATLAB's habit)", "subtract 1 from the marks"),
    0.5: (
        "the calibration's pixel (0, 0) is the image's corner, not the first pixel's centre",
        "subtract 0.5 from cx and cy",
    ),
    -0.5: (
        "the marks' pixel (0, 0) is the image's corner, not the first pixel's centre",
        "subtract 0.5 from the marks",
    ),
}


@dataclass(frozen=True)
class Check:
    """One question about a recording: `state` is pass, warn or fail, `said` what was found with its figure, `remedy` what to do."""

    name: str
    state: str
    said: str
    remedy: str = ""


# ---- the calibration alone ---------------------------------------------------------------------------------------
def check_lenses(rig: CameraRig) -> Check:
    """Focal lengths, principal points and distortions that a lens can have."""
    W, H = rig.wh
    fx, fy = rig.K[:, 0, 0], rig.K[:, 1, 1]
    off = ((rig.K[:, :2, 2] / rig.K.new_tensor(rig.wh)) - 0.5).abs().amax(-1)
    field_of_view = torch.rad2deg(2 * torch.atan(W / 2 / fx))
    odd = [
        (n, f"focal lengths {float(a):.0f} and {float(b):.0f} px differ")
        for n, a, b in zip(rig.names, fx, fy)
        if abs(a / b - 1) > 0.1
    ]
    odd += [
        (n, f"principal point {float(o):.0%} of the image away from its middle")
        for n, o in zip(rig.names, off)
        if o > 0.25
    ]
    odd += [
        (n, f"field of view {float(v):.0f} degrees")
        for n, v in zip(rig.names, field_of_view)
        if not 4 < v < 120
    ]
    edge = (
        (
            (rig.K.new_tensor([[0, 0], [W, 0], [0, H], [W, H]]) - rig.K[:, None, :2, 2])
            / torch.stack([fx, fy], -1)[:, None]
        )
        .square()
        .sum(-1)
    ).amax(-1)
    fold = largest_radius2(rig.distortion)[:, 0, 0]
    odd += [
        (n, "the distortion folds back inside the image")
        for n, e, f in zip(rig.names, edge, fold)
        if f < 0.8 * e
    ]
    if odd:
        return Check(
            "lenses",
            WARN,
            "; ".join(f"{n}: {what}" for n, what in odd[:3]),
            "was it calibrated on images of another size, or cropped afterwards?",
        )
    return Check(
        "lenses",
        PASS,
        f"fields of view {float(field_of_view.min()):.0f} to {float(field_of_view.max()):.0f} degrees",
    )


def check_unit(rig: CameraRig) -> Check:
    """Cameras stand decimetres to decametres from what they film: what unit makes that so?"""
    spread = float((rig.centres - rig.centres.mean(0)).norm(dim=-1).mean())
    fits = [
        u for u, metres in (("mm", 1e-3), ("cm", 1e-2), ("m", 1.0)) if 0.1 < spread * metres < 30
    ]
    said = f"cameras stand {spread:.4g} {rig.unit} from their middle"
    if rig.unit in fits:
        return Check("unit", PASS, said)
    if rig.unit == "unknown":
        return Check(
            "unit",
            WARN,
            said.replace(" unknown", " (unit not told)"),
            f"probably {fits[0] if fits else 'none of mm, cm, m'}: write unit under [metadata]",
        )
    return Check(
        "unit",
        FAIL,
        said,
        f"that fits {' or '.join(fits) or 'no unit'}, not {rig.unit}: correct [metadata] unit, or scale the translations",
    )


def check_ring(rig: CameraRig) -> Check:
    """Do the optical axes meet in front of the cameras, from different sides?"""
    try:
        centre, width = overlap(rig)
    except ValueError as error:
        return Check("ring", FAIL, str(error))
    away = centre - rig.centres
    angle = torch.rad2deg(
        torch.acos((torch.nn.functional.normalize(away, dim=-1) * rig.R[:, 2]).sum(-1).clamp(-1, 1))
    )
    sides = torch.nn.functional.normalize(away, dim=-1)
    apart = torch.rad2deg(torch.acos((sides @ sides.T).clamp(-1, 1))).amax()
    up = -rig.R[:, 1].mean(0)
    axis = "xyz"[int(up.abs().argmax())]
    said = f"axes pass the common centre within {float(angle.max()):.0f} degrees, views up to {float(apart):.0f} degrees apart, {width:.4g} {rig.unit} seen across, up is about {'+-'[int(up[up.abs().argmax()] < 0)]}{axis}"
    if angle.max() > 40:
        return Check(
            "ring",
            WARN,
            said,
            "a camera looks elsewhere: are its rotation and translation world to camera?",
        )
    if apart < 8:
        return Check(
            "ring",
            WARN,
            said,
            "views from nearly one side give little depth: use cameras farther apart",
        )
    return Check(
        "ring",
        PASS,
        said,
        ""
        if axis == "z" and up[2] > 0
        else "volumes turn about z: turn the world until z points up, or train with turn=false",
    )


# ---- the videos --------------------------------------------------------------------------------------------------
def check_timing(clip: MultiViewClip) -> Check | None:
    """Is frame t of every camera one moment, and are moments evenly spaced? From rates and presentation times; None for frames in memory."""
    footage = dict(zip(clip.rig.names, getattr(clip.frames, "videos", ())))
    times = {
        name: f.seconds - f.seconds[0]
        for name, f in footage.items()
        if f.seconds is not None and len(f) > 2
    }
    odd, rates = [], {name: f.fps for name, f in footage.items() if f.fps}
    if not footage:
        return None
    if rates and max(rates.values()) > 1.005 * min(rates.values()):
        odd.append(
            "frame rates differ: " + ", ".join(f"{name} {fps:.4g}" for name, fps in rates.items())
        )
    inner = (
        np.setdiff1d(np.arange(1, len(clip)), clip.starts) - 1
    )  # steps within unbroken stretches
    for name, at in times.items():
        steps = np.diff(at)[inner]
        if (
            uneven := int((np.abs(steps - np.median(steps)) > 0.5 * np.median(steps)).sum())
            if len(steps)
            else 0
        ):
            odd.append(
                f"{name}: {uneven} of {len(steps)} intervals uneven ({steps.min() * 1000:.0f} to {steps.max() * 1000:.0f} ms)"
            )
    if len(times) > 1 and not odd:
        away = {
            name: float(np.abs(at - next(iter(times.values()))).max()) for name, at in times.items()
        }
        odd += [
            f"{name} drifts {seconds:.2g} s away from {next(iter(times))}"
            for name, seconds in away.items()
            if seconds > 0.75 / clip.fps
        ]
    jumps = f", {len(clip.starts) - 1} jumps in time" if len(clip.starts) > 1 else ""
    if odd:
        return Check(
            "time",
            WARN,
            "; ".join(odd[:3]) + jumps,
            "frames were dropped, or the cameras not triggered together: encode the videos again at one constant rate, "
            "or make a table of synchronous frames",
        )
    if len(clip.starts) > len(clip) / 10:
        return Check(
            "time",
            WARN,
            f"{len(clip)} frames in {len(clip.starts)} unbroken stretches",
            "pairs are drawn within stretches alone: keep all frames when you extract them",
        )
    return Check(
        "time",
        PASS,
        (
            f"evenly spaced, {1000 / clip.fps:.4g} ms a frame"
            if times
            else "no presentation times in these files"
        )
        + jumps,
    )


def check_background(clip: MultiViewClip, seen: Survey) -> Check:
    """Does the background stay, or does a camera shake or the light change? First third against last third, where nothing moves."""
    T, odd = len(clip), []
    begins, ends = (
        clip.frames[torch.linspace(a, b, min(20, T)).long().tolist()].float() / 255
        for a, b in ((0, T // 3), (2 * T // 3, T - 1))
    )
    first, last = begins.median(0).values, ends.median(0).values
    noise = (begins - first).abs().flatten(2).median(-1).values.mean(0) * 1.48
    for name, c, n in zip(clip.rig.names, (first - last).abs().amax(-1), noise):
        share = float((c > max(1.5 * float(n), 0.03)).float().mean())
        if share > 0.2:
            odd.append(
                f"{name}: {share:.0%} of the background differs between the first and the last third"
            )
    if odd:
        return Check(
            "background",
            WARN,
            "; ".join(odd),
            "fix the camera and the light, or cut the clip where it stays: the foreground is found as what differs from the median",
        )
    return Check(
        "background",
        PASS,
        f"static; noise {float(seen.noise.max()):.1%}, contrast of what moves {float(seen.contrast.min()):.0%} and more",
    )


def check_motion(clip: MultiViewClip, seen: Survey) -> Check:
    """How much moves at which gap, and the gap at which the change of the foreground has come to two thirds of its most."""
    gaps = sorted(
        {max(1, round(clip.fps * s)) for s in (0.02, 0.05, 0.1, 0.2, 0.4, 0.66, 1.0)}
        & set(range(1, max(2, len(clip) // 2)))
    ) or [1]
    stir = {
        g: float(seen.motion_energy(g)[whole].median())
        for g in gaps
        if (whole := clip.unbroken(g) > 0).any()
    }
    if not stir:
        return Check(
            "motion",
            WARN,
            f"{len(clip.starts)} stretches, none longer than {gaps[0]} frames",
            "keep all frames when you extract them",
        )
    enough = next(g for g in stir if stir[g] >= 2 / 3 * max(stir.values()))
    said = "foreground changed after " + ", ".join(
        f"{g / clip.fps:.2g} s: {stir[g]:.0%}" for g in stir
    )
    if max(stir.values()) < 0.1:
        return Check(
            "motion",
            WARN,
            said,
            "it hardly moves: choose another stretch, or draw pairs by motion (by_motion = true) and mix gaps",
        )
    return Check(
        "motion", PASS, said, f"a gap of about {enough / clip.fps:.2g} s ({enough} frames)"
    )


def check_agreement(clip: MultiViewClip, seen: Survey) -> Check:
    """Do the views agree where the animal is? If not: which usual mistake explains it."""
    found = sightings(seen, clip.rig)
    away = misfits(clip.rig, found)
    if away.isnan().all():
        return Check(
            "agreement",
            WARN,
            "too few frames in which several views see a whole silhouette",
            "look at the foreground of each view",
        )
    said = (
        "silhouettes' centres reproject within "
        + ", ".join(f"{n} {float(a):.1%}" for n, a in zip(clip.rig.names, away))
        + " of the image's width"
    )
    likely = suspects(clip.rig, found, most=min(2 * round(clip.fps), 120))
    mean, worst = float(away.nanmean()), float(away[away.isfinite()].max())
    explained = bool(likely) and likely[0].misfit < 0.5 * mean
    if (
        mean > FITS or worst > 1.5 * FITS and explained
    ):  # of many cameras, the good ones hide what is wrong with two
        if likely:
            others = "".join(
                f"; or {s.name} ({s.misfit:.1%})"
                for s in likely[1:3]
                if s.misfit < 2 * likely[0].misfit
            )
            return Check(
                "agreement",
                FAIL,
                said,
                f"it would be {likely[0].misfit:.1%} if {likely[0].name}: {likely[0].remedy}{others}",
            )
        return Check(
            "agreement",
            FAIL,
            said,
            "no single usual mistake explains it: were the cameras moved since they were calibrated, or are the videos of another session?",
        )
    if explained:
        return Check(
            "agreement",
            WARN,
            said,
            f"it would be {likely[0].misfit:.1%} if {likely[0].name}: {likely[0].remedy}",
        )
    return Check("agreement", PASS, said)


def check_offsets(clip: MultiViewClip, seen: Survey) -> Check | None:
    """Is a camera late? Each view's silhouettes against where the others say they are, at all shifts; None with two views, where nobody can say which."""
    if clip.rig.views < 3:
        return None
    found = sightings(seen, clip.rig)
    shifts = lags(clip.rig, found, min(2 * round(clip.fps), 120))
    late = {
        name: n
        for name, n, away in zip(clip.rig.names, shifts, misfits(clip.rig, found))
        if n and away > 0.005
    }
    if late:
        said = ", ".join(
            f"{name} {abs(n)} frames {'later' if n > 0 else 'earlier'}" for name, n in late.items()
        )
        return Check(
            "offsets",
            WARN,
            f"a camera agrees better with the others if it is read {said}",
            "if it was started at another moment: --offset "
            + " ".join(f"{name}={n}" for name, n in late.items()),
        )
    return Check(
        "offsets",
        PASS,
        f"every camera agrees best with the others as it is, of shifts up to {min(2 * round(clip.fps), 120, len(clip) // 3)} frames",
    )


def check_truth(clip: MultiViewClip, seen: Survey) -> Check | None:
    """Where ground truth is given: does it project onto what moves? If not: which usual mistake of units, axes or time explains it."""
    if clip.truth is None:
        return None
    known = clip.truth.isfinite().all(-1).any(1).nonzero()[:, 0]
    if not len(known):
        return Check(
            "truth",
            WARN,
            "no frame that was looked at is labelled",
            "nothing to do, unless there should be labels",
        )
    times = known[torch.linspace(0, len(known) - 1, min(50, len(known))).long()]
    points, there = clip.truth[times], grown(seen.thumbs[times])
    share = covered(points, clip.rig, there)
    said = f"{share:.0%} of the given 3D points project onto what moves"
    if share > 0.6:
        return Check("truth", PASS, said)
    tried = [
        (covered(points @ turn.T, rig, there), name, remedy)
        for name, remedy, rig, turn in of_the_points(clip.rig)
    ]
    reach, few, there = (
        min(len(clip) // 3, 120),
        times[:: max(1, len(times) // 20)],
        grown(seen.thumbs, 0.01),
    )
    for lag in (n for n in range(-reach, reach + 1) if n):
        inside = few[(few + lag >= 0) & (few + lag < len(clip))]
        tried.append(
            (
                covered(clip.truth[inside], clip.rig, there[inside + lag]),
                f"the points are {abs(lag)} frames {'early' if lag > 0 else 'late'}",
                f"give frame t + {lag} the points of frame t"
                if lag > 0
                else f"give frame t the points of frame t + {-lag}",
            )
        )
    best, name, remedy = max(tried, key=lambda of: of[0])
    if best > max(0.6, 1.5 * share):
        return Check("truth", FAIL, said, f"it would be {best:.0%} if {name}: {remedy}")
    return Check(
        "truth",
        FAIL,
        said,
        "are the points in the calibration's unit and world, and of these frames?",
    )


def check_marks(clip: MultiViewClip) -> Check | None:
    """Where it is given in which pixels the 3D points were seen: do they project there? This tells what silhouettes cannot, pixels counted from 1."""
    if clip.marks is None or clip.truth is None:
        return None
    known = clip.truth.isfinite().all(-1).any(1).nonzero()[:, 0]
    known = known[:: max(1, len(known) // 500)]
    away = clip.rig.px_from_world(clip.truth[known]) - clip.marks[known]
    away = away[away.isfinite().all(-1)]
    if not len(away):
        return Check(
            "marks", WARN, "no mark has a 3D point", "nothing to do, unless there should be marks"
        )
    misfit, bias = float(away.norm(dim=-1).median()), away.median(0).values
    error = (
        1.9 * (away - bias).abs().median(0).values / len(away) ** 0.5
    )  # of a median, from the median deviation
    said = f"given 3D points project {misfit:.2g} px from their marks (median), on the mean {bias[0]:+.2f}, {bias[1]:+.2f} px"
    if misfit > max(3.0, 0.02 * clip.rig.wh[0]):
        tried = []
        for name, remedy, rig, turn in of_the_points(clip.rig):
            other = (rig.px_from_world(clip.truth[known] @ turn.T) - clip.marks[known]).norm(dim=-1)
            tried.append(
                (float(other[other.isfinite()].median()), name, remedy)
                if other.isfinite().any()
                else (math.inf, name, remedy)
            )
        best, name, remedy = min(tried, key=lambda of: of[0])
        return Check(
            "marks",
            FAIL,
            said,
            f"it would be {best:.2g} px if {name}: {remedy}"
            if best < 0.6 * misfit
            else "are the marks of these frames, cameras and joints?",
        )
    for shift, (what, remedy) in COUNTED.items():
        if (bias - shift).abs().max() < 0.3 * abs(shift) and (bias.abs() > 4 * error).all():
            return Check("marks", WARN, said, f"{what}: {remedy}")
    return Check("marks", PASS, said)


def grown(thumbs: Tensor, by: float = 0.03) -> Tensor:
    """Foreground thumbs (T, V, h, w) uint8 as floats in [0, 1], each silhouette grown by this share of the width."""
    reach = max(1, math.ceil(by * thumbs.shape[3]))
    out = torch.nn.functional.max_pool2d(thumbs.float() / 255, (2 * reach + 1, 1), 1, (reach, 0))
    return torch.nn.functional.max_pool2d(out, (1, 2 * reach + 1), 1, (0, reach))


def covered(points: Tensor, rig: CameraRig, there: Tensor) -> float:
    """Share of points (T, K, 3) that fall on `grown` silhouettes (T, V, h, w) in all views that see them; half of all views at least should."""
    ndc = rig.ndc_from_world(points)
    value = torch.nn.functional.grid_sample(
        there.flatten(0, 1)[:, None],
        ndc.flatten(0, 1)[:, None].nan_to_num(5.0).clamp(-9, 9),
        align_corners=False,
    )
    inside = (ndc.abs() <= 1).all(-1) & ndc.isfinite().all(-1)
    hit = value[:, 0, 0].view_as(inside) > 0.3
    expected = points.isfinite().all(-1).sum() * rig.views / 2
    return float(hit[inside].sum() / torch.maximum(inside.sum().float(), expected).clamp(min=1))
