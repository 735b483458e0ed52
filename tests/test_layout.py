"""The house: modules import only earlier ones, and stay small."""
import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "bkind3d_lite"
ORDER = ["shapes", "files", "ranks", "cameras", "videos", "clips", "edges", "synthetic", "volumes", "motion", "networks", "lifts", "losses",
         "recipes", "model", "epipolar", "training", "checkpoints", "health", "evaluation", "overlays", "editing", "traces", "views", "explore",
         "widgets", "board", "report", "sheets", "results", "runs", "quickstart", "exercises", "lab", "grading", "notebooks"]


def imported_by(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            found |= {node.module} if node.module else {alias.name for alias in node.names}
    return found & set(ORDER)


def test_every_module_has_its_place():
    assert {p.stem for p in PACKAGE.glob("*.py")} == set(ORDER) | {"__init__", "__main__"}


@pytest.mark.parametrize("name", ORDER)
def test_modules_import_only_earlier_ones(name):
    assert imported_by(PACKAGE / f"{name}.py") <= set(ORDER[: ORDER.index(name)])


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda p: p.stem)
def test_budgets(path):
    text = path.read_text(encoding="utf-8")
    functions = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef)]
    assert text.count("\n") <= 350
    for f in functions:
        assert f.end_lineno - f.lineno + 1 <= 45, f"{path.stem}.{f.name}"


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda p: p.stem)
def test_public_functions_are_documented(path):
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_") and node.name != "main":
            assert ast.get_docstring(node) or _says_fields(node), f"{path.stem}.{node.name}"


def _says_fields(node) -> bool:
    """A protocol or small dataclass whose fields carry comments needs no docstring."""
    return isinstance(node, ast.ClassDef) and any(isinstance(n, ast.AnnAssign) for n in node.body)
