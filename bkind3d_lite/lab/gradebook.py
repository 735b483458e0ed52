"""A folder of student notebooks into tables; a hostile notebook costs only itself.

Submissions are copied first, and read from the copy. The tables are written anew, whole, after
every notebook: whatever ends a run, what was graded is there.
"""

from __future__ import annotations

import csv
import logging
import re
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from ..files import refuse_unwritable, write_atomically
from .checks import Result
from .exercises import EXERCISES
from .grading import Graded, Terms, grade_notebook
from .nursery import NurseryGone
from .sandbox import BYTES, FAILED, WAITING

log = logging.getLogger(__name__)
LONG_HEAD = ["student", "exercise", "state", "message", "points", "total", "look"]
CANVAS = re.compile(r"(?P<name>[^_]+)_(?P<late>LATE_)?(?P<id>\d+)_\d+_.*")
MOODLE = re.compile(r"(?P<name>.+)_(?P<id>\d+)_assignsubmission_.*")


@dataclass(frozen=True)
class Worth:
    """What exercises are worth, and until when.

    `points` of each exercise (1 for those not named); `due`, a local time; `late`, percent of the
    points that each day begun after it costs.
    """

    points: dict[str, float] = field(default_factory=dict)
    due: datetime | None = None
    late: float = 0.0

    def __post_init__(self) -> None:
        unknown = sorted(set(self.points) - set(EXERCISES))
        if unknown:
            raise ValueError(f"points of {', '.join(unknown)}: no exercise is called so")

    def of(self, exercise: str) -> float:
        """Points of an exercise that is passed.

        Args:
            exercise: its name.

        Returns:
            1 for those not named.
        """
        return self.points.get(exercise, 1.0)


