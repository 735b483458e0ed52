"""Label checks: what the doctor asks of labels that come with a recording, one function a question.

None where there are no labels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ..cameras import CameraRig
from ..sliding import largest
from .calibration_faults import point_faults
from .clip import MultiViewClip, Survey
from .left_out import doubtful
from .rig_checks import FAIL, PASS, WARN, Check

# Mean shift in pixels between where points project and where they were marked, and its cause.
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
Trial = tuple[float, str, str]  # a figure, and the name and the remedy of the fault it belongs to


# ---- given 3D points -----------------------------------------------------------------------------
def check_truth(clip: MultiViewClip, survey: Survey) -> Check | None:
    """Does the ground truth project onto what moves?

    If not: which usual mistake of units, axes or time explains it?

    Args:
        clip: what is looked at.
        survey: of the clip.

    Returns:
        A failure if it does not; None without a truth.
    """
    if clip.truth is None:
        return None
    labelled = _labelled(clip.truth)
    if not len(labelled):
        finding = "no frame that was looked at is labelled"
        remedy = "nothing to do, unless there should be labels"
        return Check("truth", WARN, finding, remedy=remedy)
    times = labelled[torch.linspace(0, len(labelled) - 1, min(50, len(labelled))).long()]
    share = coverage(clip.truth[times], clip.rig, dilated(survey.thumbs[times]))
    finding = f"{share:.0%} of the given 3D points project onto what moves"
    if share > 0.6:
        return Check("truth", PASS, finding)
    trials = _other_worlds(clip, clip.truth, survey, times)
    trials += _other_times(clip, clip.truth, survey, times)
    best, name, remedy = max(trials, key=lambda trial: trial[0])
    if best > max(0.6, 1.5 * share):
        return Check("truth", FAIL, finding, remedy=f"it would be {best:.0%} if {name}: {remedy}")
    remedy = "are the points in the calibration's unit and world, and of these frames?"
    return Check("truth", FAIL, finding, remedy=remedy)


def _labelled(truth: Tensor) -> Tensor:
    """Times (n,) with a joint."""
    return truth.isfinite().all(-1).any(1).nonzero()[:, 0]


def _other_worlds(clip: MultiViewClip, truth: Tensor, survey: Survey, times: Tensor) -> list[Trial]:
    points, silhouettes = truth[times], dilated(survey.thumbs[times])
    alone = [
        coverage(points, clip.rig.take([v]), silhouettes[:, [v]]) for v in range(clip.rig.views)
    ]
    return [
        (coverage(points @ turn.T, fault.rig, silhouettes), fault.name, fault.remedy)
        for fault, turn in point_faults(clip.rig, doubtful(1 - torch.tensor(alone)))
    ]


def _other_times(clip: MultiViewClip, truth: Tensor, survey: Survey, times: Tensor) -> list[Trial]:
    longest, few = min(len(clip) // 3, 120), times[:: max(1, len(times) // 20)]
    silhouettes = dilated(survey.thumbs, 0.01)
    trials = []
    for lag in (n for n in range(-longest, longest + 1) if n):
        inside = few[(few + lag >= 0) & (few + lag < len(clip))]
        share = coverage(truth[inside], clip.rig, silhouettes[inside + lag])
        name = f"the points are {abs(lag)} frames {'early' if lag > 0 else 'late'}"
        frame, given = (f"t + {lag}", "t") if lag > 0 else ("t", f"t + {-lag}")
        trials.append((share, name, f"give frame {frame} the points of frame {given}"))
    return trials


def dilated(thumbs: Tensor, by: float = 0.03) -> Tensor:
    """Silhouettes grown on all sides.

    Args:
        thumbs: (T, V, h, w) uint8, foreground.
        by: share of the width.

    Returns:
        (T, V, h, w) in [0, 1].
    """
    reach = max(1, math.ceil(by * thumbs.shape[3]))
    return largest(thumbs.float() / 255, 2 * reach + 1)


def coverage(points: Tensor, rig: CameraRig, silhouettes: Tensor) -> float:
    """Share of points that fall on silhouettes in all views that see them.

    Half of all views at least should see each.

    Args:
        points: (T, K, 3) world.
        rig: V cameras.
        silhouettes: (T, V, h, w) in [0, 1].

    Returns:
        Of all points and views, in [0, 1].
    """
    ndc = rig.ndc_from_world(points)
    places = ndc.flatten(0, 1)[:, None].nan_to_num(5.0).clamp(-9, 9)
    value = F.grid_sample(silhouettes.flatten(0, 1)[:, None], places, align_corners=False)
    inside = (ndc.abs() <= 1).all(-1) & ndc.isfinite().all(-1)
    hit = value[:, 0, 0].view_as(inside) > 0.3
    expected = points.isfinite().all(-1).sum() * rig.views / 2
    return float(hit[inside].sum() / torch.maximum(inside.sum().float(), expected).clamp(min=1))


# ---- given pixels --------------------------------------------------------------------------------
def check_marks(clip: MultiViewClip) -> Check | None:
    """Do given 3D points project into the pixels in which they were marked?

    This tells what silhouettes cannot: pixels counted from 1.

    Args:
        clip: at its own image size.

    Returns:
        A failure if they do not, a warning if they are shifted; None without marks or a truth.
    """
    if clip.marks is None or clip.truth is None:
        return None
    labelled = _labelled(clip.truth)
    times = labelled[:: max(1, len(labelled) // 500)]
    points, marks = clip.truth[times], clip.marks[times]
    away = clip.rig.px_from_world(points) - marks
    away = away[away.isfinite().all(-1)]
    if not len(away):
        remedy = "nothing to do, unless there should be marks"
        return Check("marks", WARN, "no mark has a 3D point", remedy=remedy)
    misfit, bias = float(away.norm(dim=-1).median()), away.median(0).values
    finding = (
        f"given 3D points project {misfit:.2g} px from their marks (median), "
        f"on the mean {bias[0]:+.2f}, {bias[1]:+.2f} px"
    )
    if misfit > max(3.0, 0.02 * clip.rig.wh[0]):
        remedy = _other_projections(clip.rig, points, marks, misfit)
        return Check("marks", FAIL, finding, remedy=remedy)
    # The error of a median, from the median deviation.
    error = 1.9 * (away - bias).abs().median(0).values / len(away) ** 0.5
    for shift, (what, remedy) in COUNTED.items():
        if (bias - shift).abs().max() < 0.3 * abs(shift) and (bias.abs() > 4 * error).all():
            return Check("marks", WARN, finding, remedy=f"{what}: {remedy}")
    return Check("marks", PASS, finding)


def _other_projections(rig: CameraRig, points: Tensor, marks: Tensor, misfit: float) -> str:
    """The usual mistake without which points (T, J, 3) project onto their marks (T, V, J, 2)."""
    trials, apart = [], (rig.px_from_world(points) - marks).norm(dim=-1)
    views = doubtful(apart.movedim(1, 0).flatten(1).nanmedian(1).values)
    for fault, turn in point_faults(rig, views):
        away = (fault.rig.px_from_world(points @ turn.T) - marks).norm(dim=-1)
        finite = away[away.isfinite()]
        figure = float(finite.median()) if len(finite) else math.inf
        trials.append((figure, fault.name, fault.remedy))
    best, name, remedy = min(trials, key=lambda trial: trial[0])
    if best < 0.6 * misfit:
        return f"it would be {best:.2g} px if {name}: {remedy}"
    return "are the marks of these frames, cameras and joints?"
