"""What the verb `lab` takes."""

from __future__ import annotations

from argparse import ArgumentParser

from .usage import ABOVE_0, COUNT, PERCENT


def add_lab(verb: ArgumentParser) -> None:
    """The tasks of `lab`.

    Args:
        verb: its parser.
    """
    tasks = verb.add_subparsers(dest="task", required=True)
    _grade(tasks.add_parser("grade", help="check every notebook's exercises, write tables"))
    for task, purpose in (
        ("key", "write the lessons solved, to look at and to grade"),
        ("release", "write what students get: lessons, samples, package, without any key"),
        ("otter", "write the lessons as assignments of otter-grader"),
    ):
        parser = tasks.add_parser(task, help=purpose)
        parser.add_argument("folder", help="a new folder")
        parser.add_argument("--lessons", nargs="+", default=[], help="as 03_volumes (default: all)")


def _grade(task: ArgumentParser) -> None:
    add = task.add_argument
    add("folder", help="one .ipynb per student, or a folder for each")
    add("--out", default="grades.csv", help="the table (CSV); others lie beside it")
    seconds = "seconds for each process (default: 60)"
    add("--limit", type=ABOVE_0, default=60.0, help=seconds)
    add("--jobs", type=COUNT, default=1, help="notebooks at a time (default: 1)")
    add("--lessons", nargs="+", default=[], help="expected of everybody, as 03_volumes")
    worth = "what exercises are worth (default: 1 each)"
    add("--points", nargs="+", default=[], metavar="EXERCISE=POINTS", help=worth)
    add("--due", metavar="TIME", help="2026-12-01T18:00, local time; later files are marked late")
    percent = "percent of the points that each day after --due costs (default: 0)"
    add("--late", type=PERCENT, default=0.0, metavar="PERCENT", help=percent)
    add("--canvas", metavar="TITLE", help="also a table for Canvas, of this assignment")
    add("--moodle", action="store_true", help="also a table for Moodle's grading worksheet")
    add("--feedback", metavar="FOLDER", help="also a page for each student")
    add("--similar", action="store_true", help="also a table of answers that are much alike")
    add("--seed", help="draws each student's cases; give the same again to repeat a grading")
    add(
        "--trust",
        action="store_true",
        help="where there is no fence: students' code has your rights",
    )
