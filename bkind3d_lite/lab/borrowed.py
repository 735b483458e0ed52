"""Whether an answer calls the library that it shall rebuild; in grading it is not there."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from contextlib import suppress
from types import CodeType, FunctionType, ModuleType

OURS = __package__.partition(".")[0]


def borrowed(answer: object) -> str:
    """What of the package a function uses, itself or through helpers that are not the package's.

    Args:
        answer: a student's function.

    Returns:
        The first such name, dotted; "" if there is none.
    """
    seen: set[int] = set()
    open_things = [answer]
    while open_things:
        thing = open_things.pop()
        if not isinstance(thing, FunctionType) or id(thing) in seen:
            continue
        seen.add(id(thing))
        for used in _used(thing):
            if name := _of_package(used):
                return name
            open_things.append(used)
    return ""


def _used(function: FunctionType) -> Iterator[object]:
    """What a function's names stand for now, in its module and around it."""
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # an empty cell: a name that is not bound yet
            yield cell.cell_contents
    for name in _names(function.__code__):
        if name in function.__globals__ and not hasattr(builtins, name):
            yield function.__globals__[name]


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _of_package(thing: object) -> str:
    """The name of a module, function, class or object of the package; "" for others."""
    if isinstance(thing, ModuleType):
        name = thing.__name__
    else:
        home = thing if hasattr(thing, "__qualname__") else type(thing)
        name = f"{getattr(home, '__module__', '')}.{getattr(home, '__qualname__', '')}"
    return name if name.partition(".")[0] == OURS else ""
