"""What a teacher hands out: the key is whole and kept apart, a release has none of it."""

import doctest
import os
import re
import runpy
import shutil
import subprocess
import sys

import pytest
import torch
from test_grading import NOTEBOOKS

from bkind3d_lite.__main__ import main
from bkind3d_lite.lab.exercises import EXERCISES
from bkind3d_lite.lab.fence import fence_here
from bkind3d_lite.lab.gradebook import grade
from bkind3d_lite.lab.grading import Terms
from bkind3d_lite.lab.handouts import KEPT_BACK, write_key


def test_the_whole_key_is_graded_as_right(tmp_path):
    """Every lesson, solved: 100 percent, and nothing in it to look at."""
    lessons = {exercise.lesson for exercise in EXERCISES.values()}
    assert main(["lab", "key", str(tmp_path / "key")]) == 0
    students = grade(
        tmp_path / "key", tmp_path / "g.csv", Terms(30.0, fence=fence_here(trust=True)), jobs=2
    )
    assert {s.student for s in students} == {f"{lesson}_key.ipynb" for lesson in lessons}
    wrong = [(s.student, g.result, g.look) for s in students for g in s.exercises
             if not g.result or g.look]  # fmt: skip
    assert wrong == []
    asked = {g.result.name for s in students for g in s.exercises}
    assert asked == {name for name, exercise in EXERCISES.items() if not exercise.spare}


def test_the_key_never_lies_beside_the_lessons(capsys):
    for folder in (NOTEBOOKS, NOTEBOOKS / "key"):
        assert main(["lab", "key", str(folder)]) == 1
    assert "would be handed out" in capsys.readouterr().err
    lie = [path.relative_to(NOTEBOOKS) for path in NOTEBOOKS.rglob("*key*")]
    assert not [path for path in lie if path.parts[0] != "runs"]  # what a lesson itself wrote


def test_a_release_has_lessons_but_no_answers(tmp_path):
    folder = tmp_path / "course"
    assert main(["lab", "release", str(folder), "--lessons", "03"]) == 0
    assert [path.name for path in (folder / "notebooks").iterdir()] == ["03_volumes.ipynb"]
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert "bkind3d_lite/lab/checks.py" in files
    assert not any(re.search(r"^docs/|^tests/", f) for f in files)
    kept_back = {file for file in files if KEPT_BACK & set(file.split("/"))}
    assert not kept_back
    asks = (
        "from bkind3d_lite.lab import check, reveal\n"
        "def fuse(volume): return volume.mean(0)\n"
        "check(fuse); reveal('fuse'); check(lambda v: (v.softmax(0) * v).sum(0), 'fuse')"
    )
    env = os.environ | {"PYTHONPATH": str(folder)}
    found = subprocess.run(
        [sys.executable, "-c", asks],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "✗ case 1" in found.stdout and "20 random cases agree" in found.stdout
    words = [sys.executable, "-m", "bkind3d_lite", "lab", "grade", "notebooks"]
    graded = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True)
    assert graded.returncode == 1 and "a release for students has no grader" in graded.stderr
    assert "Traceback" not in graded.stderr
    assert main(["lab", "release", str(folder)]) == 1  # never over what is there
    shutil.rmtree(folder)


def test_otter_tests_tell_right_from_wrong(tmp_path):
    assert main(["lab", "otter", str(tmp_path), "--lessons", "07_losses"]) == 0
    place = tmp_path / "07_losses"
    assert (place / "07_losses.ipynb").is_file() and len(list(place.glob("tests/*.py"))) == 3
    test = runpy.run_path(str(place / "tests" / "separation.py"))["test"]
    code = test["suites"][0]["cases"][0]["code"]
    space = {"torch": torch}
    exec(EXERCISES["separation"].solution, space)
    for answer, failures in ((space["separation"], 0), (lambda points, sigma: 0.0, 1)):
        example = doctest.DocTestParser().get_doctest(
            code, {"separation_by_hand": answer}, "separation", None, 0
        )
        runner = doctest.DocTestRunner(verbose=False)
        assert runner.run(example, out=lambda text: None).failed == failures


def test_a_lesson_that_is_none_is_said(tmp_path, capsys):
    assert main(["lab", "key", str(tmp_path / "k"), "--lessons", "99"]) == 1
    assert "no such lesson; there are 00_" in capsys.readouterr().err
    with pytest.raises(ValueError, match="would be handed out"):
        write_key(NOTEBOOKS)
