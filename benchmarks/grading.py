"""Seconds to grade a class: 40 notebooks of all lessons, solved in part, behind the fence here.

python benchmarks/grading.py --students 40 --jobs 2
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from bkind3d_lite.lab.fence import fence_here
from bkind3d_lite.lab.gradebook import grade
from bkind3d_lite.lab.grading import Terms
from bkind3d_lite.lab.handouts import chosen_lessons, write_key
from bkind3d_lite.lab.submissions import submission_of


def submissions(folder: Path, students: int) -> dict[str, set[str]]:
    """Write notebooks: every lesson in turn, its first cells solved, the others as handed out.

    Returns:
        The exercises that each notebook, by its name, has solved.
    """
    solved_in = {}
    (key,) = {path.parent for path in write_key(folder / ".key")}
    lessons = chosen_lessons()
    for number in range(students):
        lesson = lessons[number % len(lessons)]
        book = json.loads(lesson.read_text(encoding="utf-8"))
        solved = json.loads((key / f"{lesson.stem}_key.ipynb").read_text(encoding="utf-8"))
        part = len(book["cells"]) * (1 + number % 3) // 3
        book["cells"][:part] = solved["cells"][:part]
        path = folder / f"student_{number:02}.ipynb"
        path.write_text(json.dumps(book), encoding="utf-8")
        book["cells"] = book["cells"][:part]
        begun = folder / ".key" / "begun.ipynb"
        begun.write_text(json.dumps(book), encoding="utf-8")
        solved_in[path.name] = set(submission_of(begun).variables)
    return solved_in


def main() -> None:
    """Grade once, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--students", type=int, default=40)
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as room:
        folder = Path(room) / "handed_in"
        folder.mkdir()
        solved = submissions(folder, given.students)
        terms = Terms(fence=fence_here(trust=True))
        begun, cpu = time.monotonic(), time.process_time()
        students = grade(folder, Path(room) / "grades.csv", terms, jobs=given.jobs)
        seconds = time.monotonic() - begun
    exercises = sum(len(student.exercises) for student in students)
    right = sum(len(student.passed) for student in students)
    for student in students:
        passed = {graded.result.name for graded in student.passed}
        assert passed == solved[student.student], (student.student, passed)
    print(
        f"{len(students)} notebooks, {exercises} exercises ({right} right), fence {terms.fence}, "
        f"{given.jobs} at a time: {seconds:.1f} s, of which the grader itself "
        f"{time.process_time() - cpu:.1f} CPU s"
    )


if __name__ == "__main__":
    main()
