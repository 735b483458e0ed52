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


def submissions(folder: Path, students: int) -> None:
    """Write notebooks: every lesson in turn, its first cells solved, the others as handed out."""
    (key,) = {path.parent for path in write_key(folder / ".key")}
    lessons = chosen_lessons()
    for number in range(students):
        lesson = lessons[number % len(lessons)]
        book = json.loads(lesson.read_text(encoding="utf-8"))
        solved = json.loads((key / f"{lesson.stem}_key.ipynb").read_text(encoding="utf-8"))
        part = len(book["cells"]) * (1 + number % 3) // 3
        book["cells"][:part] = solved["cells"][:part]
        (folder / f"student_{number:02}.ipynb").write_text(json.dumps(book), encoding="utf-8")


def main() -> None:
    """Grade once, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--students", type=int, default=40)
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as room:
        folder = Path(room) / "handed_in"
        folder.mkdir()
        submissions(folder, given.students)
        terms = Terms(fence=fence_here(trust=True))
        begun, cpu = time.monotonic(), time.process_time()
        students = grade(folder, Path(room) / "grades.csv", terms, jobs=given.jobs)
        seconds = time.monotonic() - begun
    exercises = sum(len(student.exercises) for student in students)
    right = sum(len(student.passed) for student in students)
    print(
        f"{len(students)} notebooks, {exercises} exercises ({right} right), fence {terms.fence}, "
        f"{given.jobs} at a time: {seconds:.1f} s, of which the grader itself "
        f"{time.process_time() - cpu:.1f} CPU s"
    )


if __name__ == "__main__":
    main()
