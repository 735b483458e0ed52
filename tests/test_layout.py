"""The house: modules import only earlier ones, stay small, and say what they do."""

import ast
import re
import statistics
from collections import defaultdict
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "bkind3d_lite"
# The street: packages and modules in import order, and the modules of each package in theirs.
STREET = {
    "shapes": [],
    "sliding": [],
    "files": [],
    "progress": [],
    "units": [],
    "distributed": [],
    "recipes": ["ranges", "sections", "presets", "words"],
    "lenses": [],
    "cameras": [],
    "image_plane": [],
    "calibrations": [
        "entry", "isolated_parser", "spellings", "fields", "mocap", "human36m", "matlab", "plain",
        "tomls", "yamls",
    ],
    "volumes": [],
    "epipolar": [],
    "poses2d": ["entry", "orders", "json_files", "tables"],
    "multiview": [
        "two_views", "robust", "people", "relative_poses", "bundle", "camera_finder",
    ],
    "clips": [
        "video_headers", "video_index", "display", "camera_footage", "videos", "recordings",
        "frame_cache", "heading", "tracks", "image_tracks", "moving_light", "foreground",
        "extent", "rarity", "mirrors", "sampling", "clip", "sessions",
        "pseudo_labels", "occlusion", "lessons", "exports", "synthetic", "background", "uncovered",
        "survey", "survey_files", "single_view", "hull_motion", "look", "heading_finder",
        "left_out",
        "calibration_faults", "hull_agreement", "rig_checks", "recording_checks", "label_checks",
    ],
    "evaluation": ["regressors", "errors", "pose_scores", "body_bound", "protocol", "image_scores"],
    "tasks": [
        "pose_features", "behaviour_networks", "behaviour", "behaviour_scores", "labelled",
        "calms21", "simple_h36m",
    ],
    "model": [
        "pieces", "weight_gradients", "cpu_kernels", "cpu_residual", "memory_efficient", "compute",
        "blocks",
        "networks", "keypoints", "lifts", "integral", "edges", "figure", "perceptual", "losses",
        "discoverer", "objective", "builder",
    ],
    "training": [
        "precision", "prefetch", "orientation", "loop", "tracking", "image_tracking",
        "checkpoints", "session_training", "memory_walk", "memory_planner",
        "diagnostics",
    ],
    "students": ["mpii", "student", "refiner"],
    "viz": [
        "colours", "descriptions", "notebook_figures", "arrows", "overlays", "films", "plots",
        "model_images", "skeleton_edits", "traces", "scenes", "player", "interactive", "widgets",
        "dashboard", "report_page", "run_images", "paper_figures", "behaviour_plots",
    ],
    "workflows": [
        "usage", "lab_arguments", "session_arguments", "arguments",
        "recommend", "doctor", "doctor_page", "index_run",
        "track_run", "shards",
        "shard_run", "cluster_run", "cohort_page", "cohort_run", "sweep_page", "sweep_run",
        "evaluate_run", "logbook", "train_begin", "train_run", "quickstart", "pose_cameras",
        "label_run", "student_run",
        "classify_rows", "classify_page", "classify_run", "zoo",
    ],
    "lab": [
        "exercises", "cage", "sandbox", "borrowed", "checks", "revealing",
        "nursery", "fence", "submissions",
        "suspicion", "grading", "gradebook", "feedback", "similarity", "notebook_pages",
        "notebook_tools", "handouts", "desk",
    ],
}  # fmt: skip
ORDER = list(STREET)
FILES = sorted(p for p in PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}


def named(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def imported_by(path: Path) -> set[str]:
    """Modules of this package that a file imports, as dotted paths below it."""
    home, found = path.relative_to(PACKAGE).parts[:-1], set()
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*home[: len(home) + 1 - node.level], *(node.module or "").split(".")]
            base = [part for part in base if part]
            found |= {".".join([*base, alias.name]) for alias in node.names}
    return found


def place(dotted: str) -> tuple[int, int]:
    """Where a dotted name lies on the street: numbers of its package and of its module in there."""
    head, *rest = dotted.split(".")
    inner = STREET.get(head, [])
    return ORDER.index(head), inner.index(rest[0]) if rest and rest[0] in inner else -1


def test_every_module_has_its_place():
    def there(folder: Path) -> set[str]:
        return {p.stem for p in folder.glob("*.py")} | {
            p.parent.name for p in folder.glob("*/__init__.py")
        } - {folder.name}

    assert there(PACKAGE) - {"__init__", "__main__"} == set(ORDER)
    for package, modules in STREET.items():
        assert there(PACKAGE / package) - {"__init__"} == set(modules), package


@pytest.mark.parametrize("path", FILES, ids=named)
def test_modules_import_only_earlier_ones(path):
    own = named(path)
    if own in ("__init__", "__main__") or own.endswith(".__init__"):
        return  # contents pages hand on what lies below them
    for dotted in imported_by(path):
        head = dotted.split(".")[0]
        if head in STREET:
            mine, theirs = place(own), place(dotted)
            inside = dotted.split(".")[:2] == own.split(".")[:2]  # one dialect, layout or lesson
            assert inside or theirs < mine, f"{own} imports {dotted}"


# ---- budgets, on code formatted at 100 columns ---------------------------------------------------
LINES, FUNCTION, MEDIAN, PARAMETERS, ARGUMENTS = 400, 50, 12, 6, 3  # at most
SELF = ("self", "cls")
CLASSES = {
    node.name for tree in TREES.values() for node in tree.body if isinstance(node, ast.ClassDef)
}


def functions(tree: ast.AST) -> list:
    return [n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]


def length(node) -> int:
    return node.end_lineno - node.lineno + 1


