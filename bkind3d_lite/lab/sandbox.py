"""The side of the lab that runs a student's function: it knows no right answers, imports little.

`checks` uses it in the notebook; `fence` starts a copy of it as a process of its own, which reads a
program from stdin and hands numbers back. There the package is not to be had: every name imported
from it is an `Absent`, which does nothing, so that a lesson's cells define what they define.
"""

from __future__ import annotations

import ast
import inspect
import json
import linecache
import os
import re
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import IO

import torch
from torch import Tensor

from .cage import lock_up

WAITING, FAILED, PASSED = "not attempted", "failed", "passed"
BYTES = 4 << 20  # a notebook, or what one process hands back
STUDENT_MEMORY = 2 << 30  # that a process may take beyond what Python and torch need
NUMBERS = 100_000  # in one answer
_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (torch.float32, torch.float64, torch.uint8, torch.int64, torch.bool)
}


def ask(function: Callable, cases: list[tuple]) -> tuple[list, tuple[str, str] | None]:
    """Ask a function for its answers to all cases.

    Args:
        function: a student's.
        cases: the arguments of each call; it gets copies.

    Returns:
        Its answers; and (state, message) if it stopped on the way or is not attempted yet.
    """
    answers: list = []
    for i, case in enumerate(cases):
        try:
            answers.append(function(*fresh(case)))
        except NotImplementedError:
            return answers, (WAITING, "○ not attempted yet")
        except (Exception, SystemExit) as error:
            return answers, (FAILED, f"✗ case {i + 1}: {_stop(error)}")
        if answers[-1] is ... or answers[-1] is None and _is_stub(function):
            return answers, (WAITING, "○ not attempted yet")
        if answers[-1] is None:
            why = "your function returns nothing: is a `return` missing?"
            return answers, (WAITING, f"○ not attempted yet ({why})")
    return answers, None


def _is_stub(answer: Callable) -> bool:
    """Nothing in its body but `...`, `pass` or a docstring."""
    code = getattr(answer, "__code__", None)
    if code is None:
        return False
    stars = (inspect.CO_VARARGS, inspect.CO_VARKEYWORDS)
    parameters = code.co_argcount + code.co_kwonlyargcount
    parameters += sum(bool(code.co_flags & star) for star in stars)
    return not code.co_names and code.co_nlocals == parameters


def _stop(error: BaseException) -> str:
    first = str(error).strip().split("\n")[0][:200]
    return f"your function stops with {type(error).__name__}" + (f": {first}" if first else "")


def python_of(source: str) -> str:
    """A code cell's Python without IPython's magics.

    Args:
        source: the cell's text.

    Returns:
        The same lines; those of IPython (% and ! and ?) are blank, so that line numbers stay.
    """
    lines = source.split("\n")
    magic = re.match(r"\s*%%(\w+)", source)
    if magic and magic[1] not in ("time", "timeit", "capture", "prun"):
        return "\n" * (len(lines) - 1)  # another language, or a file to write
    if magic or not _parses(source):
        lines = ["" if IPYTHON.match(line) else line for line in lines]
    return "\n".join(lines)


IPYTHON = re.compile(r"\s*[%!?]|[\s\w.,]+=\s*[%!]|[\w.]+\?{1,2}\s*$")


def _parses(source: str) -> bool:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True  # a line may begin with % in the middle of an expression


def fresh(case: tuple) -> tuple:
    """Copy a case, so that an answer which writes into its input does not spoil the next call.

    Args:
        case: arguments of one call.

    Returns:
        The same with copies of its tensors.
    """
    return tuple(x.clone() if isinstance(x, Tensor) else x for x in case)


# ---- numbers over the wire: no pickles from strangers --------------------------------------------
def plain(x: object) -> object:
    """Tensors and tuples as JSON.

    Args:
        x: numbers, text, tensors, and lists and tuples of them.

    Returns:
        Numbers, text, lists and dictionaries; `unplain` is the inverse.
    """
    if isinstance(x, Tensor):
        return {
            "tensor": x.tolist(),
            "dtype": str(x.dtype).removeprefix("torch."),
            "shape": list(x.shape),
        }
    if isinstance(x, tuple):
        return {"tuple": [plain(y) for y in x]}
    return [plain(y) for y in x] if isinstance(x, list) else x


