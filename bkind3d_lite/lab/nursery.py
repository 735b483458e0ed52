"""A process that has imported torch already and forks one student's process after another.

Only as root, where each of them becomes a user of its own: importing takes seconds, a fork none.
`fence` starts a copy of this file with `tend` as its loop, and sends it work by `Nursery`.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import threading
from collections.abc import Callable


class NurseryGone(OSError):
    """The process that forks has ended: no fault of the student whose turn it was."""

    def __init__(self) -> None:
        super().__init__("the process that forks students' processes ended; is memory short?")


class Forked:
    """A process of the nursery: its number, and how it ended."""

    def __init__(self, pid: int, word: int):
        self.pid, self._word = pid, word
        self._code: int | None = None

    def poll(self) -> int | None:
        """Its exit code, or minus its signal; None while it runs.

        Raises:
            NurseryGone: nobody is left to tell.
        """
        if self._code is None and select.select([self._word], [], [], 0)[0]:
            self._code = _told(self._word)
            os.close(self._word)
        return self._code


def _told(word: int) -> int:
    """A number that the nursery says."""
    said = os.read(word, 64)
    if not said:
        raise NurseryGone
    return int(said)


class Nursery:
    """The grader's side.

    Args:
        start: starts the process, given the number of an open socket.

    Raises:
        NurseryGone: it did not start.
    """

    def __init__(self, start: Callable[[int], object]):
        self._mine, theirs = socket.socketpair()
        self._turn = threading.Lock()
        start(theirs.fileno())
        theirs.close()
        if not self._mine.recv(1):
            raise NurseryGone

    def close(self) -> None:
        """End it."""
        self._mine.close()

    def fork(self, folder: str, environment: dict[str, str], given: int, back: int) -> Forked:
        """Have one process forked.

        Args:
            folder: where it works.
            environment: its variables.
            given: an open file, its stdin.
            back: an open file, its stdout.

        Returns:
            The process, as soon as it runs.

        Raises:
            NurseryGone: it cannot.
        """
        word, end = os.pipe()
        work = json.dumps([folder, environment]).encode()
        with self._turn:  # one message at a time: none runs into the next
            try:
                socket.send_fds(self._mine, [work], [given, back, end])
            except OSError:
                os.close(word)
                raise NurseryGone from None
            finally:
                os.close(end)
            return Forked(_told(word), word)


def tend(number: int, work: Callable[[], None]) -> None:
    """The loop of the nursery's process: fork for each message, tell how each child ended.

    Args:
        number: of the socket, inherited.
        work: what a child does, with its stdin and stdout in place.
    """
    asked = socket.socket(fileno=number)
    words: dict[int, int] = {}
    asked.send(b"!")
    while True:
        if select.select([asked], [], [], 0.01 if words else None)[0]:
            message, handles, _, _ = socket.recv_fds(asked, 1 << 16, 3)
            if not message:
                return  # the grader is gone
            if pid := os.fork():
                os.write(handles[2], f"{pid:<16}".encode())
                words[pid] = handles[2]
                for handle in handles[:2]:
                    os.close(handle)
            else:
                _child(json.loads(message), handles, work, [number, *words.values()])
        _bury(words)


def _bury(words: dict[int, int]) -> None:
    """Say of each child that has ended how it did."""
    while words:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        if pid in words:
            handle = words.pop(pid)
            os.write(handle, str(os.waitstatus_to_exitcode(status)).encode())
            os.close(handle)


def _child(orders: list, handles: list[int], work: Callable[[], None], foreign: list[int]) -> None:
    """What the forked process does: never returns."""
    code = 1
    try:
        folder, environment = orders
        os.setsid()
        os.dup2(handles[0], 0)
        os.dup2(handles[1], 1)
        for handle in (*handles, *foreign):
            os.close(handle)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        work()
        sys.stdout.flush()
        code = 0
    finally:
        os._exit(code)
