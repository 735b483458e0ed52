"""A student's notebook as a program, read and never run: which statements its exercises need.

Those are all that a `check` needs, in the notebook's order: definitions, helpers, imports,
constants, whatever cell they are in. A loop that draws or trains is left out unless an answer uses
what it makes.
"""

from __future__ import annotations

import ast
import dis
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock
from types import CodeType

from ..files import text_of
from .exercises import EXERCISES
from .sandbox import BYTES, python_of

# calls of a library that an answer may rest on, though they make no name
SETTERS = {"set_default_dtype", "set_grad_enabled", "manual_seed", "seed", "seterr"}
# how a cell that does not parse names what it answers
MENTIONS = (r"\bdef\s+(\w+)", r"^(\w+)\s*=", r"\bcheck\(\s*(\w+)")
# Python 3.11 counts how deep the trees of all threads are in one place: two that parse at once may
# end in "SystemError: AST constructor recursion depth mismatch"
PARSING = Lock()
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True)
class Statement:
    """One statement of a notebook's top level: its cell, its place in there, and its names.

    `exercises` are those that it defines in a tagged cell or hands to `check`.
    """

    cell: int
    place: int
    node: ast.stmt
    binds: frozenset[str]
    loads: frozenset[str]
    checks: tuple[tuple[str, str], ...] = ()  # exercise, variable ("" for an expression)
    is_check: bool = False


@dataclass(frozen=True)
class Submission:
    """What a notebook holds: its cells' Python, their statements, cells that do not parse."""

    cells: tuple[str, ...]
    statements: tuple[Statement, ...]
    tagged: frozenset[int] = frozenset()
    broken: dict[str, str] = field(default_factory=dict)  # exercise: why

    @cached_property
    def variables(self) -> dict[str, str]:
        """The exercises that are answered, each with the variable of the answer; "" if it is none.

        Names that are only imported answer nothing.
        """
        made = {
            name
            for s in self.statements
            if not isinstance(s.node, (ast.Import, ast.ImportFrom))
            for name in s.binds
        }
        found = {name: name for s in self.statements if s.cell in self.tagged for name in s.binds}
        for statement in self.statements:
            found |= dict(statement.checks)
        return {
            exercise: variable
            for exercise, variable in found.items()
            if exercise in EXERCISES and (variable in made or not variable)
        }

    @property
    def needed(self) -> list[Statement]:
        """The statements that the checks and the answers need, in order."""
        seeds = [s for s in self.statements if s.is_check]
        wanted = {name for s in seeds for name in s.loads} | set(self.variables.values())
        return self._closure(seeds, wanted)

    def behind(self, exercise: str) -> list[Statement]:
        """The statements that make one answer.

        Args:
            exercise: its name.

        Returns:
            Its definition, and all that this needs; in the notebook's order.
        """
        variable = self.variables.get(exercise, exercise)
        inline = [s for s in self.statements if not variable and (exercise, "") in s.checks]
        wanted = {name for s in inline for name in s.loads} | {variable} - {""}
        return self._closure(inline, wanted)

    def _closure(self, chosen: list[Statement], wanted: set[str]) -> list[Statement]:
        """With all statements that bind what is wanted, and what those want."""
        taken, size = set(map(id, chosen)), -1
        while size != len(taken):
            size = len(taken)
            for s in self.statements:
                if id(s) not in taken and s.binds & wanted:
                    taken.add(id(s))
                    wanted = wanted | s.loads
        return [s for s in self.statements if id(s) in taken]

    def source_of(self, exercise: str) -> str:
        """The text of an answer.

        Args:
            exercise: its name.

        Returns:
            Its own statements, without helpers; "" if there is none.
        """
        variable = self.variables.get(exercise, exercise)
        own = [
            s
            for s in self.statements
            if variable in s.binds or not variable and (exercise, "") in s.checks
        ]
        return "\n".join(ast.get_source_segment(self.cells[s.cell], s.node) or "" for s in own[-1:])


