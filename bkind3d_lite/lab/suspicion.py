"""What a person should look at in an answer: it reaches for the library, for files, for the grader.

None of it decides a grade: the fence does that. An answer that passes and is flagged is read.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .submissions import Statement, Submission, root_names

LIBRARY_NAME = __package__.partition(".")[0]
# modules and names that no answer of this course needs
REACHING = {
    "importlib", "inspect", "runpy", "pkgutil", "linecache", "gc", "ctypes", "subprocess", "socket",
    "multiprocessing", "pathlib", "shutil", "os", "sys", "signal", "builtins", "io", "urllib",
    "requests", "pickle", "marshal", "open", "exec", "eval", "compile",
    "__import__", "globals", "locals", "vars", "setattr", "delattr", "breakpoint", "Path",
    "import_module", "getsource", "getmodule", "currentframe",
}  # fmt: skip
TELLING_WORDS = (LIBRARY_NAME, "EXERCISES", "teaching.md", "key.md", ".ipynb", "/proc", "reference")
PUBLIC = {"check", "failing_input", "reveal", "list_exercises", "samples"}


def suspicions(submission: Submission, exercise: str) -> tuple[str, ...]:
    """Why a person should look at an answer.

    Args:
        submission: a notebook.
        exercise: one of its exercises.

    Returns:
        A few words each, in the order of the text; () for nothing.
    """
    behind = submission.behind(exercise)
    imported = dict(_imports(submission.statements))
    found = [why for s in behind for why in _reaches(s, imported)]
    found += [why for s in submission.statements for why in _patches(s, imported)]
    return tuple(dict.fromkeys(found))


def _imports(statements: tuple[Statement, ...]) -> Iterator[tuple[str, str]]:
    """Names that imports of the package give anywhere at the top level, and what they are."""
    for statement in statements:
        for node in ast.walk(statement.node):
            yield from _from_package(node)


def _from_package(node: ast.AST) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == LIBRARY_NAME:
        for alias in node.names:
            if alias.name not in PUBLIC:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"
    elif isinstance(node, ast.Import):
        for alias in node.names:
            if alias.name.partition(".")[0] == LIBRARY_NAME:
                yield alias.asname or LIBRARY_NAME, alias.name


def _reaches(statement: Statement, imported: dict[str, str]) -> Iterator[str]:
    """What a statement behind an answer uses that it should not need."""
    if isinstance(statement.node, (ast.Import, ast.ImportFrom)):
        return  # its names are seen where they are used
    for name in sorted(statement.loads & (imported.keys() | REACHING)):
        yield f"calls {imported[name]}" if name in imported else f"uses {name}"
    for node in ast.walk(statement.node):
        for _, what in _from_package(node):
            yield f"imports {what}"
        if isinstance(node, ast.Attribute) and _is_inner(node.attr):
            yield f"uses {node.attr}"
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names]
            heads = [getattr(node, "module", None) or name for name in names]
            yield from (f"imports {h}" for h in heads if h.partition(".")[0] in REACHING)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if _is_short(text := node.value):
                yield from (f"names {word}" for word in TELLING_WORDS if word in text)


def _is_inner(name: str) -> bool:
    """`__globals__` and its like; not those that classes define."""
    usual = {"__init__", "__name__", "__doc__", "__call__", "__getitem__", "__len__", "__iter__"}
    return name.startswith("__") and name.endswith("__") and name not in usual


def _is_short(text: str) -> bool:
    """No docstring: that may speak of the reference."""
    return len(text) < 200 and "\n" not in text


def _patches(statement: Statement, imported: dict[str, str]) -> Iterator[str]:
    """Assignments into the package, wherever they are, and imports of the lab's inside."""
    for node in ast.walk(statement.node):
        for _, what in _from_package(node):
            if what.startswith(f"{LIBRARY_NAME}.lab") and what.count(".") > 1:
                yield f"imports {what}"
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield from (f"patches {imported[r]}" for r in root_names(node) if r in imported)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
            roots = root_names(node.args[0]) if node.func.id == "setattr" else ()
            yield from (f"patches {imported[r]}" for r in roots if r in imported)
