"""The verb `student`: a network that reads 3D poses from one image, taught by labels of several."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from ..clips.clip import open_clip
from ..clips.pseudo_labels import load_labels, pseudo_labels
from ..evaluation import aligned_mpjpe, n_mpjpe
from ..files import Table
from ..students.occlusion import Occluders, blobs, voc_objects
from ..students.pictures import Augment, Pictures, labelled_pictures
from ..students.student import (
    Student,
    StudentRecipe,
    begin_schooling,
    recite,
    save_student,
    teach_student,
)

log = logging.getLogger(__name__)
SEVERAL = 50  # steps between rows of losses.csv
STUDENT_FILE = "student.safetensors"


def teach_folder(
    clip: str | Path,
    labels: str | Path,
    out: str | Path,
    *,
    test: str | Path | None = None,
    views: Sequence[str] = (),
    steps: int | None = None,
    size: int = 96,
    occlude: str | None = None,
    seed: int = 0,
    **opening: Any,
) -> Path:
    """Teach a student the labels of a recording, and score it where there is truth.

    Args:
        clip: the recording's folder.
        labels: what `bkind3d pseudo` wrote for it.
        out: folder for student.safetensors and losses.csv.
        test: a recording with truth of joints of the same names, to be asked.
        views: cameras that teach; (): all.
        steps: of training; None: the recipe's.
        size: of the crops, in pixels.
        occlude: `blobs`, or the folder of Pascal VOC 2012; None: nothing is pasted over crops.
        seed: of weights and draws.
        **opening: of `open_clip`.

    Returns:
        The checkpoint.
    """
    recording, known = open_clip(clip, **opening), load_labels(labels)
    numbers = [_camera(known.rig.names, name) for name in views] or None
    recipe = StudentRecipe(image_wh=(size, size), steps=steps or StudentRecipe.steps)
    taught = labelled_pictures(recording, known, numbers)
    asked = None if test is None else _asked(Path(test), known.names)  # refused now, not at the end
    lesson = begin_schooling(recipe, taught, seed)
    table = Table(Path(out) / "losses.csv", 0)
    bar = tqdm(
        teach_student(lesson, taught, Augment(occlude=_occluders(occlude))), total=recipe.steps
    )
    for loss in bar:
        if lesson.step % SEVERAL == 0 or lesson.step == recipe.steps:
            recent = lesson.losses[-SEVERAL:]
            table.add({"step": lesson.step, "pose": sum(recent) / len(recent)})
            bar.set_postfix(pose=f"{loss:.4f}", refresh=False)
    path = save_student(lesson, Path(out) / STUDENT_FILE)
    log.info("%d pictures of %d joints; wrote %s", len(taught), len(taught.names), path)
    if asked is not None:
        _score(lesson.student, taught, *asked)
    return path


def _camera(names: Sequence[str], name: str) -> int:
    if name not in names:
        raise ValueError(f"--views {name}: the labels' cameras are {', '.join(names)}")
    return list(names).index(name)


def _occluders(what: str | None) -> Occluders | None:
    """A bank by its word or folder."""
    if what is None:
        return None
    return Occluders(blobs() if what == "blobs" else voc_objects(what))


def _asked(folder: Path, names: Sequence[str]) -> tuple[Pictures, str]:
    """Pictures of a recording with truth of these joints, and its unit."""
    clip = open_clip(folder)
    truth = pseudo_labels(clip, None, "truth", times=slice(None, None, max(1, len(clip) // 100)))
    try:
        return labelled_pictures(clip, truth.joints(names)), clip.rig.unit
    except ValueError as error:
        raise ValueError(f"--test {folder}: {error}") from error


def _score(student: Student, taught: Pictures, asked: Pictures, unit: str) -> None:
    """Errors on pictures with truth; the box and the root's depth are the truth's.

    The mean pose beside it is of what was taught, or, where that has another unit (cameras that
    were found), of the truth itself.
    """
    said, where = recite(student, asked, asked.side), asked.in_camera()
    same = taught.rig.unit == unit
    mean = (taught if same else asked).in_camera().nanmean(0).expand_as(where)
    for name, poses in (("student", said), ("mean pose", mean)):
        n, p = (
            float(e.nanmean()) for e in (n_mpjpe(poses, where), aligned_mpjpe(poses, where, True))
        )
        log.info("%-10s N-MPJPE %7.2f   P-MPJPE %7.2f %s", name, n, p, unit)
    log.info("of the truth it was told the box and the root's depth (%d pictures)", len(asked))
