"""Nine ways to a grade without an answer: each of them fails behind the fence, or is flagged."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from test_grading import ALSO, GOOD, NOTEBOOKS, notebook

from bkind3d_lite.lab import fence
from bkind3d_lite.lab.checks import FAILED, PASSED
from bkind3d_lite.lab.fence import BUBBLEWRAP, LANDLOCK, USER
from bkind3d_lite.lab.gradebook import grade
from bkind3d_lite.lab.grading import Terms, grade_notebook
from bkind3d_lite.lab.nursery import Forked, Nursery, NurseryGone

REPOSITORY = NOTEBOOKS.parent
SOURCE = REPOSITORY / "bkind3d_lite"
FENCES = fence.fences()
pytestmark = pytest.mark.skipif(
    not FENCES, reason="neither root nor bubblewrap nor Landlock: there is no fence to test"
)
LIBRARY = "import bkind3d_lite.volumes as v\n    return v.fuse(volume[None])[0]"
ATTACKS = {
    "calling the library": (f"def fuse(volume):\n    {LIBRARY}", "imports bkind3d_lite.volumes"),
    "the table's reference": (
        "from bkind3d_lite.lab.exercises import EXERCISES\n"
        "def fuse(volume):\n    return EXERCISES['fuse'].reference(volume)",
        "calls bkind3d_lite.lab.exercises.EXERCISES",
    ),
    "a decorator": (
        "import sys, importlib\n"
        "def solved(f):\n"
        "    sys.meta_path[:] = [m for m in sys.meta_path if type(m).__module__[0] != 'q']\n"
        "    for name in [n for n in sys.modules if n.startswith('bkind')]: del sys.modules[name]\n"
        f"    sys.path[:0] = [{str(REPOSITORY)!r}]\n"
        "    table = importlib.import_module('bkind3d_lite.lab.exercises').EXERCISES\n"
        "    return table[f.__name__].reference\n"
        "@solved\ndef fuse(volume): ...",
        "uses importlib",
    ),
    "executing volumes.py from disk": (
        f"def fuse(volume):\n    code = open({str(SOURCE / 'volumes.py')!r}).read()\n"
        "    space = {'__name__': 'v', '__package__': 'v'}\n"
        "    exec(code[code.index('def fuse'):].split('def soft_argmax')[0], space)\n"
        "    return space['fuse'](volume[None])[0]",
        "uses open",
    ),
    "the key on disk": (
        "import glob, re\n"
        "def fuse(volume):\n    import torch\n"
        f"    texts = [open(p).read() for p in ({str(REPOSITORY / 'docs' / 'teaching.md')!r},"
        f" {str(SOURCE / 'lab' / 'key.md')!r})]\n"
        "    space = {'torch': torch}\n"
        "    exec(re.search(r'def fuse.*?\\n\\n', ''.join(texts), re.S)[0], space)\n"
        "    return space['fuse'](volume)",
        "uses exec",
    ),
    "patching the package": (
        "import bkind3d_lite.lab.checks as checks\n"
        "checks.judge = lambda *a: checks.Result('fuse', 'passed', 'right')\n"
        "checks.check = lambda *a: print('✓ 20 random cases agree')\n"
        "def fuse(volume):\n    return checks.judge('fuse')",
        "patches bkind3d_lite.lab.checks",
    ),
}


@pytest.mark.parametrize("how", ATTACKS)
def test_what_reaches_for_the_answer_fails_and_is_flagged(how, tmp_path):
    source, said = ATTACKS[how]
    (found,) = _graded(tmp_path, f"{source}\ncheck(fuse)")
    assert found.result.state == FAILED and said in found.look, found


def _graded(tmp_path, *cells, exercises=("fuse",), kind=None):
    path = notebook(tmp_path / "student.ipynb", *cells)
    found = grade_notebook(path, Terms(20.0, fence=kind or FENCES[0]))
    return [g for g in found if g.result.name in exercises]


def test_a_rival_is_not_rewritten_and_the_grader_is_not_killed(tmp_path):
    """Through the path, through /proc, by its number; and the table is not there to be written."""
    folder = tmp_path / "class"
    folder.mkdir()
    tmp_path.chmod(0o755)
    rival = notebook(folder / "zoe.ipynb", GOOD, ALSO)
    before = rival.read_bytes()
    hit = [str(rival), f"/proc/{os.getpid()}/root{rival}", str(tmp_path / "g.csv")]
    rewrite = (
        f"def fuse(volume):\n    import os\n    for path in {hit!r}:\n"
        "        for how in ('w', 'r'):\n"
        "            try: open(path, how).write('{}')\n"
        "            except OSError: continue\n"
        "            raise ValueError('open: ' + path)\n"
        "    raise KeyError('closed')\n"
        "check(fuse)"
    )
    numbers = {os.getpid(), os.getppid()}
    kill = (
        "def fuse(volume):\n    import os, signal\n"
        f"    for pid in {numbers!r} | {{os.getppid()}}:\n"
        "        try: os.kill(pid, 0 if pid < 2 else signal.SIGKILL)\n"
        "        except (PermissionError, ProcessLookupError): pass\n"
        "    raise KeyError('alive')\n"
        "check(fuse)"
    )
    notebook(folder / "ann.ipynb", rewrite)
    notebook(folder / "bob.ipynb", kill)
    ann, bob, zoe = grade(folder, tmp_path / "g.csv", Terms(20.0, fence=FENCES[0]), jobs=2)
    (ann,), (bob,) = ([g for g in s.exercises if g.result.name == "fuse"] for s in (ann, bob))
    assert "closed" in ann.result.message, ann
    assert ann.look and bob.look and "alive" in bob.result.message, bob
    assert len(zoe.passed) == 2 and rival.read_bytes() == before


def test_deleted_cells_are_missed_where_no_lesson_lies_beside(tmp_path, monkeypatch):
    """As after an installation from a wheel without notebooks: the table knows them."""
    monkeypatch.setattr("bkind3d_lite.files.bundled", lambda name: tmp_path / "none")
    found = _graded(tmp_path, GOOD, exercises=("fuse", "soft_argmax", "voxel_centres"))
    assert {g.result.name: bool(g.result) for g in found} == {
        "fuse": True,
        "soft_argmax": False,
        "voxel_centres": False,
    }


BODY = """def fuse(volume):
    import os, signal, socket
    seen = []
    for path in {paths!r}:
        try: seen.append(open(path).read(1)); seen.append(path)
        except OSError: pass
    for path in ('/tmp/left', '/left', {here!r}):
        try: open(path, 'w'); seen.append(path)
        except OSError: pass
    try: os.kill({pid}, signal.SIGTERM); seen.append('killed')
    except OSError: pass
    assert not seen, seen
    open(os.environ['HOME'] + '/mine', 'w').write('allowed')
    return (volume.softmax(0) * volume).sum(0)
