"""Grading: a folder of student notebooks into one table; a hostile notebook costs only itself.

The student's code answers, the grader judges: a separate process is given the definitions out of the exercise cells and fresh random
inputs, and hands back numbers. The expected numbers never enter that process, so nothing that it prints, patches or writes can make
a wrong answer right. It runs in a process group of its own, in an empty folder, with a bare environment, and under limits of time,
memory and file size. That is a fence against accidents and pranks, no prison: it is still a process of your user, so grade the work of people you
do not know at all inside a container or as a user of its own.
"""

from __future__ import annotations

import ast
import csv
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from ..files import bundled, write_atomically
from .checks import Result, judge, random_cases, verdict
from .exercises import EXERCISES
from .exercises.entry import Exercise
from .sandbox import BYTES, FAILED, WAITING, plain, unplain

START = 180.0  # seconds until a process has imported torch, on a busy machine; the student's own time begins then
LESSONS = bundled("notebooks")


@dataclass(frozen=True)
class CellStep:
    """What one code cell defines: statements to run, and the exercises it answers, each by a variable."""

    source: str
    names: dict[str, str]


# ---- reading a notebook, without running it ----------------------------------------------------------------------
def steps(path: Path) -> list[CellStep]:
    """Imports, definitions and constants of every code cell, in order; exercises count only in cells that `check` them or are so tagged.

    Raises `ValueError` if the file is no notebook.
    """
    if not path.is_file() or path.stat().st_size > BYTES:
        raise ValueError(f"not a plain file of at most {BYTES >> 20} MB")
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = [
            (cell["source"], cell.get("metadata", {}).get("tags", []))
            for cell in cells
            if cell["cell_type"] == "code"
        ]
        code = [("".join(source), "exercise" in tags) for source, tags in code]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a notebook ({type(error).__name__})") from error
    return [step for source, tagged in code if (step := _step(source, tagged)) is not None]


def _step(source: str, tagged: bool) -> CellStep | None:
    text = "\n".join(
        "" if line.lstrip().startswith(("%", "!")) else line for line in source.split("\n")
    )
    checks = tagged or "check(" in text
    try:
        tree = ast.parse(text)
        kept = [node for node in tree.body if _defines(node, checks)]
        source = "\n".join(ast.unparse(node) for node in kept)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        named = {
            name: name
            for name in EXERCISES
            if checks
            and re.search(rf"\bdef\s+{name}\b|^{name}\s*=|\bcheck\(.*['\"]{name}['\"]", text, re.M)
        }
        where = f" in line {error.lineno}" if isinstance(error, SyntaxError) else ""
        return (
            CellStep(f"raise SyntaxError({f'the cell does not parse{where}'!r})", named)
            if named
            else None
        )
    return CellStep(source, _answered(tree, kept) if checks else {}) if kept else None


def _defines(node: ast.stmt, exercise: bool) -> bool:
    """Definitions and imports; assignments in exercise cells, and elsewhere those of plain constants."""
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        return exercise or isinstance(node.value, (ast.Constant, ast.Tuple, ast.List))
    return isinstance(node, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef))


def _answered(tree: ast.Module, kept: list[ast.stmt]) -> dict[str, str]:
    """Exercises that a cell answers, each with the variable that holds the answer: a function written in this cell, or a value.

    By its name, or by `check(variable, "exercise")`.
    """
    functions = {node.name for node in kept if isinstance(node, ast.FunctionDef)}
    assigned = {
        t.id: node.value
        for node in kept
        if isinstance(node, ast.Assign)
        for t in node.targets
        if isinstance(t, ast.Name)
    }
    functions |= {name for name, value in assigned.items() if isinstance(value, ast.Lambda)}
    pairs = {name: name for name in (*functions, *assigned)} | dict(
        map(_asked, (n for n in ast.walk(tree) if isinstance(n, ast.Call)))
    )
    return {
        exercise: held
        for exercise, held in pairs.items()
        if exercise in EXERCISES
        and held in (assigned if EXERCISES[exercise].is_value else functions)
    }


