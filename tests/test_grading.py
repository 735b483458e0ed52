"""Grading: whatever a notebook does, it costs only itself."""

import csv
import json
import os
import re
import time
from pathlib import Path

import pytest

from bkind3d_lite.__main__ import main
from bkind3d_lite.lab import grading
from bkind3d_lite.lab.checks import FAILED, PASSED, WAITING

GOOD = "def fuse(volume):\n    return (volume.softmax(0) * volume).sum(0)\ncheck(fuse)"
ALSO = "def soft_argmax(logits, points):\n    return logits.softmax(0) @ points\ncheck(soft_argmax)"
SETUP = "import torch\nfrom bkind3d_lite.lab import check"
LIMIT = 15.0  # of a student's own time; nothing here takes a tenth of it


def notebook(path: Path, *sources: str) -> Path:
    cells = [
        {
            "cell_type": "code",
            "id": f"c{i}",
            "metadata": {},
            "source": source,
            "outputs": [],
            "execution_count": None,
        }
        for i, source in enumerate((SETUP, *sources))
    ]
    path.write_text(
        json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}),
        encoding="utf-8",
    )
    return path


@pytest.fixture
def graded(tmp_path, monkeypatch):
    """`graded(cells...)` -> {exercise: (state, message)}.

    Only the exercises that are in the notebook are expected.
    """
    monkeypatch.setattr(grading, "LESSONS", tmp_path / "none")

    def grade(*sources, limit=LIMIT):
        return {
            r.name: (r.state, r.message)
            for r in grading.grade_notebook(notebook(tmp_path / "student.ipynb", *sources), limit)
        }

    return grade


def test_right_wrong_and_untouched(graded):
    wrong = (
        "def soft_argmax(logits, points):\n    return points[logits.argmax()]\ncheck(soft_argmax)"
    )
    stub = "def unproject(maps, ndc):\n    ...\ncheck(unproject)"
    value = "pairs_of_fifteen = 15 * 14 // 2\ncheck(pairs_of_fifteen, 'pairs_of_fifteen')"
    found = graded(GOOD, wrong, stub, value)
    assert (
        found["fuse"] == (PASSED, "✓ 20 random cases agree")
        and found["pairs_of_fifteen"][0] == PASSED
    )
    assert found["soft_argmax"][0] == FAILED and "hard argmax" in found["soft_argmax"][1]
    assert found["unproject"][0] == WAITING


def test_an_answer_under_another_name_is_found_by_its_check(tmp_path):
    cell = GOOD.replace("fuse(volume)", "mine(volume)").replace(
        "check(fuse)", "check(mine, 'fuse')\nn = 105\ncheck(n, name='pairs_of_fifteen')"
    )
    (step,) = [step for step in grading.steps(notebook(tmp_path / "a.ipynb", cell)) if step.names]
    assert step.names == {"fuse": "mine", "pairs_of_fifteen": "n"} and "check" not in step.source


def test_forged_words_are_not_believed(graded):
    """Prints, a patched check or package, lines written to every open file: still wrong."""
    patch = (
        "import bkind3d_lite.lab.sandbox as answering, os, sys\n"
        "class Liar:\n"
        "    answering.ask = lambda *a: ([], ('passed', '✓ 20 random cases agree'))\n"
        "    sys.modules['bkind3d_lite.lab'].check = lambda *a: '✓ 20 random cases agree'\n"
        "    print('✓ 20 random cases agree')\n"
    )
    forge = (
        "    import json, os\n"
        "    passed = {'stop': ['passed', '✓']}, {'answers': []}, {'answers': [1] * 20}\n"
        "    for claim in (*passed, 'passed', {'stop': 1}, {}):\n"
        "        for fd in range(3, 12):\n"
        "            try: os.write(fd, (json.dumps(['NAME', claim]) + chr(10)).encode())\n"
        "            except OSError: pass\n"
    )
    wrong = f"def fuse(volume):\n{forge}    return volume.mean(0)\ncheck(fuse)".replace(
        "NAME", "fuse"
    )
    ends = f"def skew(v):\n{forge}    os._exit(0)\ncheck(skew)".replace("NAME", "skew")
    assert {name: state for name, (state, _) in graded(patch, wrong, ends).items()} == {
        "fuse": FAILED,
        "skew": FAILED,
    }