def parameters(function) -> list[str]:
    """Names of a function's parameters as `Args:` names them, without self and cls."""
    a = function.args
    names = [x.arg for x in a.posonlyargs + a.args if x.arg not in SELF]
    names += [f"*{a.vararg.arg}"] if a.vararg else []
    names += [x.arg for x in a.kwonlyargs]
    return names + ([f"**{a.kwarg.arg}"] if a.kwarg else [])


def over_budget(path: Path) -> list[str]:
    tree, text = TREES[path], path.read_text(encoding="utf-8")
    over = [f"{text.count(chr(10))} lines"] if text.count("\n") > LINES else []
    for f in functions(tree):
        over += [f"{f.name}: {length(f)} lines"] if length(f) > FUNCTION else []
        positional = [x.arg for x in f.args.posonlyargs + f.args.args if x.arg not in SELF]
        if len(positional) > PARAMETERS and "ctx" not in positional:  # torch calls those by place
            over.append(f"{f.name}: {len(positional)} positional parameters")
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Tuple):
            over.append(f"line {node.lineno}: two statements joined by a comma")
        if isinstance(node, ast.Call) and len(node.args) > ARGUMENTS:
            called = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if called in CLASSES:
                over.append(f"line {node.lineno}: {called}({len(node.args)} positional arguments)")
    return over


@pytest.mark.parametrize("path", FILES, ids=named)
def test_budgets(path):
    assert over_budget(path) == []


def test_the_usual_function_is_short():
    lengths = [length(f) for tree in TREES.values() for f in functions(tree)]
    assert statistics.median(lengths) <= MEDIAN


# ---- words ---------------------------------------------------------------------------------------
PROTOCOL = {"read", "recognises", "sequences", "log"}  # every recording reader has these


def test_no_public_name_has_two_meanings():
    homes = defaultdict(list)
    for path, tree in TREES.items():
        if path.parent.name == "exercises":
            continue  # each lesson's own table
        for node in tree.body:
            targets = [t.id for t in getattr(node, "targets", []) if isinstance(t, ast.Name)]
            for name in [node.name] if hasattr(node, "name") else targets:
                if not name.startswith("_") and name not in PROTOCOL:
                    homes[name].append(named(path))
    assert {name: where for name, where in homes.items() if len(where) > 1} == {}


def test_every_image_size_says_its_order():
    bare = [
        f"{named(path)}.{f.name}"
        for path, tree in TREES.items()
        for f in functions(tree)
        for x in [*f.args.posonlyargs, *f.args.args, *f.args.kwonlyargs]
        if x.arg == "size" and x.annotation is not None and "tuple" in ast.unparse(x.annotation)
    ]
    assert bare == [], "wh or hw"


# ---- docstrings, in Google style -----------------------------------------------------------------
API = [p for p in FILES if p.parent.name != "exercises"]  # what a student would write, not for use


def sections(text: str) -> dict[str, str]:
    """The sections of a docstring by their heads (`Args`, ...), its own text under ""."""
    parts = re.split(r"^(Args|Returns|Yields|Raises):$", text, flags=re.M)
    return {"": parts[0]} | dict(zip(parts[1::2], parts[2::2]))


def raised(function) -> set[str]:
    """Exceptions that the body itself raises, by name."""
    inner = {id(n) for f in functions(function) if f is not function for n in ast.walk(f)}
    calls = [
        n.exc.func if isinstance(n.exc, ast.Call) else n.exc
        for n in ast.walk(function)
        if isinstance(n, ast.Raise) and n.exc is not None and id(n) not in inner
    ]
    names = {getattr(c, "id", getattr(c, "attr", "")) for c in calls}
    return {name for name in names if name[:1].isupper()}


def undocumented(function, where: str) -> list[str]:
    """What a function's docstring does not say; [] if nothing is missing."""
    text = ast.get_docstring(function)
    if not text:
        return [f"{where}: no docstring"]
    parts, missing = sections(text), []
    summary = text.split("\n", 1)[0]
    if not summary.endswith((".", "?", ":", "!")):
        missing.append(f"{where}: the first line is no summary: {summary!r}")
    names = parameters(function)
    told = re.findall(r"^    (\*{0,2}\w+)(?: \([^)]*\))?:", parts.get("Args", ""), flags=re.M)
    if names != told:
        missing.append(f"{where}: Args are {told}, parameters {names}")
    returns = ast.unparse(function.returns) if function.returns else "None"
    if names and returns not in ("None", "NoReturn") and not {"Returns", "Yields"} & parts.keys():
        missing.append(f"{where}: no Returns")
    if silent := {name for name in raised(function) if name not in parts.get("Raises", "")}:
        missing.append(f"{where}: no Raises for {', '.join(sorted(silent))}")
    return missing


def public(tree: ast.Module):
    """Public functions and methods with the name they are called by."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node, node.name
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
                    yield method, f"{node.name}.{method.name}"


def exempt(function, where: str) -> bool:
    """`forward` and parameterless helpers of a class may leave it to the class's docstring."""
    return "." in where and (function.name == "forward" or not parameters(function))


@pytest.mark.parametrize("path", API, ids=named)
def test_public_functions_are_documented(path):
    missing = []
    for function, where in public(TREES[path]):
        if function.name == "main" or (exempt(function, where) and not ast.get_docstring(function)):
            continue
        if not exempt(function, where):
            missing += undocumented(function, where)
    for node in TREES[path].body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            missing += [] if ast.get_docstring(node) else [f"{node.name}: no docstring"]
    assert missing == []


def test_every_module_says_what_it_is():
    assert [named(path) for path, tree in TREES.items() if not ast.get_docstring(tree)] == []
