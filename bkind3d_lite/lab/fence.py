"""Where a stranger's code runs: as another user, or in bubblewrap, or behind Landlock.

Each of them takes from it the sight of the package, of the submissions and of the grader, every
write outside its own folder, and every signal to others. Where none is to be had, `fence_here`
refuses; `trust` runs it as the teacher's own process.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import site
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO

from . import cage
from .nursery import Forked, Nursery, NurseryGone
from .sandbox import BYTES

# seconds until a process has imported torch, on a busy machine; the student's own time begins then
START = 180.0
USER, BUBBLEWRAP, LANDLOCK, TRUST = "user", "bubblewrap", "landlock", "trust"
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/localtime")
FIRST_USER = 40_000  # numbers that no account of a usual system has
BLOCK, BLOCKS = 1_000, 20  # of such numbers: gradings at once mostly draw from different ones
PACKAGE_FOLDER = Path(__file__).resolve().parents[1]
FOUND = "import sys; sys.path[0] = sys.argv[1]; from quarters import nursery, sandbox; "
START_LINE = FOUND + "sandbox.answer_from_stdin()"
NURSERY_LINE = FOUND + "import torch; torch.set_num_threads(1); "
NURSERY_LINE += "nursery.tend(int(sys.argv[2]), sandbox.answer_from_stdin)"


# ---- which fence ---------------------------------------------------------------------------------
def fences() -> list[str]:
    """The fences that this machine has, the best first.

    Another user without Landlock still sees what everybody may read: bubblewrap is better then.

    Returns:
        Some of `user` (as root), `bubblewrap`, `landlock`.
    """
    landlock = cage.landlock_version()
    user = [USER] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    wrapped = [BUBBLEWRAP] if _bubblewrap_works() else []
    found = user + wrapped if landlock else wrapped + user
    return found + ([LANDLOCK] if landlock >= cage.SIGNALS_SINCE else [])


def fence_here(trust: bool = False) -> str:
    """The fence to grade behind.

    Args:
        trust: run students' code as a process of your own if there is no fence.

    Returns:
        The best one; `trust` if there is none.

    Raises:
        ValueError: there is none, and no trust.
    """
    found = fences()
    if not found and not trust:
        raise ValueError(
            "no fence is to be had here for students' code (root, bubblewrap, or Linux 6.12 with "
            "Landlock): install bubblewrap, grade in a container as root, or say --trust to run it "
            "with all your rights"
        )
    return found[0] if found else TRUST


@cache
def _bubblewrap_works() -> bool:
    if not shutil.which("bwrap"):
        return False
    empty = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "true"]
    return subprocess.run(empty, capture_output=True, check=False).returncode == 0


def _python_places() -> list[str]:
    """Where Python, its libraries and the system's lie."""
    paths = sysconfig.get_paths()
    places = [sys.prefix, sys.base_prefix, paths["stdlib"], paths["platstdlib"], paths["purelib"]]
    places += [paths["platlib"], *site.getsitepackages()]
    if site.ENABLE_USER_SITE:
        places.append(site.getusersitepackages())
    real = [*SYSTEM, *places, *(os.path.realpath(place) for place in places)]
    return [place for place in dict.fromkeys(real) if os.path.exists(place)]


def _hidden() -> list[str]:
    """The package, and a folder of the repository around it."""
    clone = PACKAGE_FOLDER.parent
    inside = [clone / name for name in ("docs", "notebooks", "tests", "data_samples", "build")]
    is_clone = (clone / "pyproject.toml").is_file()
    return [str(PACKAGE_FOLDER), *(str(path) for path in inside if is_clone)]