def test_what_crashes_costs_only_itself(graded):
    ends = {
        "fuse(volume)": ("import os; os._exit(0)", "exit code 0"),
        "skew(v)": ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "signal 9"),
        "clipped(gradient, most)": ("while True: pass", "no answer within 3 seconds"),
    }
    fails = {
        "segment_distance(points, a, b)": ("raise SystemExit(3)", "SystemExit"),
        "group_norm(x, groups)": ("return group_norm(x, groups)", "RecursionError"),
        "align(found, truth)": ("return bytearray(8 << 30)", "MemoryError"),
        "bottleneck(maps, weights)": ("return 'a' * 10", "the answer is a str"),
        "pair_chance(energy)": ("return torch.zeros(10**6)", "far too large"),
    }
    cells = [
        f"def {head}:\n    {body}\ncheck({head.split('(')[0]})"
        for head, (body, _) in (ends | fails).items()
    ]
    found = graded(*cells, ALSO, limit=3.0)
    for head, (_, said) in (ends | fails).items():
        state, message = found[head.split("(")[0]]
        assert state == FAILED and said in message, (head, message)
    assert found["soft_argmax"][0] == PASSED


def test_cells_that_crash_or_do_not_parse(graded):
    found = graded(
        "import os\nos._exit(1)\nwhile True: pass",
        "class A:\n    import os; os._exit(1)",
        GOOD,
        "%matplotlib inline\n!ls",
        "def soft_argmax(logits, points)\n    return 1\ncheck(soft_argmax)",
        "x = 1 / 0\ndef unproject(maps, ndc):\n    return maps\ncheck(unproject)",
    )
    assert found["fuse"][0] == PASSED  # calls and loops between the definitions are not run at all
    assert (
        "does not parse in line 1" in found["soft_argmax"][1]
        and "ZeroDivisionError" in found["unproject"][1]
    )


@pytest.mark.parametrize(
    "source",
    [
        "x = " + "1 + " * 50_000 + "1",
        "(" * 5_000,
        "x = '\0'",
        "x = " + "-" * 50_000 + "1",
        "f" + "(f)" * 20_000,
    ],
)
def test_sources_made_to_break_a_parser_break_nothing(tmp_path, source):
    """The grader parses before it asks: whatever comes of it is a state of that cell."""
    found = grading.steps(
        notebook(
            tmp_path / "a.ipynb",
            f"def fuse(volume):\n    return volume\n{source}\ncheck(fuse)",
            ALSO,
        )
    )
    assert {name for step in found for name in step.names} == {"fuse", "soft_argmax"}


def test_an_imported_answer_is_no_answer(graded):
    wrong = GOOD.replace("volume.softmax(0)", "volume.softmax(1)")
    found = graded(
        "from bkind3d_lite.volumes import soft_argmax\ncheck(soft_argmax)",
        wrong,
        "from bkind3d_lite.volumes import fuse",
    )
    assert found.keys() == {"fuse"} and found["fuse"][0] == FAILED


def test_secrets_and_files_stay_out_of_reach(graded, tmp_path, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "secret")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "keep.txt").write_text("kept")
    body = (
        "    import os, shutil\n"
        "    assert 'MY_TOKEN' not in os.environ and os.environ['HOME'] == os.getcwd()\n"
        "    for name in os.listdir('.'):\n"
        "        shutil.rmtree(name, True) if os.path.isdir(name) else os.remove(name)\n"
        "    assert not os.listdir('.')\n"
    )
    assert graded(GOOD.replace("    return", body + "    return", 1))["fuse"][0] == PASSED
    assert (tmp_path / "keep.txt").read_text() == "kept"


@pytest.mark.skipif(
    not Path("/proc/self/environ").exists(),
    reason="offspring that left its group is found by /proc: Linux only",
)
def test_offspring_is_ended(graded, tmp_path):
    note = tmp_path / "pid"
    fork = (
        "def fuse(volume):\n    import os, time\n    if os.fork() == 0:\n        os.setsid()\n"
        f"        open({str(note)!r}, 'w').write(str(os.getpid()))\n        time.sleep(600)\n"
        f"    while not os.path.exists({str(note)!r}): time.sleep(0.05)\n"
        "    time.sleep(0.2)\n    os._exit(0)\ncheck(fuse)"
    )
    assert graded(fork)["fuse"][0] == FAILED
    number = int(note.read_text())
    for _ in range(50):
        if (
            not Path(f"/proc/{number}").exists()
            or "State:\tZ" in Path(f"/proc/{number}/status").read_text()
        ):
            return
        time.sleep(0.1)
    os.kill(number, 9)
    pytest.fail("a forked process outlived its notebook")