check(fuse)"""


@pytest.mark.parametrize("kind", [USER, BUBBLEWRAP, LANDLOCK])
def test_a_fence_holds(kind, tmp_path):
    """Nothing is read of the package, nothing written outside, nobody signalled."""
    if kind not in FENCES:
        pytest.skip(f"no {kind} on this machine")
    if kind == USER and not fence.cage.landlock_version():
        pytest.skip("another user can read what all may read, where there is no Landlock")
    tmp_path.chmod(0o777)
    paths = [str(SOURCE / "volumes.py"), str(REPOSITORY / "docs" / "teaching.md"), "/etc/passwd"]
    body = BODY.format(paths=paths, here=str(tmp_path / "left"), pid=os.getpid())
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *a: heard.append(a))
    try:
        (found,) = _graded(tmp_path, body, kind=kind)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert found.result.state == PASSED and found.look and not heard, found
    assert not Path("/tmp/left").exists() and not (tmp_path / "left").exists()


# ---- the grader itself ---------------------------------------------------------------------------
def test_what_stops_the_grader_costs_only_its_own_notebook(tmp_path):
    """A line whose key is a list; names too deep to be written out again."""
    lists = (
        "def fuse(volume):\n    import os\n    for fd in range(3, 12):\n"
        "        try: os.write(fd, b'[[1], 2]\\n')\n        except OSError: pass\n"
        "    return (volume.softmax(0) * volume).sum(0)\ncheck(fuse)"
    )
    deep = f"def helper():\n    a{'.b' * 400} = 1\n    setattr(a{'.b' * 400}, 'c', 1)"
    notebook(tmp_path / "ann.ipynb", lists)
    notebook(tmp_path / "bob.ipynb", deep, GOOD)
    notebook(tmp_path / "zoe.ipynb", GOOD)
    students = grade(tmp_path, tmp_path / "g.csv", Terms(20.0, fence=FENCES[0]), jobs=2)
    assert [len(s.passed) for s in students] == [1, 1, 1], students


def test_an_error_of_the_grader_is_a_row(tmp_path, monkeypatch):
    def grade_notebook(path, terms, student):
        raise KeyError(student)

    monkeypatch.setattr("bkind3d_lite.lab.gradebook.grade_notebook", grade_notebook)
    notebook(tmp_path / "ann.ipynb", GOOD)
    (ann,) = grade(tmp_path, tmp_path / "g.csv", Terms(20.0, fence=FENCES[0]))
    assert "KeyError" in ann.exercises[0].result.message and ann.exercises[0].look


def test_threads_that_start_together_share_a_nursery(monkeypatch):
    def slow(start):
        time.sleep(0.1)
        return object()

    monkeypatch.setattr(fence, "_NURSERIES", {})
    monkeypatch.setattr(fence, "Nursery", slow)
    together = threading.Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: (together.wait(), fence._nursery())[1], range(2))
    assert first is second


def test_no_two_students_are_one_user(monkeypatch):
    monkeypatch.setattr(fence, "BLOCK", 3)
    monkeypatch.setattr(fence, "_owner", lambda process: fence.FIRST_USER)
    monkeypatch.setattr(fence, "BLOCKS", 1)
    with fence._user_of_its_own() as ann, fence._user_of_its_own() as bob:
        assert {ann, bob} == {fence.FIRST_USER + 1, fence.FIRST_USER + 2}
    assert not fence._USERS


@pytest.mark.skipif(USER not in FENCES, reason="only root has a nursery")
def test_a_nursery_that_dies_is_nobodys_fault(tmp_path, monkeypatch):
    """Another one is started, once; where that dies too, grading ends with one sentence."""
    assert _graded(tmp_path, GOOD, kind=USER)[0].result
    (number,) = [
        int(entry.parent.name)
        for entry in Path("/proc").glob("[0-9]*/cmdline")
        if entry.exists() and _is_my_nursery(entry)
    ]
    os.kill(number, signal.SIGKILL)
    assert _graded(tmp_path, GOOD, kind=USER)[0].result

    def dead(start):
        raise NurseryGone

    monkeypatch.setattr(fence, "_NURSERIES", {})
    monkeypatch.setattr(fence, "Nursery", dead)
    with pytest.raises(NurseryGone, match="that forks students' processes ended"):
        grade(tmp_path, tmp_path / "g.csv", Terms(20.0, fence=USER), jobs=2)


def _is_my_nursery(entry):
    parent = (entry.parent / "stat").read_text().rsplit(")", 1)[1].split()[1]
    return b"nursery.tend" in entry.read_bytes() and int(parent) == os.getpid()


def test_the_end_of_a_nursery_is_no_exit_code():
    """It is heard while a process is asked for, and while one runs."""

    def start(number):
        held.append(os.dup(number))
        os.write(number, b"!")

    held: list[int] = []
    mine, (word, end) = Nursery(start), os.pipe()
    os.close(held.pop())
    with open(os.devnull, "rb") as void, pytest.raises(NurseryGone):
        mine.fork("/", {}, void.fileno(), void.fileno())
    os.close(end)
    with pytest.raises(NurseryGone):
        Forked(1, word).poll()
    os.close(word)