def unplain(x: object) -> object:
    """The inverse of `plain`.

    Args:
        x: what `plain` made, or a stranger claims that it did.

    Returns:
        Numbers, text, tensors, and lists and tuples of them.
    """
    if isinstance(x, dict) and "tuple" in x:
        return tuple(unplain(y) for y in x["tuple"])
    if isinstance(x, dict):
        return torch.tensor(x["tensor"], dtype=_DTYPES[x["dtype"]]).reshape(x["shape"])
    return [unplain(y) for y in x] if isinstance(x, list) else x


def _numbers(x: object) -> object:
    """A student's answer as plain numbers; raises `ValueError` for anything else."""
    if isinstance(x, Absent):
        raise ValueError(f"the answer is made by {x!r}: write it yourself")
    try:
        numbers = torch.as_tensor(x).detach().cpu().double()
    except Exception as error:  # an answer may be any object, and say no in any way
        raise ValueError(f"the answer is a {type(x).__name__}, expected numbers") from error
    if numbers.numel() > NUMBERS:
        raise ValueError(f"the answer has shape {tuple(numbers.shape)}, far too large")
    return plain(numbers)


# ---- a process of its own ------------------------------------------------------------------------
def answer_from_stdin() -> None:
    """The other side: read a program from stdin, run what a notebook defines, answer the cases.

    One line of JSON for each exercise, as soon as it is answered, and before each step where it is.
    """
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)  # what the student prints goes nowhere
    program = json.load(sys.stdin.buffer)
    torch.set_num_threads(1)
    _limited()
    lock_up(program["orders"])
    print(json.dumps(["at", -1]), file=out, flush=True)
    Answering(program, out).run()


class Answering:
    """A notebook's steps in their order, and what its functions make of the cases."""

    def __init__(self, program: dict, out: IO[str]):
        self.steps, self.cells, self.out = program["steps"], program["cells"], out
        self.cases = {
            name: [unplain(case) for case in those] for name, those in program["cases"].items()
        }
        self.last: dict[str, str] = program["last"]
        self.said: dict[str, dict] = {}
        self.space = _main_module()
        sys.meta_path.insert(0, _NoPackage(self.check))  # type: ignore[arg-type]

    def run(self) -> None:
        """Every step; then those exercises that no `check` has asked, or asked too early."""
        trees = [ast.parse(source).body for source in self.cells]
        for i, (cell, statement, names) in enumerate(self.steps):
            self.tell("at", i)
            before = dict(self.said)
            try:
                _execute(trees[cell][statement], self.cells[cell], cell, self.space)
            except (Exception, SystemExit) as error:
                why = f"the cell stops with {type(error).__name__}: {str(error)[:200]}"
                for name in names:
                    known = "stop" in before.get(name, {}) and isinstance(error, NameError)
                    if self.said.get(name) is before.get(name) and not known:
                        self.tell(name, {"stop": [FAILED, why]})
        for name, variable in self.last.items():
            if name in self.cases and variable in self.space and _too_early(self.said.get(name)):
                self.ask(name, self.space.get(variable))
        self.tell("at", "end")

    def check(self, answer: object = None, name: str | None = None, seed: int = 0) -> Absent:
        """What `check` is here: it asks, and leaves the verdict to the grader.

        Args:
            answer: a function or a value.
            name: the exercise; None: it is called as the function is.
            seed: draws nothing here: the grader has drawn.

        Returns:
            Something that counts as true.
        """
        name = name or getattr(answer, "__name__", "")
        if name in self.cases:
            self.ask(str(name), answer)
        return Absent("check")

    def ask(self, name: str, answer: object) -> None:
        """Ask for the answers of an exercise, and tell them.

        Args:
            name: the exercise.
            answer: a function or a value.
        """
        self.tell("at", name)
        self.tell(name, _attempt(answer, self.cases[name]))

    def tell(self, key: str, value: object) -> None:
        """One line for the grader.

        Args:
            key: an exercise, or `at`.
            value: a claim; a step, an exercise or `end`.
        """
        if isinstance(value, dict):
            self.said[key] = value
        print(json.dumps([key, value]), file=self.out, flush=True)


