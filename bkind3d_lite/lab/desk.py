"""The teacher's desk: what the verb `lab` does with the words of its command line."""

from __future__ import annotations

import logging
import math
import secrets
from argparse import Namespace
from datetime import datetime
from pathlib import Path

from .exercises import EXERCISES
from .feedback import write_feedback
from .fence import TRUST, fence_here
from .gradebook import Worth, grade, table_beside, write_canvas, write_moodle
from .grading import Terms
from .handouts import write_key, write_otter, write_release
from .similarity import write_similarity

log = logging.getLogger(__name__)


def grade_folder(given: Namespace) -> list[Path]:
    """Grade as the command line says.

    Args:
        given: what `lab grade` was given.

    Returns:
        The tables and the folder that were written.

    Raises:
        ValueError: a word that cannot be read; no fence is to be had.
    """
    worth = Worth(_points(given.points), due=_due(given.due), late=given.late)
    terms = Terms(
        limit=given.limit,
        seed=given.seed or secrets.token_hex(8),
        lessons=known_lessons(given.lessons),
        fence=fence_here(given.trust),
    )
    how = "no fence: students' code has your rights" if terms.fence == TRUST else "fenced"
    log.info("%s (%s); repeat with --seed %s", how, terms.fence, terms.seed)
    out = Path(given.out)
    students = grade(given.folder, out, terms, worth, given.jobs)
    written = [out, table_beside(out, "students")]
    if given.canvas:
        written.append(write_canvas(table_beside(out, "canvas"), students, given.canvas))
    if given.moodle:
        written.append(write_moodle(table_beside(out, "moodle"), students))
    if given.similar:
        written.append(write_similarity(table_beside(out, "similar"), students))
    if given.feedback:
        written.append(write_feedback(Path(given.feedback), students))
    return written


def known_lessons(names: list[str]) -> tuple[str, ...]:
    """Lessons by their notebooks' names.

    Args:
        names: as a person writes them: `03_volumes`, or `03`.

    Returns:
        Their full names.

    Raises:
        ValueError: there is no such lesson; names those that are.
    """
    lessons = list(dict.fromkeys(exercise.lesson for exercise in EXERCISES.values()))
    found = []
    for name in names:
        meant = [lesson for lesson in lessons if lesson == name or lesson.partition("_")[0] == name]
        if not meant:
            raise ValueError(f"--lessons {name}: no such lesson; there are {', '.join(lessons)}")
        found += meant
    return tuple(found)


def _points(words: list[str]) -> dict[str, float]:
    points = {}
    for word in words:
        name, _, number = word.partition("=")
        try:
            points[name] = float(number)
        except ValueError:
            raise ValueError(f"--points {word}: expected EXERCISE=POINTS, as fuse=2") from None
        if not 0 <= points[name] < math.inf:
            raise ValueError(f"--points {word}: points are 0 or more")
    return points


def _due(word: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(word) if word else None
    except ValueError:
        raise ValueError(f"--due {word}: expected a time, as 2026-12-01T18:00") from None


def _key(given: Namespace) -> list[Path]:
    return write_key(given.folder, known_lessons(given.lessons))


def _release(given: Namespace) -> list[Path]:
    return [write_release(given.folder, known_lessons(given.lessons))]


def _otter(given: Namespace) -> list[Path]:
    return write_otter(given.folder, known_lessons(given.lessons))


TASKS = {"grade": grade_folder, "key": _key, "release": _release, "otter": _otter}
