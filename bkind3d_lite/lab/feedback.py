"""A page for each student: what was asked, what the grader says, and their own answer beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from html import escape
from pathlib import Path
from string import Template

from ..files import write_atomically
from .exercises import EXERCISES
from .gradebook import Marked
from .grading import Graded

STUDENT_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>$student</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
section { border-top: 1px solid GrayText; padding: .5rem 0; }
pre { overflow-x: auto; padding: .6rem; border: 1px solid GrayText; border-radius: 4px; }
</style></head><body>
<h1>$student</h1>
<p>$points of $most points: $total exercises are right.$late</p>
$exercises
</body></html>
""")
EXERCISE_PART = Template("""<section><h2>$name</h2>
<p>$task</p>
<p><strong>$message</strong> ($points of $most points)</p>
$source</section>
""")


def write_feedback(folder: Path, students: Sequence[Marked]) -> Path:
    """Write the pages.

    Args:
        folder: gets one page a student, called as the notebook.
        students: graded.

    Returns:
        `folder`.
    """
    for student in students:
        name = re.sub(r"[^\w.-]+", "_", student.student.removesuffix(".ipynb")).lstrip(".")
        text = feedback_page(student)
        page = folder / f"{name or 'student'}.html"
        write_atomically(page, partial(Path.write_text, data=text, encoding="utf-8"))
    return folder


def feedback_page(student: Marked) -> str:
    """One student's page.

    Args:
        student: graded.

    Returns:
        HTML that needs nothing beside it; what a student wrote is text in it, never markup.
    """
    hours = f" Handed in {student.late:.0f} hours late: {student.share:.0%} of the points count."
    return STUDENT_PAGE.substitute(
        student=escape(student.student),
        points=f"{student.points:g}",
        most=f"{student.most:g}",
        total=student.total.replace("/", " of "),
        late=hours if student.late else "",
        exercises="".join(_section(student, graded) for graded in student.exercises),
    )


def _section(student: Marked, graded: Graded) -> str:
    exercise = EXERCISES.get(graded.result.name)
    worth = student.worth.of(graded.result.name)
    return EXERCISE_PART.substitute(
        name=escape(graded.result.name or "the notebook"),
        task=escape(exercise.task) if exercise else "",
        message=escape(graded.result.message),
        points=f"{worth if graded.result else 0:g}",
        most=f"{worth:g}",
        source=f"<pre>{escape(graded.source)}</pre>\n" if graded.source else "",
    )
