"""How a process locks itself up before it runs a stranger's code. The standard library alone.

`fence` copies this file and `sandbox` to where the process finds them: it has no package.
Linux's Landlock (man 7 landlock) hides files and, since 6.12, fences signals; as root the process
becomes another user as well.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import struct
import sys
from pathlib import Path

CREATE_RULESET, ADD_RULE, RESTRICT = 444, 445, 446  # system calls, the same on every processor
NO_NEW_PRIVILEGES, DUMPABLE = 38, 4  # of prctl
EXECUTE, READ_FILE, READ_DIRECTORY, WRITE_FILE = 1 << 0, 1 << 2, 1 << 3, 1 << 1
READ_RIGHTS = EXECUTE | READ_FILE | READ_DIRECTORY
FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}  # how many a version knows; later ones 16
PROCESSES = 64  # and threads that one student may have
SIGNALS_SINCE = 6  # the version of Landlock that fences signals
IS_LINUX = sys.platform == "linux"
LIBRARY = ctypes.CDLL(None if IS_LINUX else ctypes.util.find_library("c"), use_errno=True)


def landlock_version() -> int:
    """The kernel's version of Landlock.

    Returns:
        0 where there is none.
    """
    return max(0, LIBRARY.syscall(CREATE_RULESET, None, 0, 1)) if IS_LINUX else 0


def lock_up(orders: dict) -> None:
    """Become another user and lose sight of files, as far as `orders` say.

    Args:
        orders: `user`, a number or None; `readable`, `hidden` and `writable`, lists of paths, or
            `readable` None: files stay in sight.
    """
    rules = _rules(orders) if orders["readable"] is not None else None
    if orders["user"] is not None:
        _become(orders["user"])
    if rules is not None:
        _restrict(rules)


def _become(user: int) -> None:
    """Another user, who has nothing; Python's own files stay open to them."""
    places = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in _python_places()}
    _limit_processes()
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    closed = {path: handle for path, handle in places.items() if not os.access(path, os.R_OK)}
    for path in places.keys() - closed.keys():
        os.close(places[path])
    if closed:  # below a private home: reached by their handles
        LIBRARY.prctl(DUMPABLE, 1, 0, 0, 0)
        _move({path: f"/proc/self/fd/{handle}" for path, handle in closed.items()})


def _python_places() -> list[str]:
    return [path for path in dict.fromkeys(sys.path) if os.path.isdir(path)]


def _limit_processes() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_NPROC, (PROCESSES, PROCESSES))


def _move(places: dict[str, str]) -> None:
    """Look for modules at other paths, those inside loaded packages, too."""

    def moved(path: str) -> str:
        for old, new in sorted(places.items(), key=lambda pair: -len(pair[0])):
            if path == old or path.startswith(old + os.sep):
                return new + path[len(old) :]
        return path

    sys.path[:] = [moved(path) for path in sys.path]
    sys.path_importer_cache.clear()
    for module in list(sys.modules.values()):
        if isinstance(inside := getattr(module, "__path__", None), list):
            inside[:] = [moved(path) for path in inside]


# ---- Landlock ------------------------------------------------------------------------------------
def _rules(orders: dict) -> list[tuple[int, int]]:
    """Rights and an open handle for each place; read before the user changes."""
    every = (1 << FILE_RIGHTS.get(landlock_version(), 16)) - 1
    hidden = [Path(path) for path in orders["hidden"]]
    rules = [rule for path in orders["readable"] for rule in _seen(Path(path), hidden)]
    rules += [(every, Path(path)) for path in orders["writable"]]
    rules += [(READ_FILE | WRITE_FILE, Path(path)) for path in ("/dev/null", "/dev/zero")]
    rules += [(READ_FILE, Path(path)) for path in ("/dev/random", "/dev/urandom")]
    return [(rights, os.open(path, os.O_PATH | os.O_CLOEXEC)) for rights, path in rules
            if path.exists()]  # fmt: skip


def _seen(place: Path, hidden: list[Path]) -> list[tuple[int, Path]]:
    """Rules that show a place but for what is hidden inside it."""
    if place in hidden:
        return []
    inside = [path for path in hidden if place in path.parents]
    if not inside:
        return [(READ_RIGHTS if place.is_dir() else EXECUTE | READ_FILE, place)]
    shown = [rule for child in sorted(place.iterdir()) for rule in _seen(child, inside)]
    return [(READ_DIRECTORY, place), *shown]


def _restrict(rules: list[tuple[int, int]]) -> None:
    version = landlock_version()
    files = (1 << FILE_RIGHTS.get(version, 16)) - 1
    network, scopes = (3 if version >= 4 else 0), (3 if version >= SIGNALS_SINCE else 0)
    size = 24 if version >= SIGNALS_SINCE else 16 if version >= 4 else 8
    ruleset = _call(CREATE_RULESET, struct.pack("QQQ", files, network, scopes)[:size], size, 0)
    for rights, place in rules:
        _call(ADD_RULE, ruleset, 1, struct.pack("=Qi", rights & files, place), 0)
        os.close(place)
    LIBRARY.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    _call(RESTRICT, ruleset, 0)
    os.close(ruleset)


def _call(number: int, *arguments: object) -> int:
    result = LIBRARY.syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), "the kernel refused the fence")
    return result
