"""Doctor: what is wrong with a folder of videos and its calibration, before a second of training."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from shlex import quote

from ..clips.clip import MultiViewClip, Survey, open_clip
from ..clips.recording_checks import (
    FAIL,
    PASS,
    WARN,
    Check,
    check_agreement,
    check_background,
    check_lenses,
    check_marks,
    check_motion,
    check_offsets,
    check_ring,
    check_timing,
    check_truth,
    check_unit,
)
from ..clips.survey import survey_views
from .recommend import Prescription, prescribe

MARKS = {PASS: ("✓", "#009E73"), WARN: ("!", "#E69F00"), FAIL: ("✗", "#D55E00")}
VERDICT = {
    PASS: "ready to train",
    WARN: "look at the warnings, then train",
    FAIL: "mend this first",
}
DOCTOR_FRAMES = 2000  # frames that the doctor looks at; of longer recordings eight stretches, evenly spread
USUAL_BUDGET = 2_000_000_000  # bytes for decoded frames, if the command line says nothing of memory
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
        lines = [
            f"{MARKS[c.state][0]} {c.name:24} {c.said}"
            + (f"\n{'':27}-> {c.remedy}" if c.remedy else "")
            for c in self.checks
        ]
        return "\n".join([self.folder, *lines, VERDICT[self.state]])

    def table(self) -> str:
        """The checks as an HTML table."""
        rows = (
            f'<tr><td style="color:{MARKS[c.state][1]};font-weight:700">{MARKS[c.state][0]}</td><td>{escape(c.name)}</td><td style="text-align:left">'
            f"{escape(c.said)}"
            + (f"<br><b>{escape(c.remedy)}</b>" if c.remedy else "")
            + "</td></tr>"
            for c in self.checks
        )
        return f"<table><tbody>{''.join(rows)}</tbody></table>"

    def _repr_html_(self) -> str:
        """The view in a notebook."""
        return f"<b>{escape(self.folder)}</b>: {VERDICT[self.state]}{self.table()}"


def examine(folder: str | Path, subject=None, plan: bool = True, **how) -> Diagnosis:
    """Open a folder as `open_clip(folder, **how)` does and ask every question of `questions`; never raises for what is wrong with the folder.

    Of a recording longer than `MOST` frames, time and frame counts are checked whole, what the images show in eight stretches.
    plan: where nothing failed, also what to train it with (`prescription`), which makes some steps of a training.
    """
    found = Diagnosis(str(folder))
    try:
        whole = open_clip(folder, subject=subject, **how)
        scale = min(1.0, LOOK / max(whole.rig.wh))
        found.clip = whole.resized(tuple(max(32, round(s * scale)) for s in whole.rig.wh)).thinned(
            DOCTOR_FRAMES
        )
    except (OSError, ValueError) as error:
        found.checks.append(Check("files", FAIL, str(error)))
        return found
    diagnose(found.clip, found, whole)
    if plan and found.state != FAIL:
        found.checks.append(
            planned(found, " ".join([quote(str(folder)), *_words(subject=subject, **how)]))
        )
    return found


def _words(offsets=None, common: bool = False, budget: int = USUAL_BUDGET, **said) -> list[str]:
    """How a folder is opened, as words of the command line; of the memory, half is for decoded frames."""
    lags = [f"{name}={frames}" for name, frames in (offsets or {}).items()]
    said = {key: str(value) for key, value in said.items() if value is not None} | (
        {} if budget == USUAL_BUDGET else {"memory": f"{2 * budget / 1e9:g}"}
    )
    return [
        *(["--offset", *lags] if lags else []),
        *(["--common"] if common else []),
        *(f"--{key} {quote(value)}" for key, value in said.items()),
    ]


def planned(found: Diagnosis, folder: str) -> Check:
    """Volume, preset, memory and time, and the command that trains with them; folder: and how it is opened."""
    try:
        found.prescribed = prescribe(found.clip, found.survey)
    except ValueError as error:
        return Check("plan", WARN, str(error), "choose another recipe, or a longer recording")
    command = f"python -m bkind3d_lite train --clip {folder} --recipe {found.prescribed.recipe.name} --out runs/mine"
    return Check(
        "plan",
        PASS if found.prescribed.fits else WARN,
        found.prescribed.said(found.clip.rig.unit),
        command,
    )


def diagnose(
    clip: MultiViewClip, found: Diagnosis | None = None, whole: MultiViewClip | None = None
) -> Diagnosis:
    """The questions about an open clip; `whole`: the same at its own image size and length, for figures in its pixels."""
    found = Diagnosis(clip.name) if found is None else found
    found.clip, whole = clip, whole or clip
    rig, some = whole.rig, f", {len(clip)} of them looked at" if len(clip) < len(whole) else ""
    other = sorted({film.wh for film in getattr(whole.frames, "videos", ())} - {rig.wh})
    some += (
        f", videos of {' and '.join(f'{w} x {h}' for w, h in other)} px for a calibration of"
        if other
        else ","
    )
    found.checks.append(
        Check(
            "files",
            PASS,
            f"{clip.rig.views} cameras ({', '.join(clip.rig.names)}), {len(whole)} frames at {clip.fps:g} fps{some} "
            f"{rig.wh[0]} x {rig.wh[1]} px",
        )
    )
    found.checks += [
        check
        for check in (check_timing(whole), *(question(rig) for question in (check_lenses, check_unit, check_ring)))
        if check is not None
    ]
    try:
        found.survey = survey_views(clip)
    except ValueError as error:
        found.checks.append(Check("motion", FAIL, str(error)))
        return found
    found.checks += [question(clip, found.survey) for question in (check_background, check_motion, check_agreement)]
    if found.checks[-1].state == PASS:
        found.checks.append(check_offsets(clip, found.survey))
    found.checks += [check_truth(clip, found.survey), check_marks(whole)]
    found.checks = [_forgiven(c, found.checks) for c in found.checks if c is not None]
    return found


def _forgiven(check: Check, checks: list[Check]) -> Check:
    """An unusual lens is no matter for a warning where the views agree with it: cropped videos have their principal points anywhere."""
    fine = any(c is not None and c.name == "agreement" and c.state == PASS for c in checks)
    return (
        replace(check, state=PASS, said=f"unusual, but the views agree: {check.said}", remedy="")
        if fine and check.name == "lenses" and check.state == WARN
        else check
    )


def obstacles(clip: MultiViewClip, seen: Survey | None) -> list[Check]:
    """What would make a training useless: the failed checks of the cameras and, where a survey was made, of their agreement."""
    asked = [check_unit(clip.rig), check_ring(clip.rig)] + ([check_agreement(clip, seen)] if seen is not None else [])
    return [check for check in asked if check.state == FAIL]