def submission_of(path: Path) -> Submission:
    """Read a notebook.

    Args:
        path: a notebook; it is read, never run.

    Returns:
        What is in it.

    Raises:
        ValueError: the file is no notebook, or too large for one.
    """
    if not path.is_file() or path.stat().st_size > BYTES:
        raise ValueError(f"not a plain file of at most {BYTES >> 20} MB")
    try:
        cells = json.loads(text_of(path))["cells"]
        code = [
            ("".join(cell["source"]), "exercise" in cell.get("metadata", {}).get("tags", []))
            for cell in cells
            if cell["cell_type"] == "code"
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a notebook ({type(error).__name__})") from error
    with PARSING:
        return _submission(code)


def _submission(code: list[tuple[str, bool]]) -> Submission:
    texts, trees = [], []  # of each cell
    broken: dict[str, str] = {}
    for source, _ in code:
        text = python_of(source)
        try:
            trees.append([(node, _compiled(node)) for node in ast.parse(text).body])
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            broken |= _broken(text, error)
            text = ""
            trees.append([])
        texts.append(text)
    nodes = [node for tree in trees for node, _ in tree]
    asks, libraries = _names_of_check(nodes), set(_imported(nodes))
    statements = [
        _statement((cell, place), node, frozenset(_loaded(code)), (asks, libraries))
        for cell, tree in enumerate(trees)
        for place, (node, code) in enumerate(tree)
    ]
    tagged = frozenset(i for i, (_, is_tagged) in enumerate(code) if is_tagged)
    return Submission(tuple(texts), tuple(statements), tagged=tagged, broken=broken)


def _broken(text: str, error: Exception) -> dict[str, str]:
    """The exercises of a cell that does not parse, and why."""
    words = {word for mention in MENTIONS for word in re.findall(mention, text, re.M)}
    for rest in re.findall(r"\bcheck\((.*)", text):
        words |= set(re.findall(r"['\"](\w+)(?=['\"])", rest))
    where = f" in line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
    why = f"✗ the cell does not parse{where}"
    return {name: why for name in EXERCISES if name in words}


def _names_of_check(nodes: Iterable[ast.stmt]) -> set[str]:
    """What a notebook calls `check`: its name, or another that an import or an assignment gives."""
    names = {"check"}
    for node in nodes:
        if isinstance(node, ast.FunctionDef):  # a helper that checks what it is given
            calls = (inner for inner in ast.walk(node) if isinstance(inner, ast.Call))
            names |= {node.name for call in calls if _is_check(call.func, names)}
        if isinstance(node, ast.ImportFrom):
            names |= {a.asname for a in node.names if a.name == "check" and a.asname}
        if isinstance(node, ast.Assign) and _is_check(node.value, names):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def _imported(nodes: Iterable[ast.stmt]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from (alias.asname or alias.name.split(".")[0] for alias in node.names)


def _is_check(function: ast.expr, names: set[str]) -> bool:
    by_name = isinstance(function, ast.Name) and function.id in names
    return by_name or isinstance(function, ast.Attribute) and function.attr == "check"


def _statement(
    at: tuple[int, int], node: ast.stmt, loads: frozenset[str], known: tuple[set[str], set[str]]
) -> Statement:
    asks, libraries = known
    calls = [
        call
        for call in ast.walk(node)
        if isinstance(call, ast.Call) and any(_is_check(f, asks) for f in (call.func, *call.args))
    ]
    return Statement(
        cell=at[0],
        place=at[1],
        node=node,
        binds=frozenset(_bound(node, libraries)),
        loads=loads,
        checks=tuple(asked for call in calls for asked in _asked(call, asks)),
        is_check=bool(calls),
    )


def _asked(call: ast.Call, asks: set[str]) -> Iterator[tuple[str, str]]:
    """Exercise and variable of one call of `check`, as far as its text tells."""
    if not _is_check(call.func, asks):
        return
    named = {k.arg: k.value for k in call.keywords}
    answer = call.args[0] if call.args else named.get("answer")
    name = call.args[1] if len(call.args) > 1 else named.get("name")
    variable = answer.id if isinstance(answer, ast.Name) else ""
    if isinstance(name, ast.Constant) and isinstance(name.value, str):
        yield name.value, variable
    elif name is None and variable:
        yield variable, variable
    elif name is None and isinstance(answer, ast.Attribute):
        yield answer.attr, ""


def _bound(node: ast.stmt, libraries: set[str]) -> Iterator[str]:
    """Names that a statement makes or changes at the top level.

    `table.append(3)` changes `table`; `torch.manual_seed(0)` changes torch, most calls do not.
    """
    if isinstance(node, DEFINITIONS):
        yield node.name
        return
    for inner in _outside_definitions(node):
        if isinstance(inner, DEFINITIONS):
            yield inner.name
        elif isinstance(inner, (ast.Import, ast.ImportFrom)):
            yield from (alias.asname or alias.name.split(".")[0] for alias in inner.names)
        elif isinstance(inner, ast.Name) and isinstance(inner.ctx, (ast.Store, ast.Del)):
            yield inner.id
        elif isinstance(inner, (ast.Attribute, ast.Subscript)):
            if isinstance(inner.ctx, (ast.Store, ast.Del)):
                yield from root_names(inner)
        elif isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute):
            roots = set(root_names(inner.func)) if isinstance(node, ast.Expr) else set()
            yield from roots if inner.func.attr in SETTERS else roots - libraries


def root_names(node: ast.expr) -> Iterator[str]:
    """The name at the root of an expression: `table` of `table[0].rows`.

    Args:
        node: an expression.

    Yields:
        One name; nothing where the root is no name.
    """
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    if isinstance(node, ast.Name):
        yield node.id


def _outside_definitions(node: ast.AST) -> Iterator[ast.AST]:
    """A statement's nodes, without those in bodies of functions and classes."""
    open_nodes = [node]
    while open_nodes:
        inner = open_nodes.pop()
        yield inner
        if not isinstance(inner, (*DEFINITIONS, ast.Lambda)):
            open_nodes += ast.iter_child_nodes(inner)


def _loaded(code: CodeType) -> Iterator[str]:
    """Names that a statement looks up outside of its functions: not their own variables."""
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_NAME", "LOAD_GLOBAL", "STORE_GLOBAL"):
            yield step.argval
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _loaded(inner)


def _compiled(node: ast.stmt) -> CodeType:
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    return compile(ast.Module([node], []), "cell", "exec", flags, dont_inherit=True)