# ---- one process ---------------------------------------------------------------------------------
def run_fenced(program: dict, limit: float, fence: str) -> tuple[bytes, str]:
    """Run a program of a submission in a process of its own.

    Args:
        program: what `sandbox` reads.
        limit: seconds, from when torch is imported.
        fence: one of `fences`, or `trust`.

    Returns:
        The lines that it wrote, and how it ended.

    Raises:
        NurseryGone: as root, twice nobody was there to start it.
    """
    if fence != USER:
        return _run_once(program, limit, fence)
    nursery = _nursery()
    try:
        return _run_as_user(program, limit, nursery)
    except NurseryGone:
        return _run_as_user(program, limit, _nursery(gone=nursery))


def _run_as_user(program: dict, limit: float, nursery: Nursery) -> tuple[bytes, str]:
    with _user_of_its_own() as user:
        return _run_once(program, limit, USER, nursery, user)


def _run_once(
    program: dict,
    limit: float,
    fence: str,
    nursery: Nursery | None = None,
    user: int | None = None,
) -> tuple[bytes, str]:
    with (
        tempfile.TemporaryDirectory(prefix="grading", ignore_cleanup_errors=True) as room,
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as back,
    ):
        folder, tools = _furnish(Path(room))
        if user is not None:
            os.chown(folder, user, user)
        orders = _orders(fence, folder, tools, user)
        given.write(json.dumps(program | {"orders": orders}).encode())
        given.seek(0)
        mark = secrets.token_hex(16)
        environment = _bare_environment(folder, mark)
        child: Forked | subprocess.Popen
        if nursery is not None:
            child = nursery.fork(str(folder), environment, given.fileno(), back.fileno())
        else:
            child = subprocess.Popen(
                _command(fence, folder, tools),
                stdin=given,
                stdout=back,
                stderr=subprocess.DEVNULL,
                cwd=folder,
                env=environment,
                start_new_session=True,
            )
        try:
            how = _waited(child, back, limit)
        finally:
            _end(child, mark, user)
        back.seek(0)
        return back.read(BYTES + 1), how


def _furnish(room: Path) -> tuple[Path, Path]:
    """A folder to work in, and the two modules that the process runs, out of its reach."""
    room.chmod(0o755)
    folder, tools = room / "work", room / "tools"
    folder.mkdir(mode=0o700)
    _copy_tools(tools)
    return folder, tools


def _copy_tools(tools: Path) -> None:
    (tools / "quarters").mkdir(parents=True)
    (tools / "quarters" / "__init__.py").touch()
    for name in ("cage.py", "nursery.py", "sandbox.py"):
        shutil.copy(PACKAGE_FOLDER / "lab" / name, tools / "quarters")


_TURN = threading.Lock()  # of what follows: notebooks are graded by several threads
_NURSERIES: dict[int, Nursery] = {}  # of this process, by its number: a fork has none
_USERS: set[int] = set()  # at work


def _nursery(gone: Nursery | None = None) -> Nursery:
    """The nursery of this process, which ends with it; another one instead of one that is gone."""
    with _TURN:
        mine = _NURSERIES.get(os.getpid())
        if mine is None or mine is gone:
            if mine is not None:
                mine.close()
            mine = _NURSERIES[os.getpid()] = _started()
        return mine


@contextmanager
def _user_of_its_own() -> Iterator[int]:
    """A number that no process has, here or in another grading: all of it is killed at the end."""
    with _TURN:
        taken = _USERS | set(map(_owner, Path("/proc").glob("[0-9]*")))
        first = FIRST_USER + BLOCK * (os.getpid() % BLOCKS)
        while (user := first + secrets.randbelow(BLOCK)) in taken:
            continue
        _USERS.add(user)
    try:
        yield user
    finally:
        with _TURN:
            _USERS.discard(user)


def _owner(process: Path) -> int:
    try:
        return process.stat().st_uid
    except OSError:
        return 0  # gone