@dataclass(frozen=True)
class Marked:
    """A student's notebook, graded: `late` in hours after the due date, 0 if in time."""

    student: str
    exercises: tuple[Graded, ...]
    late: float
    worth: Worth

    @property
    def share(self) -> float:
        """What lateness leaves of the points, 0 to 1."""
        days = -(-self.late // 24)
        return max(0.0, 1 - days * self.worth.late / 100)

    @property
    def points(self) -> float:
        """Points after lateness."""
        return self.share * sum(self.worth.of(g.result.name) for g in self.passed)

    @property
    def most(self) -> float:
        """Points of all exercises."""
        return sum(self.worth.of(g.result.name) for g in self.exercises if g.result.name)

    @property
    def passed(self) -> list[Graded]:
        """Exercises that are right."""
        return [g for g in self.exercises if g.result]

    @property
    def total(self) -> str:
        """How many of how many exercises are right."""
        return f"{len(self.passed)}/{sum(g.result.name != '' for g in self.exercises)}"


# ---- grading a folder ----------------------------------------------------------------------------
def grade(
    folder: str | Path,
    out: str | Path = "grades.csv",
    terms: Terms | None = None,
    worth: Worth | None = None,
    jobs: int = 1,
) -> list[Marked]:
    """Grade a folder of notebooks into two tables: `out`, and one row a student beside it.

    Args:
        folder: one `*.ipynb` per student, or a folder for each, as Moodle packs them.
        out: the long table (CSV), a row for each exercise; `NAME_students.csv` is the other.
        terms: how; None: `Terms()`.
        worth: points and the due date.
        jobs: notebooks at a time.

    Returns:
        The students in the folder's order.

    Raises:
        FileNotFoundError: the folder holds no notebook.
        ValueError: a limit that is no time; no fence is to be had.
        NurseryGone: the process from which students' own are forked ended twice.
    """
    out, worth, terms = refuse_unwritable(out, folder=False), worth or Worth(), terms or Terms()
    if not terms.limit > 0:
        raise ValueError(
            f"limit = {terms.limit}: expected seconds above 0, for each process of a notebook"
        )
    paths = _notebooks(Path(folder))
    done: dict[int, Marked] = {}
    with (
        tempfile.TemporaryDirectory(prefix="submissions") as copies,
        ThreadPoolExecutor(jobs) as pool,
    ):
        jobs_at = {
            pool.submit(_marked, path, Path(folder), Path(copies) / f"{i}.ipynb", (terms, worth)): i
            for i, path in enumerate(paths)
        }
        try:
            for job in as_completed(jobs_at):
                done[jobs_at[job]] = job.result()
                write_tables(out, [done[i] for i in sorted(done)])
        finally:
            pool.shutdown(cancel_futures=True)  # Ctrl-C ends it after those at work
    return [done[i] for i in sorted(done)]


def _notebooks(folder: Path) -> list[Path]:
    paths = sorted(p for p in [*folder.glob("*.ipynb"), *folder.glob("*/*.ipynb")])
    paths = [p for p in paths if not any(part.startswith(".") for part in p.parts[-2:])]
    if not paths:
        raise FileNotFoundError(
            f"{folder}: no notebooks (*.ipynb) in this folder; put one file per student there"
        )
    return paths


def _marked(path: Path, folder: Path, copy: Path, how: tuple[Terms, Worth]) -> Marked:
    """One student; a notebook that cannot be read is a row that says so."""
    terms, worth = how
    student = path.relative_to(folder).as_posix()
    try:
        if not path.resolve().is_relative_to(folder.resolve()) or path.is_symlink():
            raise ValueError("a link to a file elsewhere; hand in the notebook itself")
        if path.is_file() and path.stat().st_size <= BYTES:
            shutil.copyfile(path, copy)
        exercises = grade_notebook(copy, terms, student)
    except NurseryGone:
        raise  # not this student's fault, and nobody after them could be graded
    except (ValueError, OSError) as error:
        exercises = [Graded(Result("", FAILED, f"✗ {error}"))]
    except Exception as error:  # what a stranger has thought of and we have not
        log.exception("%s: the grader stopped at this notebook", student)
        why = f"✗ the grader stopped at this notebook ({type(error).__name__}): grade it by hand"
        exercises = [Graded(Result("", FAILED, why), look=("grade by hand",))]
    exercises = exercises or [Graded(Result("", WAITING, "○ no exercise in it"))]
    marked = Marked(student, tuple(exercises), late=_hours_late(path, worth.due), worth=worth)
    log.info("%s: %s", student, marked.total)
    return marked


def _hours_late(path: Path, due: datetime | None) -> float:
    """After the due date, by the file's time; where Canvas says LATE at least an hour."""
    if due is None:
        return 0.0
    handed_in = datetime.fromtimestamp(path.lstat().st_mtime, tz=due.tzinfo)
    hours = max(0.0, (handed_in - due).total_seconds() / 3600)
    canvas = CANVAS.fullmatch(path.stem)
    return max(hours, 1.0) if canvas and canvas["late"] else hours


# ---- the tables ----------------------------------------------------------------------------------
def write_tables(out: Path, students: Sequence[Marked]) -> None:
    """Write both tables, each whole or not at all.

    Args:
        out: the long one; the other lies beside it.
        students: those graded so far.
    """
    rows = [row for student in students for row in _long_rows(student)]
    _write_csv(out, [LONG_HEAD, *rows])
    _write_csv(table_beside(out, "students"), _student_rows(students))


def table_beside(out: Path, what: str) -> Path:
    """A table's place beside the long one.

    Args:
        out: `grades.csv`.
        what: a word.

    Returns:
        `grades_WORD.csv`.
    """
    return out.with_name(f"{out.stem}_{what}{out.suffix or '.csv'}")


def _long_rows(student: Marked) -> list[list[str]]:
    return [
        [
            student.student,
            g.result.name,
            g.result.state,
            g.result.message,
            f"{student.worth.of(g.result.name) if g.result else 0:g}",
            student.total,
            "; ".join(g.look),
        ]
        for g in student.exercises
    ]


def _student_rows(students: Sequence[Marked]) -> list[list[str]]:
    """One row a student, a column for each exercise that anybody has."""
    asked = {g.result.name for s in students for g in s.exercises}
    names = [name for name in EXERCISES if name in asked]
    rows = [["student", *names, "points", "of", "percent", "hours late", "look"]]
    for s in students:
        have = {g.result.name: s.worth.of(g.result.name) if g.result else 0 for g in s.exercises}
        cells = [f"{have[name]:g}" if name in have else "" for name in names]
        percent = f"{100 * s.points / s.most:.1f}" if s.most else ""
        look = str(sum(bool(g.look) for g in s.exercises) or "")
        rows.append(
            [s.student, *cells, f"{s.points:g}", f"{s.most:g}", percent, f"{s.late:.1f}", look]
        )
    return rows


def write_canvas(path: Path, students: Sequence[Marked], title: str) -> Path:
    """A table that Canvas's gradebook imports: students by the numbers in their files' names.

    Args:
        path: the table.
        students: graded.
        title: the assignment's column, with its number as Canvas exports it: `Lab 3 (4711)`.

    Returns:
        `path`.
    """
    head = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", title]
    rows = []
    for s in students:
        name, number = _who(s.student, CANVAS)
        rows.append([name, number, "", "", "", f"{s.points:g}"])
    return _write_csv(path, [head, *rows])


def write_moodle(path: Path, students: Sequence[Marked]) -> Path:
    """A table that Moodle's offline grading worksheet takes, with a line of feedback.

    Args:
        path: the table.
        students: graded.

    Returns:
        `path`.
    """
    head = ["Identifier", "Full name", "Grade", "Maximum grade", "Feedback comments"]
    rows = []
    for s in students:
        name, number = _who(s.student, MOODLE)
        identifier = f"Participant {number}" if number else ""
        rows.append([identifier, name, f"{s.points:g}", f"{s.most:g}", f"{s.total} exercises"])
    return _write_csv(path, [head, *rows])


def _who(student: str, pattern: re.Pattern) -> tuple[str, str]:
    """A name and the number that the platform has put into a file's or a folder's name."""
    for part in student.split("/"):
        if found := pattern.fullmatch(part.removesuffix(".ipynb")):
            return found["name"], found["id"]
    return student.removesuffix(".ipynb"), ""


def _write_csv(path: Path, rows: Iterable[Sequence[str]]) -> Path:
    def write(temporary: Path) -> None:
        with open(temporary, "w", newline="", encoding="utf-8") as handle:
            csv.writer(handle).writerows([[harmless(cell) for cell in row] for row in rows])

    return write_atomically(path, write)


def harmless(cell: str) -> str:
    """What a student wrote, as a cell that no spreadsheet takes for a formula.

    Args:
        cell: of a table.

    Returns:
        The same, behind an apostrophe where it would be one; numbers are numbers.
    """
    number = re.fullmatch(r"-?[\d.]+", cell)
    return f"'{cell}" if re.match(r"[=+\-@\t\r\n]", cell) and not number else cell