def _too_early(claim: dict | None) -> bool:
    """Not asked, or asked above the definition that it needs."""
    stop = ["", ""] if claim is None else claim.get("stop")
    return stop is not None and (stop[0] in ("", WAITING) or "stops with NameError" in stop[1])


def _main_module() -> dict:
    """The names of a module that calls itself `__main__`, as a notebook's do."""
    module = ModuleType("__main__")
    module.__dict__.update(display=_nothing, get_ipython=lambda: Absent("get_ipython"))
    sys.modules["__main__"] = module
    return module.__dict__


def _nothing(*things: object, **options: object) -> None:
    """In place of IPython's `display`."""


def _execute(statement: ast.stmt, source: str, cell: int, space: dict) -> None:
    """Run one statement; its source can be had by `inspect`, as in a notebook."""
    name = f"<cell {cell}>"
    lines = source.splitlines(keepends=True)
    linecache.cache[name] = (len(source), None, lines, name)
    exec(compile(ast.Module([statement], []), name, "exec"), space)


def _attempt(thing: object, cases: list) -> dict:
    """The answers of a function, or a value, to all cases; or why there are none."""
    if thing is None or thing is ...:
        return {"stop": [WAITING, ""]}
    is_value = cases == [()]
    if is_value and callable(thing):
        return {"stop": [FAILED, "a value is asked for here, not a function"]}
    if not is_value and not callable(thing):
        return {"stop": [FAILED, "hand over the function itself, without brackets behind it"]}
    answers, stopped = ask(thing, cases) if callable(thing) else ([thing], None)
    try:
        return {"stop": stopped} if stopped else {"answers": [_numbers(x) for x in answers]}
    except ValueError as error:
        return {"stop": [FAILED, str(error)]}


class Absent:
    """A name of the package where there is no package: everything can be had of it, as nothing."""

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, name: str) -> Absent:
        if name.startswith("__"):
            raise AttributeError(name)
        return Absent(f"{self._name}.{name}")

    def __call__(self, *things: object, **options: object) -> Absent:
        return Absent(f"{self._name}(...)")

    def __getitem__(self, key: object) -> Absent:
        return Absent(f"{self._name}[...]")

    def __iter__(self) -> Iterator:
        return iter(())

    def __mro_entries__(self, bases: tuple) -> tuple:
        return (object,)

    def __enter__(self) -> Absent:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def __repr__(self) -> str:
        return f"{self._name}, of the library, which is not there in grading"


class _NoPackage:
    """Finds modules of the package, and gives modules of which every name is an `Absent`."""

    def __init__(self, check: Callable):
        self.check = check

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """A module of the package, whatever it is called; None for those of others."""
        mine = name.partition(".")[0] == "bkind3d_lite"
        return ModuleSpec(name, self, is_package=True) if mine else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """An empty one."""
        return _AbsentModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """With one true name: `check`."""
        module.__dict__["check"] = self.check


class _AbsentModule(ModuleType):
    """Names that begin with `__` are no names of a module: `inspect` asks every module for them."""

    def __getattr__(self, name: str) -> Absent:
        if name.startswith("__"):
            raise AttributeError(name)
        return Absent(name)


def _limited() -> None:
    """Limits of memory, file size and core dumps, where the system has them."""
    try:
        import resource

        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except (ImportError, OSError):  # Windows, macOS: time is limited all the same
        return
    limits = {
        resource.RLIMIT_AS: taken + STUDENT_MEMORY,
        resource.RLIMIT_FSIZE: 2 * BYTES,
        resource.RLIMIT_CORE: 0,
    }
    for what, most in limits.items():
        resource.setrlimit(what, (most, most))