def _started() -> Nursery:
    """A nursery."""
    with tempfile.TemporaryDirectory(prefix="grading") as room:
        tools = Path(room) / "tools"
        _copy_tools(tools)

        def start(number: int) -> None:
            process = subprocess.Popen(
                [sys.executable, "-B", "-c", NURSERY_LINE, str(tools), str(number)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=room,
                env=_bare_environment(Path(room), ""),
                pass_fds=[number],
                start_new_session=True,
            )
            process.returncode = 0  # nobody waits for it

        return Nursery(start)


def _orders(fence: str, folder: Path, tools: Path, user: int | None) -> dict:
    """What the process does to itself before it reads a student's line; see `cage.lock_up`."""
    sees_less = fence in (USER, LANDLOCK) and cage.landlock_version() > 0
    return {
        "user": user,
        "readable": [*_python_places(), str(tools)] if sees_less else None,
        "hidden": _hidden(),
        "writable": [str(folder)],
    }


def _command(fence: str, folder: Path, tools: Path) -> list[str]:
    python = [sys.executable, "-B", "-c", START_LINE, str(tools)]
    if fence != BUBBLEWRAP:
        return python
    command = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    for place in _python_places():
        command += ["--ro-bind", place, place]
    for place in _hidden():
        if any(Path(seen) in Path(place).parents for seen in _python_places()):
            command += ["--tmpfs", place]
    command += ["--proc", "/proc", "--dev", "/dev", "--ro-bind", str(tools), str(tools)]
    command += ["--bind", str(folder), str(folder), "--chdir", str(folder), "--remount-ro", "/"]
    return [*command, "--", *python]


def _bare_environment(folder: Path, mark: str) -> dict[str, str]:
    """No secrets, one thread, a home that is `folder`, and the mark by which `_end` finds it."""
    bare = {
        "PATH": os.defpath,
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "PYTHONUSERBASE": site.getuserbase(),
        "USER": "student",
        "LOGNAME": "student",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "MPLBACKEND": "agg",
        "LANG": "C.UTF-8",
        "GRADING_MARK": mark,
    }
    needed = ("SYSTEMROOT", "LD_LIBRARY_PATH")  # to start Python at all, on some systems
    return bare | {key: os.environ[key] for key in needed if key in os.environ}


# ---- its end -------------------------------------------------------------------------------------
def _waited(child: Forked | subprocess.Popen, back: IO[bytes], limit: float) -> str:
    """Wait for the end of a process, at most `limit` seconds from its first word; how it ended."""
    since, most, ready = time.monotonic(), START, False
    while (code := child.poll()) is None:
        if not ready and os.fstat(back.fileno()).st_size:  # its first word
            since, most, ready = time.monotonic(), limit, True
        if time.monotonic() - since > most:
            return f"no answer within {most:g} seconds"
        time.sleep(0.02)
    number = code - 128 if 128 < code < 160 else -code  # bubblewrap tells a signal so
    if number > 0:
        return f"the process was ended by signal {number}"
    return f"the process ended with exit code {code}"


def _end(child: Forked | subprocess.Popen, mark: str, user: int | None) -> None:
    """End a process, its group, all of its user, and what left the group but carries its mark."""
    if hasattr(os, "killpg"):
        _kill(os.killpg, child.pid)
        if user is not None:
            _end_user(user)
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                mine = f"GRADING_MARK={mark}".encode() in (entry / "environ").read_bytes()
            except OSError:
                continue  # gone, or another user's
            if mine:
                _kill(os.kill, int(entry.name))
    if child.poll() is None:
        _kill(os.kill, child.pid)
    while child.poll() is None:
        time.sleep(0.01)


def _end_user(user: int) -> None:
    """All processes of a user at once, as that user: none can fork faster than it is ended."""
    become = f"import os; os.setgroups([]); os.setresgid({user}, {user}, {user}); "
    become += f"os.setresuid({user}, {user}, {user}); os.kill(-1, 9)"
    subprocess.run([sys.executable, "-I", "-S", "-c", become], check=False, capture_output=True)


def _kill(how: Callable[[int, int], None], number: int) -> None:
    try:
        how(number, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return  # ended already
