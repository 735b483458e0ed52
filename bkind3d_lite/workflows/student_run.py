"""The verb `student`: a network that reads 3D poses from one image, taught by labels of several.

A training as every other: `train_folder` with a recipe whose lift is integral. What comes on top
is the examination.
"""

from __future__ import annotations

import csv
import io
import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..clips.clip import MultiViewClip, open_clip
from ..clips.lessons import roots
from ..clips.pseudo_labels import PseudoLabels, load_labels, pseudo_labels
from ..evaluation import aligned_mpjpe, n_mpjpe
from ..files import write_atomically
from ..students.student import all_pictures, in_camera, recite
from ..training.loop import Run
from .train_run import CHECKPOINT, train_folder

log = logging.getLogger(__name__)
OF_THE_TRUTH = "the box and the root's depth"  # of the truth, as in the paper's protocol
ASKED = 100  # moments that are asked


def teach_folder(
    clip: str | Path,
    labels: str | Path,
    out: str | Path,
    *,
    recipe: str = "student",
    test: str | Path | None = None,
    resume: bool = False,
    **how: Any,
) -> Run:
    """Teach a student the labels of a recording, and score it where there is truth.

    Args:
        clip: the recording's folder.
        labels: what `bkind3d pseudo` wrote for it.
        out: the run's folder, as of `train_folder`; also scores.csv.
        recipe: that learns from labels.
        test: a recording with truth of joints of the same names, to be asked.
        resume: go on from the checkpoint in `out`, if there is one.
        **how: as for `train_folder`.

    Returns:
        The finished run.
    """
    asked = None if test is None else _asked(Path(test), labels)  # refused now, not at the end
    goes_on = resume and (Path(out) / CHECKPOINT).is_file()
    run = train_folder(clip, None if goes_on else recipe, out, labels=labels, resume=resume, **how)
    if asked is not None:
        examine_student(run, load_labels(labels), asked, Path(out) / "scores.csv")
    return run


def _asked(folder: Path, labels: str | Path) -> MultiViewClip:
    """A recording with truth of the labels' joints."""
    clip = open_clip(folder)
    truth = pseudo_labels(clip, None, "truth", times=slice(None, None, max(1, len(clip) // ASKED)))
    try:
        return truth.joints(load_labels(labels).names).of(clip)
    except ValueError as error:
        raise ValueError(f"--test {folder}: {error}") from error


def examine_student(run: Run, taught: PseudoLabels, asked: MultiViewClip, path: Path) -> None:
    """Errors on pictures with truth, beside the mean pose, as a table; it says what was told.

    The mean pose is of what was taught, or, where that has another unit (cameras that were
    found), of the truth itself.

    Args:
        run: finished.
        taught: what it has learned from.
        asked: a clip with truth.
        path: of the table (CSV).
    """
    picks = all_pictures(asked)
    where = in_camera(asked, picks)
    about = taught.world - roots(taught.world, taught.names)[:, None]
    known = (about[:, None] @ taught.rig.R.mT).flatten(0, 1)  # of all cameras
    mean = (known if taught.rig.unit == asked.rig.unit else where).nanmean(0).expand_as(where)
    rows = [("poses", "N-MPJPE", "P-MPJPE", "unit", "pictures", "told of the truth")]
    said = {"student": recite(run.model, run.recipe, asked, picks), "mean pose": mean}
    for name, poses in said.items():
        n, p = _errors(poses, where)
        log.info("%-10s N-MPJPE %7.2f   P-MPJPE %7.2f %s", name, n, p, asked.rig.unit)
        told = OF_THE_TRUTH if name == "student" else "the root"
        rows.append((name, f"{n:.3f}", f"{p:.3f}", asked.rig.unit, str(len(where)), told))
    log.info("of the truth it was told %s (%d pictures)", OF_THE_TRUTH, len(where))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_atomically(path, lambda file: file.write_text(text.getvalue(), encoding="utf-8"))


def _errors(poses: Tensor, where: Tensor) -> list[float]:
    """N- and P-MPJPE."""
    errors = n_mpjpe(poses, where), aligned_mpjpe(poses, where, scale=True)
    return [float(torch.nanmean(e)) for e in errors]
