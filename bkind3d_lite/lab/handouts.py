"""What a teacher hands out or keeps: the lessons solved, a release for students, otter's tests."""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from string import Template

from ..files import bundled, text_of, write_atomically
from .exercises import EXERCISES
from .exercises.entry import KEY
from .submissions import Submission, submission_of

HOME = Path(__file__).resolve().parents[2]  # the clone
# of a clone, what students need beside the lessons: enough to install the package from
RELEASED = ("pyproject.toml", "README.md", "LICENSE", "CITATION.cff", "tools/bundle.py")
KEPT_BACK = {
    *(KEY.name, "grading.py", "gradebook.py", "feedback.py", "similarity.py", "handouts.py"),
    *("suspicion.py", "desk.py", "__pycache__"),
}
# A solution may use these though its lesson does not import them.
IMPORTS = {"math": "import math", "F": "from torch.nn import functional as F"}
OTTER_TEST = Template('''OK_FORMAT = True

test = {
    "name": "$exercise",
    "points": 1,
    "suites": [
        {
            "cases": [
                {
                    "code": """>>> from bkind3d_lite.lab.checks import judge
>>> from bkind3d_lite.lab.exercises import EXERCISES
>>> judge(EXERCISES["$exercise"], $variable).state
'passed'""",
                    "hidden": False,
                }
            ],
            "scored": True,
            "setup": "",
            "teardown": "",
            "type": "doctest",
        }
    ],
}
''')


def chosen_lessons(names: Iterable[str] = ()) -> list[Path]:
    """The lessons that ask something.

    Args:
        names: of their notebooks; none: all.

    Returns:
        Their paths.
    """
    asking = dict.fromkeys(exercise.lesson for exercise in EXERCISES.values())
    return [bundled("notebooks") / f"{name}.ipynb" for name in tuple(names) or asking]


# ---- the key -------------------------------------------------------------------------------------
def write_key(folder: str | Path, lessons: Iterable[str] = ()) -> list[Path]:
    """Write the lessons with a solution in place of every stub.

    Args:
        folder: for `LESSON_key.ipynb`; not that of the lessons, which students get.
        lessons: names of notebooks; none: all.

    Returns:
        The notebooks written.

    Raises:
        ValueError: the folder is the lessons' own, or lies inside it.
        FileNotFoundError: this copy of the package has no key.
    """
    folder, own = Path(folder), bundled("notebooks").resolve()
    if own in (folder.resolve(), *folder.resolve().parents):
        raise ValueError(
            f"{folder}: the lessons' own folder; a key beside them would be handed out"
        )
    if not KEY.is_file():
        raise FileNotFoundError(f"{KEY} is not there: a release for students has no key")
    written = []
    for path in chosen_lessons(lessons):
        text = json.dumps(_solved(path), indent=1, ensure_ascii=False) + "\n"
        write = partial(Path.write_text, data=text, encoding="utf-8")
        written.append(write_atomically(folder / f"{path.stem}_key.ipynb", write))
    return written


def _solved(path: Path) -> dict:
    book, asked = json.loads(text_of(path)), submission_of(path)
    code = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    for number in asked.tagged:
        code[number]["source"] = _solved_cell(asked, number).splitlines(keepends=True)
    return book


def _solved_cell(asked: Submission, number: int) -> str:
    """A cell's text with its stubs replaced, from the last to the first."""
    lines = asked.cells[number].split("\n")
    bound = {name for s in asked.statements for name in s.binds}
    for exercise, variable in reversed(asked.variables.items()):
        stubs = [s.node for s in asked.statements if s.cell == number and variable in s.binds]
        if stubs:
            lines[stubs[0].lineno - 1 : stubs[0].end_lineno] = _solution(exercise, variable, bound)
    return "\n".join(lines)


def _solution(exercise: str, variable: str, bound: set[str]) -> list[str]:
    """A solution's lines under the lesson's name for it, with the imports that the lesson lacks."""
    text = EXERCISES[exercise].solution.replace(f"def {exercise}(", f"def {variable}(", 1)
    used = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    return [*(IMPORTS[name] for name in IMPORTS if name in used - bound), *text.split("\n")]


# ---- for students --------------------------------------------------------------------------------
def write_release(folder: str | Path, lessons: Iterable[str] = ()) -> Path:
    """Write what students get: lessons, samples and the package, without key, docs, tests, grader.

    Args:
        folder: a new folder; a lesson in there finds the package around it.
        lessons: names of notebooks; none: all.

    Returns:
        `folder`.

    Raises:
        FileExistsError: it is there already.
        FileNotFoundError: this is no clone: an installed package is not handed on.
    """
    folder = Path(folder)
    if folder.exists():
        raise FileExistsError(f"{folder} is there already; choose a new folder for the release")
    missing = [name for name in RELEASED if not (HOME / name).is_file()]
    if missing:
        raise FileNotFoundError(f"{HOME / missing[0]} is not there: make a release from a clone")
    half = folder.with_name(f".{folder.name}.tmp")
    try:
        for name in RELEASED:
            (half / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(HOME / name, half / name)
        hidden = shutil.ignore_patterns(*KEPT_BACK, "bundled")
        shutil.copytree(HOME / "bkind3d_lite", half / "bkind3d_lite", ignore=hidden)
        shutil.copytree(bundled("data_samples"), half / "data_samples")
        (half / "notebooks").mkdir()
        for path in chosen_lessons(lessons):
            shutil.copyfile(path, half / "notebooks" / path.name)
        half.rename(folder)
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return folder


def write_otter(folder: str | Path, lessons: Iterable[str] = ()) -> list[Path]:
    """Write lessons as otter-grader takes them: a notebook, and a test of each exercise.

    The tests call the package's own check; otter's container needs the package.

    Args:
        folder: gets `LESSON/LESSON.ipynb` and `LESSON/tests/EXERCISE.py`.
        lessons: names of notebooks; none: all.

    Returns:
        The lessons' folders.
    """
    written = []
    for path in chosen_lessons(lessons):
        place = Path(folder) / path.stem
        (place / "tests").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place / path.name)
        for exercise, variable in submission_of(path).variables.items():
            test = OTTER_TEST.substitute(exercise=exercise, variable=variable)
            write = partial(Path.write_text, data=test, encoding="utf-8")
            write_atomically(place / "tests" / f"{exercise}.py", write)
        written.append(place)
    return written
