"""The side of the lab that runs a student's function: it knows no right answers, imports little.

`checks` uses it in the notebook; `grading` runs it as a process of its own
(`python -m bkind3d_lite.lab.sandbox`), which reads a program from stdin and hands numbers back.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

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
    """A code cell's Python without IPython's % and ! lines.

    Args:
        source: the cell's text.

    Returns:
        The same lines; those of IPython are blank, so that line numbers stay.
    """
    lines = source.split("\n")
    return "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in lines)


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
    try:
        numbers = torch.as_tensor(x).detach().cpu().double()
    except Exception as error:  # an answer may be any object, and say no in any way
        raise ValueError(f"the answer is a {type(x).__name__}, expected numbers") from error
    if numbers.numel() > NUMBERS:
        raise ValueError(f"the answer has shape {tuple(numbers.shape)}, far too large")
    return plain(numbers)


def answer_from_stdin() -> None:
    """The other side: read a program from stdin, run the student's definitions, answer the cases.

    One line of JSON for each exercise, as soon as it is answered, and before each step where it is.
    """
    program = json.load(sys.stdin.buffer)
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)  # what the student prints goes nowhere
    _limited()
    cases = {name: [unplain(case) for case in those] for name, those in program["cases"].items()}
    namespace: dict = {"__name__": "student"}
    # notebooks import the lab; here it has no part, and takes seconds
    sys.modules["bkind3d_lite.lab"] = _Silent("bkind3d_lite.lab")

    def tell(key: str, value: object) -> None:
        print(json.dumps([key, value]), file=out, flush=True)

    for i, (source, names) in enumerate(program["steps"]):
        tell("at", i)
        try:
            exec(compile(source, f"cell {i}", "exec"), namespace)
        except (Exception, SystemExit) as error:
            why = f"the cell stops with {type(error).__name__}: {str(error)[:200]}"
            for name in names:
                tell(name, {"stop": [FAILED, why]})
            continue
        for name in [name for name in names if name in cases]:
            tell("at", name)
            tell(name, _attempt(namespace.get(names[name]), cases[name]))


def _attempt(thing: object, cases: list) -> dict:
    """The answers of a function, or a value, to all cases; or why there are none."""
    if thing is None or thing is ...:
        return {"stop": [WAITING, ""]}
    answers, stopped = ask(thing, cases) if callable(thing) else ([thing], None)
    try:
        return {"stop": stopped} if stopped else {"answers": [_numbers(x) for x in answers]}
    except ValueError as error:
        return {"stop": [FAILED, str(error)]}


class _Silent(ModuleType):
    """A module of which everything can be had, and does nothing."""

    def __getattr__(self, name: str) -> Callable:
        return lambda *args, **kwargs: None


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


if __name__ == "__main__":
    answer_from_stdin()