def _asked(call: ast.Call) -> tuple[str, str]:
    """(exercise, variable) of a call `check(variable)` or `check(variable, "exercise")`; of any other call ("", "")."""
    if not (
        isinstance(call.func, ast.Name)
        and call.func.id == "check"
        and call.args
        and isinstance(call.args[0], ast.Name)
    ):
        return "", ""
    named = [*call.args[1:2], *(k.value for k in call.keywords if k.arg == "name")]
    return (
        named[0].value if named and isinstance(named[0], ast.Constant) else call.args[0].id
    ), call.args[0].id


def expected(found: list[str]) -> list[str]:
    """The exercises a student should have: those found, and those of the original lessons they come from."""
    lessons = {EXERCISES[name].lesson for name in found}
    originals = [LESSONS / f"{lesson}.ipynb" for lesson in sorted(lessons)]
    asked = [
        name for path in originals if path.is_file() for step in steps(path) for name in step.names
    ]
    wanted = {*found, *asked}
    return [name for name in EXERCISES if name in wanted]


# ---- asking, in processes of their own ---------------------------------------------------------------------------
def grade_notebook(path: Path, limit: float = 60.0) -> list[Result]:
    """One result per exercise of a student's notebook; an exercise that ends its process is failed, the others are asked again."""
    todo = steps(path)
    names = expected([name for step in todo for name in step.names])
    results = {name: Result(name, WAITING, "○ not attempted yet") for name in names}
    open_names = {name for step in todo for name in step.names}
    while open_names:  # every round leaves one cell or one exercise fewer
        seed = secrets.randbelow(10**9)
        cases = {name: random_cases(EXERCISES[name], seed) for name in open_names}
        said, how = _answers(
            {
                "steps": [[step.source, step.names] for step in todo],
                "cases": {n: plain(c) for n, c in cases.items()},
            },
            limit,
        )
        for name in [name for name in open_names if name in said]:
            results[name] = _judged(EXERCISES[name], cases[name], said[name])
            open_names.discard(name)
        if not open_names:
            break
        todo, blamed = _without_the_last(todo, said.get("at"), open_names)
        for name in blamed:
            results[name] = Result(name, FAILED, f"✗ {how}")
        open_names -= blamed
    return list(results.values())


def _without_the_last(
    todo: list[CellStep], at: object, open_names: set[str]
) -> tuple[list[CellStep], set[str]]:
    """After a process ended early: the steps without the cell it ended in, and the exercises that are to blame."""
    if isinstance(at, int) and 0 <= at < len(todo):
        return [step for i, step in enumerate(todo) if i != at], open_names & set(todo[at].names)
    return todo, {at} if isinstance(at, str) and at in open_names else set(open_names)


def _judged(exercise: Exercise, cases: list[tuple], said: object) -> Result:
    """What a process claims, believed as far as it goes: numbers are compared here; of words only a failure or 'not attempted' counts."""
    try:
        if "stop" in said:
            state, message = said["stop"]
            if state == WAITING:
                return Result(exercise.name, WAITING, "○ not attempted yet")
            return Result(
                exercise.name, FAILED, f"✗ {' '.join(str(message).split()).lstrip('✗✓○ ')[:300]}"
            )
        answers = [unplain(x) for x in said["answers"]]
        if len(answers) != len(cases):
            raise ValueError("answers are missing")
        return (
            judge(exercise, answers[0]) if exercise.is_value else verdict(exercise, cases, answers)
        )
    except (KeyError, TypeError, ValueError, RuntimeError, OverflowError, IndexError) as error:
        return Result(
            exercise.name, FAILED, f"✗ the answer cannot be read ({type(error).__name__})"
        )


