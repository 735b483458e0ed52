"""Grading: a folder of student notebooks into one table; a hostile notebook costs only itself.

The student's code answers, the grader judges: a separate process is given the definitions out of
the exercise cells and fresh random inputs, and hands back numbers. The expected numbers never enter
that process, so nothing that it prints, patches or writes can make a wrong answer right. It runs in
a process group of its own, in an empty folder, with a bare environment, and under limits of time,
memory and file size. That is a fence against accidents and pranks, no prison: it is still a process
of your user, so grade the work of people you do not know at all inside a container or as a user of
its own.
"""

from __future__ import annotations

import ast
import csv
import json
import logging
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..files import bundled, refuse_unwritable, text_of, write_atomically
from .checks import Result, judge, random_cases, verdict
from .exercises import EXERCISES
from .exercises.entry import Exercise
from .sandbox import BYTES, FAILED, WAITING, plain, python_of, unplain

log = logging.getLogger(__name__)
# seconds until a process has imported torch, on a busy machine; the student's own time begins then
START = 180.0
LESSONS = bundled("notebooks")


@dataclass(frozen=True)
class CellStep:
    """What one code cell defines: statements to run, and its exercises, each with a variable."""

    source: str
    names: dict[str, str]


# ---- reading a notebook, without running it ------------------------------------------------------
def steps(path: Path) -> list[CellStep]:
    """Imports, definitions and constants of every code cell, in order.

    Exercises count only in cells that `check` them or are so tagged.

    Args:
        path: a notebook; it is read, never run.

    Returns:
        A step for each cell that defines something.

    Raises:
        ValueError: the file is no notebook, or too large for one.
    """
    if not path.is_file() or path.stat().st_size > BYTES:
        raise ValueError(f"not a plain file of at most {BYTES >> 20} MB")
    try:
        cells = json.loads(text_of(path))["cells"]
        code = [
            ("".join(cell["source"]), "exercise" in cell.get("metadata", {}).get("tags", []))
            for cell in cells
            if cell["cell_type"] == "code"
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a notebook ({type(error).__name__})") from error
    return [step for source, tagged in code if (step := _step(source, tagged)) is not None]


def _step(source: str, tagged: bool) -> CellStep | None:
    """What a cell defines; None if it defines nothing."""
    text = python_of(source)
    checks = tagged or "check(" in text
    try:
        tree = ast.parse(text)
        definitions = [node for node in tree.body if _defines(node, checks)]
        source = "\n".join(ast.unparse(node) for node in definitions)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return _broken(text, error) if checks else None
    if not definitions:
        return None
    return CellStep(source, _answered(tree, definitions) if checks else {})


def _broken(text: str, error: Exception) -> CellStep | None:
    """In place of a cell that does not parse: a step that stops, for the exercises it names."""
    mention = r"\bdef\s+{0}\b|^{0}\s*=|\bcheck\(.*['\"]{0}['\"]"
    names = {name: name for name in EXERCISES if re.search(mention.format(name), text, re.M)}
    where = f" in line {error.lineno}" if isinstance(error, SyntaxError) else ""
    why = f"the cell does not parse{where}"
    return CellStep(f"raise SyntaxError({why!r})", names) if names else None


def _defines(node: ast.stmt, exercise: bool) -> bool:
    """Definitions and imports; assignments in exercise cells, elsewhere those of constants."""
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        return exercise or isinstance(node.value, (ast.Constant, ast.Tuple, ast.List))
    return isinstance(node, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef))


