"""The house: modules import only earlier ones, and stay small."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "bkind3d_lite"
ORDER = [
    "shapes",
    "files",
    "ranks",
    "cameras",
    "calibrations",
    "containers",
    "videos",
    "recordings",
    "stored",
    "clips",
    "exports",
    "edges",
    "synthetic",
    "volumes",
    "motion",
    "suspects",
    "questions",
    "frugal",
    "networks",
    "lifts",
    "losses",
    "recipes",
    "model",
    "epipolar",
    "devices",
    "training",
    "planning",
    "prescription",
    "doctor",
    "checkpoints",
    "health",
    "evaluation",
    "overlays",
    "editing",
    "traces",
    "views",
    "explore",
    "widgets",
    "board",
    "report",
    "sheets",
    "consultation",
    "results",
    "figures",
    "runs",
    "quickstart",
    "exercises",
    "answering",
    "lab",
    "grading",
    "notebooks",
]


FILES = sorted(p for p in PACKAGE.rglob("*.py"))


def named(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def sources(name: str) -> list[Path]:
    """The file of a module, or all files of a package."""
    return (
        [PACKAGE / f"{name}.py"]
        if (PACKAGE / f"{name}.py").is_file()
        else sorted((PACKAGE / name).glob("*.py"))
    )


def imported_by(path: Path) -> set[str]:
    """Modules of this package that a file imports, by the first word of their names."""
    inside, found = (
        len(path.relative_to(PACKAGE).parts),
        set(),
    )  # from a package's folder, `..` is this package
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == inside:
            found |= (
                {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
            )
    return found & set(ORDER)


def test_every_module_has_its_place():
    assert {p.stem for p in PACKAGE.glob("*.py")} | {
        p.parent.name for p in PACKAGE.glob("*/__init__.py")
    } == set(ORDER) | {"__init__", "__main__"}


@pytest.mark.parametrize("name", ORDER)
def test_modules_import_only_earlier_ones(name):
    for path in sources(name):
        assert imported_by(path) <= set(ORDER[: ORDER.index(name)]), path.name


@pytest.mark.parametrize("path", FILES, ids=named)
def test_budgets(path):
    text = path.read_text(encoding="utf-8")
    functions = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef)]
    assert text.count("\n") <= 350
    for f in functions:
        assert f.end_lineno - f.lineno + 1 <= 45, f"{path.stem}.{f.name}"


API = [
    p for p in FILES if p.parent.name != "exercises"
]  # exercises hold what a student would write, not functions for use


@pytest.mark.parametrize("path", API, ids=named)
def test_public_functions_are_documented(path):
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if (
            isinstance(node, (ast.FunctionDef, ast.ClassDef))
            and not node.name.startswith("_")
            and node.name != "main"
        ):
            assert ast.get_docstring(node) or _says_fields(node), f"{path.stem}.{node.name}"


def _says_fields(node) -> bool:
    """A protocol or small dataclass whose fields carry comments needs no docstring."""
    return isinstance(node, ast.ClassDef) and any(isinstance(n, ast.AnnAssign) for n in node.body)