def _answers(program: dict, limit: float) -> tuple[dict, str]:
    """Run a program in a process: what it said, by exercise, where it was last (`at`), and how it ended."""
    package = str(Path(__file__).parents[2])
    with (
        tempfile.TemporaryDirectory(prefix="grading", ignore_cleanup_errors=True) as folder,
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as back,
    ):
        given.write(json.dumps(program).encode())
        given.seek(0)
        mark = secrets.token_hex(16)
        bare = {
            "PATH": os.defpath,
            "PYTHONPATH": package,
            "HOME": folder,
            "TMPDIR": folder,
            "OMP_NUM_THREADS": "1",
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            "GRADING_MARK": mark,
        }
        bare |= {
            key: os.environ[key] for key in ("SYSTEMROOT", "LD_LIBRARY_PATH") if key in os.environ
        }
        child = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.sandbox"],
            stdin=given,
            stdout=back,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env=bare,
            start_new_session=True,
        )
        try:
            how = _waited(child, back, limit)
        finally:
            _end(child, mark)
        back.seek(0)
        return _said(back.read(BYTES + 1)), how


def _waited(child: subprocess.Popen, back, limit: float) -> str:
    """Wait for the end of a process, at most `limit` seconds from its first word on; how it ended."""
    begun = time.monotonic()
    ready = None
    while (code := child.poll()) is None:
        now = time.monotonic()
        ready = now if ready is None and os.fstat(back.fileno()).st_size else ready
        if now - (begun if ready is None else ready) > (START if ready is None else limit):
            return f"no answer within {START if ready is None else limit:g} seconds"
        time.sleep(0.02)
    return (
        f"the process ended with exit code {code}"
        if code >= 0
        else f"the process was ended by signal {-code}"
    )


def _end(child: subprocess.Popen, mark: str) -> None:
    """End the process, its group, and (Linux) whatever of its offspring left the group but carries its mark."""
    if hasattr(os, "killpg"):
        _kill(os.killpg, child.pid)
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                mine = f"GRADING_MARK={mark}".encode() in (entry / "environ").read_bytes()
            except OSError:
                continue  # gone, or another user's
            if mine:
                _kill(os.kill, int(entry.name))
    if child.poll() is None:
        child.kill()
    child.wait()


def _kill(how, number: int) -> None:
    try:
        how(number, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return  # ended already


def _said(text: bytes) -> dict:
    """The lines a process wrote, by exercise; lines that are no answers are left out."""
    said: dict = {}
    for line in text.split(b"\n") if len(text) <= BYTES else []:
        try:
            key, value = json.loads(line)
        except (ValueError, TypeError, RecursionError):
            continue
        if key == "at" or key in EXERCISES and isinstance(value, dict):
            said[key] = value
    return said


# ---- the table ---------------------------------------------------------------------------------------------------
def grade(
    folder: str | Path, out: str | Path = "grades.csv", limit: float = 60.0, show=print
) -> Path:
    """Grade every `*.ipynb` of a folder, `limit` seconds for each process, and write the table: student, exercise, state, message, total.

    Raises `FileNotFoundError` if the folder holds no notebook, `ValueError` for a limit that is no time.
    """
    if not limit > 0:
        raise ValueError(
            f"limit = {limit}: expected seconds above 0, for each process of a notebook"
        )
    paths = sorted(Path(folder).glob("*.ipynb"))
    if not paths:
        raise FileNotFoundError(
            f"{folder}: no notebooks (*.ipynb) in this folder; put one file per student there"
        )
    rows = [row for path in paths for row in _rows(path, limit, show)]
    return write_atomically(out, lambda temporary: _write(temporary, rows))


def _rows(path: Path, limit: float, show) -> list[list[str]]:
    try:
        results = grade_notebook(path, limit)
    except ValueError as error:
        results = [Result("", FAILED, f"✗ {error}")]
    total = f"{sum(map(bool, results))}/{sum(r.name != '' for r in results)}"
    show(f"{path.name}: {total}")
    student = (
        path.name if path.name[0] not in "=+-@" else f"'{path.name}"
    )  # no formulas for a spreadsheet
    return [
        [student, r.name, r.state, r.message, total]
        for r in results or [Result("", WAITING, "○ no exercise in it")]
    ]


def _write(path: Path, rows: list[list[str]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([["student", "exercise", "state", "message", "total"], *rows])
