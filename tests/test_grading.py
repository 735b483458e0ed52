"""Grading: whatever a notebook does, it costs only itself."""

import csv
import json
import os
import re
import time
from pathlib import Path

import pytest

from bkind3d_lite.__main__ import main
from bkind3d_lite.lab import fence, gradebook
from bkind3d_lite.lab.borrowed import borrowed
from bkind3d_lite.lab.checks import FAILED, PASSED, WAITING, Result
from bkind3d_lite.lab.exercises import EXERCISES
from bkind3d_lite.lab.fence import TRUST, fence_here
from bkind3d_lite.lab.gradebook import Marked, Worth
from bkind3d_lite.lab.grading import Graded, Terms, expected, grade_notebook
from bkind3d_lite.lab.similarity import _shape, copied_pairs, write_similarity
from bkind3d_lite.lab.submissions import submission_of

GOOD = "def fuse(volume):\n    return (volume.softmax(0) * volume).sum(0)\ncheck(fuse)"
ALSO = "def soft_argmax(logits, points):\n    return logits.softmax(0) @ points\ncheck(soft_argmax)"
SETUP = "import torch\nfrom bkind3d_lite.lab import check"
NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
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
def graded(tmp_path):
    """`graded(cells...)` -> {exercise: (state, message)}, without those that are not there."""

    def grade(*sources, limit=LIMIT):
        path = notebook(tmp_path / "student.ipynb", *sources)
        asked = submission_of(path)
        return {
            g.result.name: (g.result.state, g.result.message)
            for g in grade_notebook(path, Terms(limit, fence=fence_here(trust=True)))
            if g.result.name in asked.variables or g.result.name in asked.broken
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
        "@(1 / 0)\ndef unproject(maps, ndc):\n    return maps\ncheck(unproject)",
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
    cell = f"def fuse(volume):\n    return volume\n{source}\ncheck(fuse)"
    found = submission_of(notebook(tmp_path / "a.ipynb", cell, ALSO))
    assert {*found.variables, *found.broken} == {"fuse", "soft_argmax"}


def test_a_cell_that_does_not_parse_is_read_in_time(tmp_path):
    """What is searched for in it takes time in proportion to it."""
    cells = "check(" * 100_000 + "x, 'fuse'", "def" + " " * 100_000 + "skew\ncheck(", ALSO + ")"
    begun = time.process_time()
    found = submission_of(notebook(tmp_path / "a.ipynb", *cells))
    assert time.process_time() - begun < 2 and set(found.broken) == {"fuse", "skew", "soft_argmax"}


def test_an_imported_answer_is_no_answer(graded):
    wrong = GOOD.replace("volume.softmax(0)", "volume.softmax(1)")
    found = graded(
        "from bkind3d_lite.volumes import soft_argmax\ncheck(soft_argmax)",
        wrong,
        "from bkind3d_lite.volumes import fuse",
    )
    assert "soft_argmax" not in found and found["fuse"][0] == FAILED


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
def test_offspring_is_ended(graded):
    """A child that leaves the group, and loses the mark in its environment."""
    lasting = "import time; time.sleep(654.321)"
    fork = (
        "def fuse(volume):\n    import os, subprocess, sys, time\n"
        f"    command = [sys.executable, '-c', {lasting!r}]\n"
        "    subprocess.Popen(command, start_new_session=True, env={})\n"
        "    time.sleep(0.3)\n    os._exit(0)\ncheck(fuse)"
    )
    assert graded(fork)["fuse"][0] == FAILED
    for _ in range(50):
        if not _processes(b"time.sleep(654.321)"):
            return
        time.sleep(0.1)
    for number in _processes(b"time.sleep(654.321)"):
        os.kill(number, 9)
    pytest.fail("a forked process outlived its notebook")


def _processes(word: bytes) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        found += [int(entry.name)] if word in command and b"pytest" not in command else []
    return found


def test_a_deleted_exercise_is_missed():
    lesson = ["voxel_centres", "soft_argmax", "fuse"]
    assert sorted(expected(["soft_argmax"])) == sorted(lesson) and expected([]) == []
    assert sorted(expected([], ["03_volumes"])) == sorted(lesson)
    assert sorted(expected(["unproject"])) == sorted([*lesson, "unproject"])


def test_the_lessons_ask_all_that_is_not_spare():
    asked = {
        name: path.stem
        for path in NOTEBOOKS.glob("*.ipynb")
        for name in submission_of(path).variables
    }
    assert asked == {name: e.lesson for name, e in EXERCISES.items() if not e.spare}


def test_a_folder_becomes_tables(tmp_path):
    folder = tmp_path / "class"
    (folder / "Bo Li_77_assignsubmission_file").mkdir(parents=True)
    notebook(folder / "ada.ipynb", GOOD, ALSO)
    notebook(folder / "=bad.ipynb", "def fuse(volume):\n    import os; os._exit(0)\ncheck(fuse)")
    (folder / "broken.ipynb").write_text("{")
    (folder / "Bo Li_77_assignsubmission_file" / "empty.ipynb").write_text('{"cells": []}')
    (folder / "void.ipynb").symlink_to("/dev/zero")
    words = ["lab", "grade", str(folder), "--out", str(tmp_path / "out.csv"), "--jobs", "2"]
    words += ["--points", "fuse=3", "--due", "2020-01-01T00:00", "--limit", str(LIMIT), "--trust"]
    words += ["--canvas", "Lab 3", "--moodle", "--similar", "--feedback", str(tmp_path / "pages")]
    assert main(words) == 0
    rows = table(tmp_path / "out.csv")
    assert list(rows[0]) == gradebook.LONG_HEAD
    rows = [r for r in rows if r["state"] != WAITING or not r["exercise"]]
    assert [(r["student"], r["exercise"], r["state"], r["points"], r["total"]) for r in rows] == [
        ("'=bad.ipynb", "fuse", FAILED, "0", "0/3"),
        ("Bo Li_77_assignsubmission_file/empty.ipynb", "", WAITING, "0", "0/0"),
        ("ada.ipynb", "fuse", PASSED, "3", "2/3"),
        ("ada.ipynb", "soft_argmax", PASSED, "1", "2/3"),
        ("broken.ipynb", "", FAILED, "0", "0/0"),
        ("void.ipynb", "", FAILED, "0", "0/0"),
    ]
    students = {r["student"]: r for r in table(tmp_path / "out_students.csv")}
    ada = students["ada.ipynb"]
    assert (ada["fuse"], ada["voxel_centres"], ada["points"], ada["of"]) == ("3", "0", "4", "5")
    assert float(ada["hours late"]) > 24
    assert table(tmp_path / "out_moodle.csv")[1]["Identifier"] == "Participant 77"
    assert table(tmp_path / "out_canvas.csv")[2]["Lab 3"] == "4"
    assert "4 of 5 points" in (tmp_path / "pages" / "ada.html").read_text(encoding="utf-8")
    assert not list(tmp_path.glob("*.tmp*"))


def table(path: Path) -> list[dict]:
    return list(csv.DictReader(open(path, encoding="utf-8", newline="")))


ODD = """def fuse(volume):
    total = torch.zeros_like(volume[0])
    for part, share in zip(volume.unbind(0), volume.softmax(0).unbind(0)):
        total = total + part.mul(share).clamp(-1e9, 1e9)
    return total.view(volume.shape[1:])"""
OWN = """def fuse(volume):
    weights = [(v - volume.logsumexp(0)).exp() for v in volume]
    return torch.stack([w * v for w, v in zip(weights, volume)]).sum(dim=0)"""


def test_who_shares_an_odd_answer_is_named_and_nobody_else(tmp_path):
    renamed = re.sub("part", "p", re.sub("total", "summe", ODD)).replace("    ", "  ")
    handed_in = dict(dict.fromkeys(("bo", "cy", "di", "ed"), GOOD), ann=ODD, fay=OWN)
    handed_in["=zoe"] = f"{renamed}  # mine"
    students = [
        Marked(name, (Graded(Result("fuse", PASSED, "✓"), source=text),), late=0, worth=Worth())
        for name, text in handed_in.items()
    ]
    ((one, other, share, shared),) = copied_pairs(students)
    assert {one.student, other.student} == {"ann", "=zoe"} and share == 1 and len(shared) >= 8
    (row,) = table(write_similarity(tmp_path / "alike.csv", students))
    assert row["student"] == "ann" and row["other"] == "'=zoe" and row["exercises"] == "fuse"


@pytest.mark.parametrize("landlock, first", [(0, "bubblewrap"), (6, "user")])
def test_bubblewrap_comes_before_a_user_who_sees_everything(monkeypatch, landlock, first):
    monkeypatch.setattr(fence.os, "geteuid", lambda: 0, raising=False)
    monkeypatch.setattr(fence, "_bubblewrap_works", lambda: True)
    monkeypatch.setattr(fence.cage, "landlock_version", lambda: landlock)
    assert fence.fences()[0] == first


def test_without_a_fence_grading_refuses(monkeypatch):
    monkeypatch.setattr("bkind3d_lite.lab.fence.fences", list)
    with pytest.raises(ValueError, match="--trust"):
        fence_here()
    assert fence_here(trust=True) == TRUST


def test_an_empty_folder_is_said(tmp_path, capsys):
    assert main(["lab", "grade", str(tmp_path), "--trust"]) == 1
    assert "no notebooks" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["lab", "grade", str(tmp_path), "--limit", "0"])
    assert "--limit: 0: expected a number above 0" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["lab", "grade", str(tmp_path), "--late", "-10"])
    assert "--late: -10" in capsys.readouterr().err
    assert main(["lab", "grade", str(tmp_path), "--trust", "--points", "fuse=nan"]) == 1
    assert "fuse=nan: points are 0 or more" in capsys.readouterr().err
    with pytest.raises(ValueError, match="limit = 0"):
        gradebook.grade(tmp_path, tmp_path / "grades.csv", Terms(0, fence=TRUST))


def test_a_link_is_nobodys_notebook(tmp_path):
    notebook(tmp_path / "ann.ipynb", GOOD)
    (tmp_path / "zoe.ipynb").symlink_to(tmp_path / "ann.ipynb")
    fence = fence_here(trust=True)
    ann, zoe = gradebook.grade(tmp_path, tmp_path / "grades.csv", Terms(LIMIT, fence=fence))
    assert "fuse" in {e.result.name for e in ann.exercises if e.result.state == PASSED}
    assert [e.result.state for e in zoe.exercises] == [FAILED]
    assert "a link to a file elsewhere" in zoe.exercises[0].result.message


def test_an_answer_with_a_huge_number_is_compared_like_any_other():
    shape = list(_shape("def f(x):\n    return x + 0x" + "f" * 6000))
    assert "number" in shape and list(_shape("def g(y):\n    return y + 0x" + "e" * 6000)) == shape


def test_a_name_that_is_not_bound_yet_borrows_nothing():
    def answer(x):
        return later(x)

    if answer is None:
        later = None
    assert borrowed(answer) == ""
