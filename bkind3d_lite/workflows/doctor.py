"""Doctor: what is wrong with a recording and its calibration, before a second of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from shlex import quote
from typing import Any

from ..clips.clip import MultiViewClip, Survey, open_clip
from ..clips.label_checks import check_marks, check_truth
from ..clips.recording_checks import (
    check_agreement,
    check_background,
    check_heading,
    check_motion,
    check_offsets,
    check_timing,
)
from ..clips.rig_checks import (
    FAIL,
    PASS,
    WARN,
    Check,
    check_lenses,
    check_notes,
    check_ring,
    check_unit,
)
from ..clips.survey import survey_views
from .recommend import PRESET, PRESET_2D, Prescription, prescribe

MARKS = {PASS: ("✓", "#009E73"), WARN: ("!", "#E69F00"), FAIL: ("✗", "#D55E00")}
VERDICT = {
    PASS: "ready to train",
    WARN: "look at the warnings, then train",
    FAIL: "mend this first",
}
# Frames that the doctor looks at; of longer recordings eight stretches, evenly spread.
DOCTOR_FRAMES = 2000
MOST_FRAMES = 12_000  # of a longer recording, that are trained on
# Bytes for decoded frames, if the command line says nothing of memory.
USUAL_BUDGET = 2_000_000_000
LOOK = 208  # pixels of the longer side at which the doctor looks at a clip


@dataclass
class Diagnosis:
    """All checks of a folder, and what they looked at (None where it could not be opened)."""

    folder: str
    checks: list[Check] = field(default_factory=list)
    clip: MultiViewClip | None = None
    survey: Survey | None = None
    prescribed: Prescription | None = None

    @property
    def state(self) -> str:
        """The worst of all checks."""
        return max((c.state for c in self.checks), key=(PASS, WARN, FAIL).index, default=FAIL)

    def text(self) -> str:
        """The page for a terminal."""
        lines = [self.folder]
        for check in self.checks:
            lines.append(f"{MARKS[check.state][0]} {check.name:24} {check.finding}")
            if check.remedy:
                lines.append(f"{'':27}-> {check.remedy}")
        return "\n".join([*lines, VERDICT[self.state]])

    def table(self) -> str:
        """The checks as an HTML table."""
        rows = "".join(_row(check) for check in self.checks)
        return f"<table><tbody>{rows}</tbody></table>"

    def _repr_html_(self) -> str:
        """The view in a notebook."""
        return f"<b>{escape(self.folder)}</b>: {VERDICT[self.state]}{self.table()}"


def _row(check: Check) -> str:
    mark, colour = MARKS[check.state]
    remedy = f"<br><b>{escape(check.remedy)}</b>" if check.remedy else ""
    return (
        f'<tr><td style="color:{colour};font-weight:700">{mark}</td><td>{escape(check.name)}</td>'
        f'<td style="text-align:left">{escape(check.finding)}{remedy}</td></tr>'
    )


# ---- the examination -----------------------------------------------------------------------------
def examine(folder: str | Path, *, plan: bool = True, **how: Any) -> Diagnosis:
    """Open a folder and ask every question of `rig_checks`, `recording_checks`, `label_checks`.

    Of a recording longer than `DOCTOR_FRAMES`, time and frame counts are checked whole, what the
    images show in eight stretches.

    Args:
        folder: the recording.
        plan: where nothing failed, also what to train it with (`recommend.prescribe`), which
            makes some steps of a training.
        **how: as for `open_clip`.

    Returns:
        The checks; what is wrong with the folder is one of them, never an exception.
    """
    diagnosis = Diagnosis(str(folder))
    try:
        whole = open_clip(folder, **how)
        scale = min(1.0, LOOK / max(whole.rig.wh))
        w, h = (max(32, round(s * scale)) for s in whole.rig.wh)
        small = whole.resized((w, h)).thinned(DOCTOR_FRAMES)
    except (OSError, ValueError) as error:
        diagnosis.checks.append(Check("files", FAIL, str(error)))
        return diagnosis
    diagnose(small, diagnosis, whole)
    if plan and diagnosis.state != FAIL:
        words = [quote(str(folder)), *command_words(**how)]
        diagnosis.checks.append(planned(diagnosis, " ".join(words)))
    return diagnosis


def diagnose(
    clip: MultiViewClip, diagnosis: Diagnosis | None = None, whole: MultiViewClip | None = None
) -> Diagnosis:
    """Ask the questions about an open clip.

    Args:
        clip: to look at.
        diagnosis: to be filled in; None: a new one.
        whole: the same at its own image size and length, for figures in its pixels.

    Returns:
        The diagnosis.
    """
    diagnosis = Diagnosis(clip.name) if diagnosis is None else diagnosis
    whole = clip if whole is None else whole
    diagnosis.clip, rig = clip, whole.rig
    checks = [_files(clip, whole), check_notes(rig), check_timing(whole)]
    if rig.calibrated:
        checks += [check_lenses(rig), check_unit(rig), check_ring(rig)]
    try:
        diagnosis.survey = survey_views(clip)
    except ValueError as error:
        checks.append(Check("motion", FAIL, str(error)))
        diagnosis.checks += [check for check in checks if check is not None]
        return diagnosis
    checks += _about_views(clip, diagnosis.survey, min(len(whole), MOST_FRAMES))
    checks.append(check_marks(whole))
    answers = [check for check in checks if check is not None]
    diagnosis.checks += [_forgiven(check, answers) for check in answers]
    return diagnosis


def _files(clip: MultiViewClip, whole: MultiViewClip) -> Check:
    """What was opened."""
    rig = whole.rig
    looked = f", {len(clip)} of them looked at" if len(clip) < len(whole) else ""
    films = getattr(whole.frames, "videos", ())
    own = rig.sizes or (rig.wh,) * rig.views
    other = [
        f"{name} {film.wh[0]} x {film.wh[1]} px for a calibration of {wh[0]} x {wh[1]} px"
        for name, film, wh in zip(rig.names, films, own)
        if film.wh != wh
    ]
    turned = [f"{n} is {f.turn}, as its file says" for n, f in zip(rig.names, films) if _turn(f)]
    sizes = " and ".join(f"{w} x {h}" for w, h in dict.fromkeys(own))
    cameras = f"{rig.views} cameras" if rig.calibrated else "1 camera without a calibration"
    if len(whole.starts) > 1 and not rig.calibrated:
        cameras += f", {len(whole.starts)} stretches"
    finding = (
        f"{cameras} ({', '.join(rig.names)}), {len(whole)} frames at "
        f"{whole.fps:g} fps{looked}, {'; '.join([f'{sizes} px', *other, *turned])}"
    )
    return Check("files", PASS, finding)


def _turn(film: object) -> object:
    return getattr(film, "turn", None)


def _about_views(clip: MultiViewClip, survey: Survey, frames: int) -> list[Check | None]:
    """What the images show, alone and together; some of it only where the views agree."""
    alone: list[Check | None] = [check_background(clip, survey), check_motion(clip, survey)]
    if not clip.rig.calibrated:
        return alone
    agreement = check_agreement(clip, survey)
    checks = [*alone, agreement]
    offsets = check_offsets(clip, survey) if agreement.state == PASS else None
    heading = None if agreement.state == FAIL else check_heading(clip, survey, frames)
    return [*checks, offsets, heading, check_truth(clip, survey)]


def _forgiven(check: Check, checks: list[Check]) -> Check:
    """An unusual lens is no matter for a warning where the views agree with it.

    Cropped videos have their principal points anywhere.
    """
    agree = any(c.name == "agreement" and c.state == PASS for c in checks)
    if agree and check.name == "lenses" and check.state == WARN:
        finding = f"unusual, but the views agree: {check.finding}"
        return replace(check, state=PASS, finding=finding, remedy="")
    return check


def obstacles(clip: MultiViewClip, survey: Survey | None) -> list[Check]:
    """What would make a training useless.

    Args:
        clip: to be trained on.
        survey: of the clip; without one the views' agreement is not asked for.

    Returns:
        The failed checks of the cameras and of their agreement; of an uncalibrated one, none.
    """
    if not clip.rig.calibrated:
        return []
    checks = [check_unit(clip.rig), check_ring(clip.rig)]
    if survey is not None:
        checks.append(check_agreement(clip, survey))
    return [check for check in checks if check.state == FAIL]


# ---- the prescription ----------------------------------------------------------------------------
def planned(diagnosis: Diagnosis, folder: str) -> Check:
    """Volume, preset, memory and time, and the command that trains with them.

    Args:
        diagnosis: of an open, surveyed clip; it gets the prescription.
        folder: as the command line names it, and how it is opened.

    Returns:
        A check whose remedy is the command.

    Raises:
        ValueError: the diagnosis has no clip or no survey.
    """
    clip, survey = diagnosis.clip, diagnosis.survey
    if clip is None or survey is None:
        raise ValueError(f"{diagnosis.folder}: nothing to plan for, it was not opened and surveyed")
    try:
        preset = PRESET if clip.rig.calibrated else PRESET_2D
        plan = diagnosis.prescribed = prescribe(clip, survey, preset)
    except ValueError as error:
        remedy = "choose another recipe, or a longer recording"
        return Check("plan", WARN, str(error), remedy=remedy)
    return Check(
        name="plan",
        state=PASS if plan.fits else WARN,
        finding=plan.message(clip.rig.unit),
        remedy=f"python -m bkind3d_lite train --clip {folder} --recipe {plan.recipe.name} "
        "--out runs/mine",
    )


def command_words(
    offsets: Mapping[str, int] | None = None,
    common: bool = False,
    resample: bool = False,
    cameras: Sequence[str] | None = None,
    budget: int = USUAL_BUDGET,
    one_camera: bool = False,
    **values: object,
) -> list[str]:
    """How a folder is opened, as words of the command line.

    Args:
        offsets: {camera: frames} that it is read later.
        common: whether unequal videos are cut.
        resample: whether they are brought to one rate.
        cameras: that are used; None: all.
        budget: bytes for decoded frames, half of what `--memory` says.
        one_camera: whether all videos are of one uncalibrated camera.
        **values: other options of `open_clip`; None is left out.

    Returns:
        The words.
    """
    lags = [f"{name}={frames}" for name, frames in (offsets or {}).items()]
    options = {key: str(value) for key, value in values.items() if value is not None}
    if budget != USUAL_BUDGET:
        options["memory"] = f"{2 * budget / 1e9:g}"
    return [
        *(["--offset", *lags] if lags else []),
        *(["--common"] if common else []),
        *(["--one-camera"] if one_camera else []),
        *(["--resample"] if resample else []),
        *(["--cameras", *map(quote, cameras)] if cameras else []),
        *(f"--{key} {quote(value)}" for key, value in options.items()),
    ]
