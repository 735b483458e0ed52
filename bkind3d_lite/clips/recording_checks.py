"""Recording checks: what the doctor asks of the videos, one function a question.

Alone, and against the calibration. None where a question cannot be asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from .calibration_faults import (
    FITS,
    Sightings,
    Suspect,
    lags,
    longest_lag,
    misfits,
    silhouette_centres,
    silhouette_path,
    suspects,
)
from .clip import MultiViewClip, Survey
from .heading import LEAST_WALK, Heading
from .heading_finder import find_heading
from .hull_agreement import shape_suspects
from .rig_checks import FAIL, PASS, WARN, Check, upward
from .videos import Footage

GAPS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.66, 1.0)  # seconds, that motion is measured at

CLEAR_GAIN = 0.04  # of the silhouettes, that a mistake's correction explains at least
HEADED_FPS = 12.0  # frames a second at least, where there are, that a heading is looked for in
HEADED_FRAMES = 320  # of them
FROM_SIDES = 6  # of 12 directions, that a look of an animal should be taught from


# ---- time ----------------------------------------------------------------------------------------
def check_timing(clip: MultiViewClip) -> Check | None:
    """Is frame t of every camera one moment, and are moments evenly spaced?

    Args:
        clip: whose videos tell rates and presentation times.

    Returns:
        A warning that names up to three faults; None for frames in memory.
    """
    footage = _films(clip)
    if not footage:
        return None
    times = {
        name: film.seconds - film.seconds[0]
        for name, film in footage.items()
        if film.seconds is not None and len(film) > 2
    }
    odd = _rates(footage) + _uneven(clip, times) or _drifts(clip, times)
    jumps = f", {len(clip.starts) - 1} jumps in time" if len(clip.starts) > 1 else ""
    if odd:
        remedy = (
            "frames were dropped, or the cameras not triggered together: encode the videos again "
            "at one constant rate, or make a table of synchronous frames"
        )
        return Check("time", WARN, "; ".join(odd[:3]) + jumps, remedy=remedy)
    if len(clip.starts) > max(1, len(clip) / 10):
        finding = f"{len(clip)} frames in {len(clip.starts)} unbroken stretches"
        remedy = "pairs are drawn within stretches alone: keep all frames when you extract them"
        return Check("time", WARN, finding, remedy=remedy)
    even = f"evenly spaced, {1000 / clip.fps:.4g} ms a frame"
    return Check("time", PASS, (even if times else "no presentation times in these files") + jumps)


def _rates(footage: dict[str, Footage]) -> list[str]:
    rates = {name: film.fps for name, film in footage.items() if film.fps}
    if not rates or max(rates.values()) <= 1.005 * min(rates.values()):
        return []
    return ["frame rates differ: " + ", ".join(f"{name} {fps:.4g}" for name, fps in rates.items())]


def _uneven(clip: MultiViewClip, times: dict[str, np.ndarray]) -> list[str]:
    """Cameras whose frames do not come at even intervals within unbroken stretches."""
    inner = np.setdiff1d(np.arange(1, len(clip)), clip.starts) - 1
    odd = []
    for name, at in times.items():
        steps = np.diff(at)[inner]
        if not len(steps):
            continue
        uneven = int((np.abs(steps - np.median(steps)) > 0.5 * np.median(steps)).sum())
        if uneven:
            odd.append(
                f"{name}: {uneven} of {len(steps)} intervals uneven "
                f"({steps.min() * 1000:.0f} to {steps.max() * 1000:.0f} ms)"
            )
    return odd


def _drifts(clip: MultiViewClip, times: dict[str, np.ndarray]) -> list[str]:
    """Cameras whose clocks run away from the first one's."""
    first = next(iter(times), "")
    away = {name: float(np.abs(at - times[first]).max()) for name, at in times.items()}
    return [
        f"{name} drifts {seconds:.2g} s away from {first}"
        for name, seconds in away.items()
        if seconds > 0.75 / clip.fps
    ]