def _answered(tree: ast.Module, definitions: list[ast.stmt]) -> dict[str, str]:
    """Exercises that a cell answers, each with the variable that holds the answer.

    A function written in this cell, or a value; by its name, or by `check(variable, "exercise")`.
    """
    functions = {node.name for node in definitions if isinstance(node, ast.FunctionDef)}
    values = {
        target.id: node.value
        for node in definitions
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    functions |= {name for name, value in values.items() if isinstance(value, ast.Lambda)}
    variables = {name: name for name in (*functions, *values)}
    variables |= dict(_asked(node) for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {
        exercise: variable
        for exercise, variable in variables.items()
        if exercise in EXERCISES
        and variable in (values if EXERCISES[exercise].is_value else functions)
    }


def _asked(call: ast.Call) -> tuple[str, str]:
    """(exercise, variable) of a call `check(variable)` or `check(variable, "exercise")`.

    Of any other call ("", "").
    """
    if not (isinstance(call.func, ast.Name) and call.func.id == "check" and call.args):
        return "", ""
    answer = call.args[0]
    if not isinstance(answer, ast.Name):
        return "", ""
    names = [*call.args[1:2], *(k.value for k in call.keywords if k.arg == "name")]
    if names and isinstance(names[0], ast.Constant):
        return str(names[0].value), answer.id
    return answer.id, answer.id


def expected(answered: list[str]) -> list[str]:
    """The exercises a student should have: so nobody gains by deleting one.

    Args:
        answered: names of the exercises in the notebook.

    Returns:
        These, and those of the original lessons they come from, in the table's order.
    """
    lessons = {EXERCISES[name].lesson for name in answered}
    originals = [LESSONS / f"{lesson}.ipynb" for lesson in sorted(lessons)]
    names = set(answered)
    for path in originals:
        if path.is_file():
            names |= {name for step in steps(path) for name in step.names}
    return [name for name in EXERCISES if name in names]


# ---- asking, in processes of their own -----------------------------------------------------------
def grade_notebook(path: Path, limit: float = 60.0) -> list[Result]:
    """Ask the exercises of a student's notebook, and judge.

    An exercise that ends its process is failed, the others are asked again.

    Args:
        path: the notebook.
        limit: seconds for each process.

    Returns:
        One result per exercise.

    Raises:
        ValueError: the file is no notebook.
    """
    todo = steps(path)
    names = expected([name for step in todo for name in step.names])
    results = {name: Result(name, WAITING, "○ not attempted yet") for name in names}
    open_names = {name for step in todo for name in step.names}
    while open_names:  # every round leaves one cell or one exercise fewer
        seed = secrets.randbelow(10**9)
        cases = {name: random_cases(EXERCISES[name], seed) for name in open_names}
        claims, how = _answers(_program(todo, cases), limit)
        for name in [name for name in open_names if name in claims]:
            results[name] = _judged(EXERCISES[name], cases[name], claims[name])
            open_names.discard(name)
        if not open_names:
            break
        todo, blamed = _without_the_last(todo, claims.get("at"), open_names)
        for name in blamed:
            results[name] = Result(name, FAILED, f"✗ {how}")
        open_names -= blamed
    return list(results.values())


def _program(todo: list[CellStep], cases: dict[str, list[tuple]]) -> dict:
    """What `sandbox` reads."""
    return {
        "steps": [[step.source, step.names] for step in todo],
        "cases": {name: plain(inputs) for name, inputs in cases.items()},
    }


def _without_the_last(
    todo: list[CellStep], at: object, open_names: set[str]
) -> tuple[list[CellStep], set[str]]:
    """After a process ended early: the steps without the cell it ended in, and who is to blame."""
    if isinstance(at, int) and 0 <= at < len(todo):
        return [step for i, step in enumerate(todo) if i != at], open_names & set(todo[at].names)
    return todo, {at} if isinstance(at, str) and at in open_names else set(open_names)


def _judged(exercise: Exercise, cases: list[tuple], claim: dict) -> Result:
    """What a process claims, believed as far as it goes.

    Numbers are compared here; of words only a failure or 'not attempted' counts.
    """
    try:
        if "stop" in claim:
            state, message = claim["stop"]
            if state == WAITING:
                return Result(exercise.name, WAITING, "○ not attempted yet")
            words = " ".join(str(message).split()).lstrip("✗✓○ ")[:300]
            return Result(exercise.name, FAILED, f"✗ {words}")
        answers = [unplain(x) for x in claim["answers"]]
        if len(answers) != len(cases):
            raise ValueError("answers are missing")
        if exercise.is_value:
            return judge(exercise, answers[0])
        return verdict(exercise, cases, answers)
    except (KeyError, TypeError, ValueError, RuntimeError, OverflowError, IndexError) as error:
        why = f"✗ the answer cannot be read ({type(error).__name__})"
        return Result(exercise.name, FAILED, why)


def _answers(program: dict, limit: float) -> tuple[dict, str]:
    """Run a program in a process: claims by exercise, where it was last (`at`); how it ended."""
    with (
        tempfile.TemporaryDirectory(prefix="grading", ignore_cleanup_errors=True) as folder,
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as back,
    ):
        given.write(json.dumps(program).encode())
        given.seek(0)
        mark = secrets.token_hex(16)
        child = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.sandbox"],
            stdin=given,
            stdout=back,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env=_bare_environment(folder, mark),
            start_new_session=True,
        )
        try:
            how = _waited(child, back, limit)
        finally:
            _end(child, mark)
        back.seek(0)
        return _claims(back.read(BYTES + 1)), how


def _bare_environment(folder: str, mark: str) -> dict[str, str]:
    """No secrets, one thread, a home that is `folder`, and the mark by which `_end` finds it."""
    bare = {
        "PATH": os.defpath,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "HOME": folder,
        "TMPDIR": folder,
        "OMP_NUM_THREADS": "1",
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "GRADING_MARK": mark,
    }
    needed = ("SYSTEMROOT", "LD_LIBRARY_PATH")  # to start Python at all, on some systems
    return bare | {key: os.environ[key] for key in needed if key in os.environ}


def _waited(child: subprocess.Popen, back: IO[bytes], limit: float) -> str:
    """Wait for the end of a process, at most `limit` seconds from its first word; how it ended."""
    since, most, ready = time.monotonic(), START, False
    while (code := child.poll()) is None:
        if not ready and os.fstat(back.fileno()).st_size:  # its first word
            since, most, ready = time.monotonic(), limit, True
        if time.monotonic() - since > most:
            return f"no answer within {most:g} seconds"
        time.sleep(0.02)
    if code < 0:
        return f"the process was ended by signal {-code}"
    return f"the process ended with exit code {code}"


def _end(child: subprocess.Popen, mark: str) -> None:
    """End a process, its group, and (Linux) offspring that left the group but carries its mark."""
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


def _kill(how: Callable[[int, int], None], number: int) -> None:
    try:
        how(number, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return  # ended already


def _claims(text: bytes) -> dict:
    """The lines a process wrote, by exercise; lines that are no answers are left out."""
    claims: dict = {}
    for line in text.split(b"\n") if len(text) <= BYTES else []:
        try:
            key, value = json.loads(line)
        except (ValueError, TypeError, RecursionError):
            continue
        if key == "at" or key in EXERCISES and isinstance(value, dict):
            claims[key] = value
    return claims


# ---- the table -----------------------------------------------------------------------------------
def grade(folder: str | Path, out: str | Path = "grades.csv", limit: float = 60.0) -> Path:
    """Grade a folder of notebooks into one table: student, exercise, state, message, total.

    Args:
        folder: one `*.ipynb` per student.
        out: the table (CSV), written whole or not at all.
        limit: seconds for each process of a notebook.

    Returns:
        The table's path.

    Raises:
        FileNotFoundError: the folder holds no notebook.
        ValueError: a limit that is no time.
    """
    if not limit > 0:
        raise ValueError(
            f"limit = {limit}: expected seconds above 0, for each process of a notebook"
        )
    out = refuse_unwritable(out, folder=False)
    paths = sorted(Path(folder).glob("*.ipynb"))
    if not paths:
        raise FileNotFoundError(
            f"{folder}: no notebooks (*.ipynb) in this folder; put one file per student there"
        )
    rows = [row for path in paths for row in _rows(path, limit)]
    return write_atomically(out, lambda temporary: _write(temporary, rows))


def _rows(path: Path, limit: float) -> list[list[str]]:
    """The table's rows of one student."""
    try:
        results = grade_notebook(path, limit)
    except ValueError as error:
        results = [Result("", FAILED, f"✗ {error}")]
    total = f"{sum(map(bool, results))}/{sum(r.name != '' for r in results)}"
    log.info("%s: %s", path.name, total)
    # no formulas for a spreadsheet
    student = f"'{path.name}" if path.name[0] in "=+-@" else path.name
    results = results or [Result("", WAITING, "○ no exercise in it")]
    return [[student, r.name, r.state, r.message, total] for r in results]


def _write(path: Path, rows: list[list[str]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([["student", "exercise", "state", "message", "total"], *rows])
