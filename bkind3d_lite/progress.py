"""Progress: a bar in a terminal or notebook, a line a minute where the output goes into a file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, TextIO

from tqdm.auto import tqdm
from tqdm.std import tqdm as plain_bar

MINUTE = 60.0


class _Lines(plain_bar):
    """A bar that never writes over itself, and rarely writes at all."""

    def __init__(self, *args: Any, **how: Any):
        how |= dict(mininterval=MINUTE, maxinterval=MINUTE, dynamic_ncols=False)
        form = "{desc}: {n_fmt} of {total_fmt} {unit}s, {elapsed} gone, {remaining} to go{postfix}"
        super().__init__(*args, bar_format=form, **how)

    @staticmethod
    def status_printer(file: TextIO) -> Callable[[str], None]:
        """What writes a line.

        Args:
            file: where to.

        Returns:
            A function of the text.
        """

        def write(text: str) -> None:
            if text.strip():
                file.write(f"{text.strip()}\n")
                file.flush()

        return write

    def clear(self, nolock: bool = False) -> None:
        """Nothing: a line that is written stays.

        Args:
            nolock: of tqdm.
        """

    def refresh(self, nolock: bool = False, lock_args: Any = None) -> bool:
        """Write a line, unless only other lines were written in between.

        Args:
            nolock: of tqdm, which says so of those.
            lock_args: of tqdm.

        Returns:
            Whether it was written.
        """
        return True if nolock else bool(super().refresh(nolock, lock_args))

    def close(self) -> None:
        """Write how far it came, unless the last line says so."""
        if not self.disable:
            if self.n > self.last_print_n:
                self.refresh()
            self.disable: bool = True
            self._decr_instances(self)


def progress(items: Iterable[Any] | None = None, **how: Any) -> plain_bar:
    """A progress bar for where the output goes.

    Args:
        items: to go through; None: `update` says how far it is.
        **how: as for tqdm: total, desc, unit, initial, disable.

    Returns:
        tqdm's bar in a terminal or a notebook, else one that writes a line a minute.
    """
    notebook = any("notebook" in kind.__module__ for kind in tqdm.__mro__)
    fits = notebook or sys.stderr.isatty()
    return (tqdm if fits else _Lines)(items, **how)
