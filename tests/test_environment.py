"""What is imported is declared, and conda's environment has what pyproject.toml declares."""

import ast
import re
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

from bkind3d_lite.lab.notebook_tools import code_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
CONDA_EXTRAS = ("lab", "io", "logs", "test")  # of these a conda environment has all
CONDA_NAMES = {
    "torch": "pytorch",
    "matplotlib": "matplotlib-base",
    "tables": "pytables",
    "build": "python-build",
}
EXTRAS_OF_FUNCTIONS = ("lab", "io", "cameras", "nwb", "logs", "cluster", "sweep")
DISTRIBUTIONS = {
    "IPython": "ipython",
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
    "tomli_w": "tomli-w",
    "ndx_pose": "ndx-pose",
    "mpl_toolkits": "matplotlib",
}  # of modules called otherwise


def parsed(requirement: str) -> tuple[str, str]:
    """Name and bounds of a requirement, `torch>=2.6`; markers are left out."""
    name, bounds = re.match(r"([\w.-]+)([^;]*)", requirement.replace(" ", "")).groups()
    return name, bounds


def conda() -> tuple[dict[str, str], list[str]]:
    """What environment.yml lists: {conda name: bounds}, and the lines for pip."""
    listed = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    (for_pip,) = (entry["pip"] for entry in listed if isinstance(entry, dict))
    return dict(parsed(entry) for entry in listed if isinstance(entry, str)), for_pip


def imported(tree: ast.AST) -> set[str]:
    """Top-level names of the modules that some code imports, without Python's own and ours."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.split(".")[0])
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "required"  # an export's library, asked for when it is written
        ):
            found.add(node.args[0].value)
    return found - {"bkind3d_lite"} - sys.stdlib_module_names


def declared(*extras: str) -> set[str]:
    """Names of the package's dependencies and of those of `extras`."""
    lists = [PROJECT["dependencies"], *(EXTRAS[extra] for extra in extras)]
    return {parsed(requirement)[0] for listed in lists for requirement in listed}


def undeclared(modules: set[str], allowed: set[str]) -> set[str]:
    return {name for name in modules - {"tomllib"} if DISTRIBUTIONS.get(name, name) not in allowed}


@pytest.mark.parametrize(
    "path", sorted((ROOT / "bkind3d_lite").rglob("*.py")), ids=lambda p: p.stem
)
def test_a_module_imports_what_is_declared(path):
    """At its head what every installation has; inside functions an extra's libraries, too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    later = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for node in tree.body:
        allowed = EXTRAS_OF_FUNCTIONS if isinstance(node, later) else ()
        assert not undeclared(imported(node), declared(*allowed))


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_a_lesson_imports_what_is_declared_and_what_conda_has(path):
    cells = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    modules = set().union(*(imported(ast.parse(code_of(cell))) for cell in cells))
    assert not undeclared(modules, declared("lab"))
    names = {DISTRIBUTIONS.get(name, name) for name in modules}
    assert {CONDA_NAMES.get(name, name) for name in names} <= conda()[0].keys()


def test_conda_has_what_is_declared_with_the_same_bounds():
    has, _ = conda()
    lists = [PROJECT["dependencies"], *(EXTRAS[extra] for extra in CONDA_EXTRAS)]
    for name, bounds in map(parsed, sum(lists, [])):
        assert has.get(CONDA_NAMES.get(name, name)) == bounds, f"{name}{bounds}"
    assert has["python"] == PROJECT["requires-python"]


def test_conda_lists_nothing_else_and_pip_adds_this_package():
    has, for_pip = conda()
    names = {CONDA_NAMES.get(name, name) for name in declared(*CONDA_EXTRAS)}
    assert has.keys() - names == {"python", "pip"}
    assert for_pip == ["-e .[nwb,cameras]"]