def test_a_deleted_exercise_is_missed(tmp_path, monkeypatch):
    notebook(tmp_path / "03_volumes.ipynb", GOOD, ALSO)
    monkeypatch.setattr(grading, "LESSONS", tmp_path)
    assert (
        grading.expected(["soft_argmax"]) == ["fuse", "soft_argmax"] and grading.expected([]) == []
    )


def test_a_folder_becomes_a_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(grading, "LESSONS", tmp_path / "none")
    folder = tmp_path / "class"
    folder.mkdir()
    notebook(folder / "ada.ipynb", GOOD, ALSO)
    notebook(folder / "=bad.ipynb", "def fuse(volume):\n    import os; os._exit(0)\ncheck(fuse)")
    (folder / "broken.ipynb").write_text("{")
    (folder / "empty.ipynb").write_text('{"cells": []}')
    (folder / "void.ipynb").symlink_to("/dev/zero")
    assert (
        main(
            ["lab", "grade", str(folder), "--out", str(tmp_path / "out.csv"), "--limit", str(LIMIT)]
        )
        == 0
    )
    rows = list(csv.DictReader(open(tmp_path / "out.csv", encoding="utf-8", newline="")))
    assert list(rows[0]) == ["student", "exercise", "state", "message", "total"]
    assert [(r["student"], r["exercise"], r["state"], r["total"]) for r in rows] == [
        ("'=bad.ipynb", "fuse", FAILED, "0/1"),
        ("ada.ipynb", "fuse", PASSED, "2/2"),
        ("ada.ipynb", "soft_argmax", PASSED, "2/2"),
        ("broken.ipynb", "", FAILED, "0/0"),
        ("empty.ipynb", "", WAITING, "0/0"),
        ("void.ipynb", "", FAILED, "0/0"),
    ]
    assert not list(tmp_path.glob("*.tmp*"))


def test_a_lesson_as_handed_out_and_as_solved(tmp_path):
    """The real notebook with its stubs, then with the answers of docs/teaching.md instead."""
    lesson = grading.LESSONS / "03_volumes.ipynb"
    if not lesson.is_file():
        pytest.skip("lesson 03 is not here")
    assert {r.state for r in grading.grade_notebook(lesson, LIMIT)} == {WAITING}
    teaching = (grading.LESSONS.parent / "docs" / "teaching.md").read_text(encoding="utf-8")
    block = re.search(r"<summary>03_volumes</summary>\n\n```python\n(.*?)```", teaching, re.S)[1]
    answers = {
        source.split("(")[0].removeprefix("def "): source for source in block.strip().split("\n\n")
    }
    book = json.loads(lesson.read_text(encoding="utf-8"))
    asked = {name: held for step in grading.steps(lesson) for name, held in step.names.items()}
    for cell in book["cells"]:
        for name, held in asked.items():
            if f"def {held}(" in "".join(cell["source"]) and "exercise" in cell["metadata"].get(
                "tags", []
            ):
                cell["source"] = (
                    answers[name].replace(f"def {name}(", f"def {held}(")
                    + f"\n\ncheck({held}, {name!r})"
                )
    (tmp_path / "solved.ipynb").write_text(json.dumps(book), encoding="utf-8")
    found = grading.grade_notebook(tmp_path / "solved.ipynb", LIMIT)
    assert len(found) >= 2 and {r.state for r in found} == {PASSED}, found


def test_an_empty_folder_is_said(tmp_path, capsys):
    assert main(["lab", "grade", str(tmp_path)]) == 1
    assert "no notebooks" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["lab", "grade", str(tmp_path), "--limit", "0"])
    assert "--limit: 0: expected a number above 0" in capsys.readouterr().err
    with pytest.raises(ValueError, match="limit = 0"):
        grading.grade(tmp_path, tmp_path / "grades.csv", 0)
