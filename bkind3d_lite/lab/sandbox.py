"""Answering: the side of the lab that runs a student's function. It knows no right answers, and imports little.

`lab` uses it in the notebook; `grading` runs it as a process of its own (`python -m bkind3d_lite.lab.sandbox`), which reads a program from stdin and
hands numbers back.
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


def ask(function: Callable, cases: list[tuple]) -> tuple[list, tuple[str, str] | None]:
    """The function's answers to all cases; and (state, message) if it stopped on the way or is not attempted yet."""
    answers = []
    for i, case in enumerate(cases):
        try:
            answers.append(function(*fresh(case)))
        except NotImplementedError:
            return answers, (WAITING, "○ not attempted yet")
        except (Exception, SystemExit) as error:
            return answers, (FAILED, f"✗ case {i + 1}: {_said(error)}")
        if answers[-1] is None or answers[-1] is ...:
            more = (
                ""
                if answers[-1] is ... or _is_stub(function)
                else " (your function returns nothing: is a `return` missing?)"
            )
            return answers, (WAITING, f"○ not attempted yet{more}")
    return answers, None


def _is_stub(answer: Callable) -> bool:
    """Nothing in its body but `...`, `pass` or a docstring."""
    code = getattr(answer, "__code__", None)
    if code is None:
        return False
    given = (
        code.co_argcount
        + code.co_kwonlyargcount
        + sum(bool(code.co_flags & star) for star in (inspect.CO_VARARGS, inspect.CO_VARKEYWORDS))
    )
    return not code.co_names and code.co_nlocals == given


def _said(error: BaseException) -> str:
    first = str(error).strip().split("\n")[0][:200]
    return f"your function stops with {type(error).__name__}" + (f": {first}" if first else "")


def fresh(case: tuple) -> tuple:
    """Copies, so that an answer which writes into its input does not spoil the next call."""
    return tuple(x.clone() if isinstance(x, Tensor) else x for x in case)


# ---- numbers over the wire: no pickles from strangers ------------------------------------------------------------
def plain(x: object) -> object:
    """Tensors and tuples as JSON."""
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
    """The inverse of `plain`."""
    if isinstance(x, dict) and "tuple" in x:
        return tuple(unplain(y) for y in x["tuple"])
    if isinstance(x, dict):
        dtype = {
            "float32": torch.float32,
            "float64": torch.float64,
            "uint8": torch.uint8,
            "int64": torch.int64,
            "bool": torch.bool,
        }[x["dtype"]]
        return torch.tensor(x["tensor"], dtype=dtype).reshape(x["shape"])
    return [unplain(y) for y in x] if isinstance(x, list) else x


def _numbers(x: object) -> dict:
    """A student's answer as plain numbers; raises `ValueError` for anything else."""
    try:
        numbers = torch.as_tensor(x).detach().cpu().double()
    except Exception as error:  # an answer may be any object, and say no in any way
        raise ValueError(f"the answer is a {type(x).__name__}, expected numbers") from error
    if numbers.numel() > NUMBERS:
        raise ValueError(f"the answer has shape {tuple(numbers.shape)}, far too large")
    return plain(numbers)


def answer_from_stdin() -> None:
    """The other side: read a program, run the student's definitions, answer the cases, one line of JSON per exercise."""
    program = json.load(sys.stdin.buffer)
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)  # what the student prints goes nowhere
    _limited()
    cases = {name: unplain(value) for name, value in program["cases"].items()}
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
            for name in names:
                tell(
                    name,
                    {
                        "stop": [
                            FAILED,
                            f"the cell stops with {type(error).__name__}: {str(error)[:200]}",
                        ]
                    },
                )
            continue
        for name in [name for name in names if name in cases]:
            tell("at", name)
            tell(name, _attempt(namespace.get(names[name]), cases[name]))


def _attempt(thing: object, cases: list[tuple]) -> dict:
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
    for what, most in (
        (resource.RLIMIT_AS, taken + STUDENT_MEMORY),
        (resource.RLIMIT_FSIZE, 2 * BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))


if __name__ == "__main__":
    answer_from_stdin()