# ---- what the images show ------------------------------------------------------------------------
def check_background(clip: MultiViewClip, survey: Survey) -> Check:
    """Does the background stay, or does a camera shake or the light change?

    First third against last third, where nothing moves.

    Args:
        clip: what is looked at.
        survey: of the clip.

    Returns:
        A warning that names the cameras, or noise and contrast.
    """
    T, odd = len(clip), []
    begins, ends = (
        clip.frames[torch.linspace(a, b, min(20, T)).long().tolist()].float() / 255
        for a, b in ((0, T // 3), (2 * T // 3, T - 1))
    )
    first, last = begins.median(0).values, ends.median(0).values
    noise = (begins - first).abs().flatten(2).median(-1).values.mean(0) * 1.48
    for name, change, n in zip(clip.rig.names, (first - last).abs().amax(-1), noise):
        share = float((change > max(1.5 * float(n), 0.03)).float().mean())
        if share > 0.2:
            odd.append(
                f"{name}: {share:.0%} of the background differs between the first and the last "
                "third"
            )
    if odd:
        remedy = (
            "fix the camera and the light, or cut the clip where it stays: the foreground is found "
            "as what differs from the median"
        )
        return Check("background", WARN, "; ".join(odd), remedy=remedy)
    finding = (
        f"static; noise {float(survey.noise.max()):.1%}, "
        f"contrast of what moves {float(survey.contrast.min()):.0%} and more"
    )
    return Check("background", PASS, finding)


def check_motion(clip: MultiViewClip, survey: Survey) -> Check:
    """How much moves at which gap?

    Args:
        clip: what is looked at.
        survey: of the clip.

    Returns:
        A warning if it hardly moves, or the gap at which the change of the foreground has come to
        two thirds of its most.
    """
    changes = foreground_changes(clip, survey)
    if not changes:
        finding = f"{len(clip.starts)} stretches, none longer than {_gaps(clip)[0]} frames"
        remedy = "keep all frames when you extract them"
        return Check("motion", WARN, finding, remedy=remedy)
    most = max(changes.values())
    shares = ", ".join(f"{g / clip.fps:.2g} s: {share:.0%}" for g, share in changes.items())
    finding = f"foreground changed after {shares}"
    if most < 0.1:
        remedy = (
            "it hardly moves: choose another stretch, or draw pairs by motion (by_motion = true) "
            "and mix gaps"
        )
        return Check("motion", WARN, finding, remedy=remedy)
    enough = telling_gap(changes)
    remedy = f"a gap of about {enough / clip.fps:.2g} s ({enough} frames)"
    return Check("motion", PASS, finding, remedy=remedy)


def _gaps(clip: MultiViewClip) -> list[int]:
    """Frames."""
    short = range(1, max(2, len(clip) // 2))
    return sorted({max(1, round(clip.fps * s)) for s in GAPS} & set(short)) or [1]


def foreground_changes(clip: MultiViewClip, survey: Survey) -> dict[int, float]:
    """How much of the animal's silhouette changes, by the gap between now and later.

    Args:
        clip: what is looked at.
        survey: of the clip.

    Returns:
        Frames of each gap that fits into a stretch -> median share of the foreground.
    """
    changes = {}
    for gap in _gaps(clip):
        whole = clip.unbroken(gap) > 0
        if whole.any():
            changes[gap] = float(survey.motion_energy(gap)[whole].median())
    return changes


def telling_gap(changes: Mapping[int, float]) -> int:
    """The shortest gap that shows two thirds of the most that ever changes.

    Args:
        changes: by gap, as `foreground_changes` gives them.

    Returns:
        Frames.
    """
    most = max(changes.values())
    return next(gap for gap, share in changes.items() if share >= 2 / 3 * most)


# ---- the views together --------------------------------------------------------------------------
def _longest_lag(clip: MultiViewClip) -> int:
    """Frames: two seconds."""
    return min(2 * round(clip.fps), 120)


def check_agreement(clip: MultiViewClip, survey: Survey) -> Check:
    """Do the views agree where the animal is? If not: which usual mistake explains it?

    Args:
        clip: what is looked at.
        survey: of the clip.

    Returns:
        A failure if they do not, a warning if a mistake's correction would make them agree better.
    """
    centres = silhouette_centres(survey, clip.rig)
    away = misfits(clip.rig, centres)
    if away.isnan().all():
        finding = "too few frames in which several views see a whole silhouette"
        return Check("agreement", WARN, finding, remedy="look at the foreground of each view")
    figures = ", ".join(f"{n} {float(a):.1%}" for n, a in zip(clip.rig.names, away))
    finding = f"silhouettes' centres reproject within {figures} of the image's width"
    likely = suspects(clip.rig, centres, most=_longest_lag(clip))
    mean, worst = float(away.nanmean()), float(away[away.isfinite()].max())
    explained = bool(likely) and likely[0].misfit < 0.5 * mean
    # Of many cameras, the good ones hide what is wrong with two.
    failed = mean > FITS or (worst > 1.5 * FITS and explained)
    if failed and likely:
        return Check("agreement", FAIL, finding, remedy=_explanation(likely))
    shapes = _of_shapes(clip, survey, centres, finding)
    if shapes.state == FAIL or not (failed or explained):
        return shapes
    return Check("agreement", FAIL if failed else WARN, finding, remedy=_explanation(likely[:1]))


def _of_shapes(clip: MultiViewClip, survey: Survey, centres: Sightings, finding: str) -> Check:
    """Where the centres agree: do the whole silhouettes, too?"""
    left, likely = shape_suspects(clip.rig, survey.thumbs, centres)
    if left.isnan().all():
        return Check("agreement", PASS, finding)
    mean = float(left.nanmean())
    finding = f"{finding}; {1 - mean:.0%} of the silhouettes lie where the other views say"
    if not likely:
        return Check("agreement", PASS, finding)
    first = likely[0]
    clear = first.misfit < 0.5 * mean and mean - first.misfit > CLEAR_GAIN
    files = {n: getattr(f, "turn", None) for n, f in _films(clip).items()}
    told = [f"{n}'s file says: {turn}" for n, turn in files.items() if turn and n in first.name]
    remedy = (
        f"it would be {1 - first.misfit:.0%} if {first.name}: {first.remedy}"
        f"{' (' + told[0] + ')' if told else ''}"
    )
    return Check("agreement", FAIL if clear else WARN, finding, remedy=remedy)


def _films(clip: MultiViewClip) -> dict[str, Footage]:
    """What each camera recorded; nothing for frames in memory."""
    return dict(zip(clip.rig.names, getattr(clip.frames, "videos", ())))


def _explanation(likely: Sequence[Suspect]) -> str:
    """What would make the views agree, likeliest first."""
    if not likely:
        return (
            "no single usual mistake explains it: were the cameras moved since they were "
            "calibrated, or are the videos of another session?"
        )
    first = likely[0]
    others = [f"; or {s.name} ({s.misfit:.1%})" for s in likely[1:3] if s.misfit < 2 * first.misfit]
    return f"it would be {first.misfit:.1%} if {first.name}: {first.remedy}{''.join(others)}"


def check_offsets(clip: MultiViewClip, survey: Survey) -> Check | None:
    """Is a camera late? Its silhouettes against where the others say they are, at all shifts.

    Args:
        clip: what is looked at.
        survey: of the clip.

    Returns:
        A warning that names the shifts; None with two views, where nobody can say which is late.
    """
    most = min(_longest_lag(clip), longest_lag(len(clip)))
    if clip.rig.views < 3:
        return None
    if not most:
        finding = f"{len(clip)} frames are too few to tell whether a camera is late"
        return Check("offsets", PASS, finding)
    centres = silhouette_centres(survey, clip.rig)
    shifts, away = lags(clip.rig, centres, most), misfits(clip.rig, centres)
    late = {name: n for name, n, a in zip(clip.rig.names, shifts, away) if n and a > 0.005}
    if late:
        words = ", ".join(
            f"{name} {abs(n)} frames {'later' if n > 0 else 'earlier'}" for name, n in late.items()
        )
        finding = f"a camera agrees better with the others if it is read {words}"
        options = " ".join(f"{name}={n}" for name, n in late.items())
        remedy = f"if it was started at another moment: --offset {options}"
        return Check("offsets", WARN, finding, remedy=remedy)
    finding = f"every camera agrees best with the others as it is, of shifts up to {most} frames"
    return Check("offsets", PASS, finding)


def check_heading(clip: MultiViewClip, survey: Survey, frames: int | None = None) -> Check | None:
    """Can it be told which way the animal faces? By hull and walk alone, in some moments.

    Args:
        clip: what is looked at.
        survey: of the clip, with thumbs; its centres are not looked at.
        frames: that a training would look at; None: the clip's. As much is walked in all of them.

    Returns:
        How much it walks, in how many directions, and how well its axis agrees; a warning if that
        does not tell a heading; None where the world's z axis does not point up.
    """
    if upward(clip.rig) != "+z":
        return None
    times = _moments_of_walk(clip)
    thumbs = survey.thumbs[times]
    path = silhouette_path(replace(survey, thumbs=thumbs), clip.rig)
    seen = path.isfinite().all(-1)
    if not seen.any():
        return None
    nearest = (torch.arange(len(path))[:, None] - seen.nonzero()[:, 0]).abs().argmin(1)
    there = replace(survey, thumbs=thumbs, centre=path[seen][nearest])
    few = clip.at(times)
    heading = find_heading(few, there)
    finding = f"{heading}, from the hull's shape and way alone"
    if not _walks(heading, (frames or len(clip)) / clip.fps / (len(few) / few.fps)):
        remedy = (
            f"too little is walked to tell the heading (at least {LEAST_WALK:g} s): the volume "
            "cannot turn with the animal (by_heading), and keypoints may keep to the sides of the "
            "room. Take a longer recording in which it walks, or track this one with a checkpoint "
            "of another, whose look tells the heading at rest; an animal that is held in place "
            "needs none"
        )
        return Check("heading", WARN, finding, remedy=remedy)
    sides = "a recording in which it walks in more directions teaches a better look"
    return Check("heading", PASS, finding, remedy="" if heading.directions >= FROM_SIDES else sides)


def _moments_of_walk(clip: MultiViewClip) -> Tensor:
    """Times (n,) at about `HEADED_FPS`: all, or eight stretches of them."""
    step, ends = max(1, int(clip.fps / HEADED_FPS)), [*clip.starts[1:], len(clip)]
    times = torch.cat([torch.arange(s, e, step) for s, e in zip(clip.starts, ends)])
    if len(times) <= HEADED_FRAMES:
        return times
    length = HEADED_FRAMES // 8
    begins = torch.linspace(0, len(times) - length, 8).long()
    return times[(begins[:, None] + torch.arange(length)).flatten()]


def _walks(heading: Heading, times: float) -> bool:
    """Whether so many times as much walking tells a heading."""
    seconds, lengths = float(heading.walking.sum()) / heading.fps, heading.travelled
    return heading.found or (seconds * times >= LEAST_WALK and lengths * times >= 1)
