"""Notebooks: tracked clean, checked small, executed as artefacts. Nothing imports this module.

python -m bkind3d_lite notebooks clean              rewrite notebooks/*.ipynb without outputs
python -m bkind3d_lite notebooks check              say what breaks the rules
python -m bkind3d_lite notebooks run --html         execute into build/notebooks; fails on an error, a ✗, or lost time
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from pathlib import Path

import nbformat

from ..files import bundled, write_atomically

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
CELLS, LINES, KILOBYTES, EXECUTED_MB = 30, 15, 60, 4.0  # at most
TIME_LIMITS = {"08_training": 300.0}  # real training, in its short form
PLOTLY = "application/vnd.plotly.v1+json"
WIDGET = "application/vnd.jupyter.widget-"  # view+json, state+json


def cleaned(text: str) -> str:
    """A notebook's JSON without outputs, counts and metadata other than kernelspec and tags; cell ids are kept.

    `cleaned(run(x)) == x`, byte for byte, for a clean x.
    """
    nb = nbformat.reads(text, as_version=4)
    nb.metadata, nb.nbformat, nb.nbformat_minor = {"kernelspec": KERNEL}, 4, 5
    for i, cell in enumerate(nb.cells):
        cell.metadata = {k: v for k, v in cell.metadata.items() if k == "tags" and v}
        cell.setdefault("id", f"cell-{i}")
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return nbformat.writes(nb, version=4).rstrip("\n") + "\n"


# ---- check -------------------------------------------------------------------------------------------------------
def problems(path: str | Path) -> list[str]:
    """What breaks the rules of a lesson, one sentence each; empty if nothing does."""
    raw = Path(path).read_bytes()
    try:
        text = raw.decode("utf-8")
        nb = nbformat.reads(text, as_version=4)
        tidy = cleaned(text)
    except Exception as error:  # nbformat raises several kinds for a file that is no notebook
        return [f"not a notebook: {type(error).__name__}"]
    found = (
        []
        if text == tidy and b"\r" not in raw
        else ["not clean: run `python -m bkind3d_lite notebooks clean`"]
    )
    if len(nb.cells) > CELLS:
        found.append(f"{len(nb.cells)} cells, at most {CELLS}")
    if len(raw) > KILOBYTES * 1024:
        found.append(f"{len(raw) / 1024:.0f} KB, at most {KILOBYTES}")
    for cell in nb.cells:
        if cell.cell_type == "code":
            found += [f"cell {cell.get('id')}: {what}" for what in _cell_problems(cell)]
    return found + _shape_problems(nb)


def code_of(cell) -> str:
    """A code cell's Python without IPython's % and ! lines, which become blank so that line numbers stay."""
    return "\n".join(
        "" if line.lstrip().startswith(("%", "!")) else line for line in cell.source.split("\n")
    )


def tags_of(cell) -> list[str]:
    """A cell's tags, none if it has none."""
    return cell.metadata.get("tags", [])


def _cell_problems(cell) -> list[str]:
    found, lines = [], cell.source.count("\n") + 1
    if lines > LINES:
        found.append(f"{lines} lines, at most {LINES}")
    try:
        tree = ast.parse(code_of(cell))
    except SyntaxError as error:
        return [*found, f"does not parse (line {error.lineno})"]
    if any(
        isinstance(node, ast.ImportFrom) and node.names[0].name == "*" for node in ast.walk(tree)
    ):
        found.append("imports *")
    if "filterwarnings" in cell.source or "simplefilter" in cell.source:
        found.append("silences warnings")
    if re.search(r"^\s*[!%].*\b(pip|wget|curl)\b", cell.source, re.M) and "setup" not in tags_of(
        cell
    ):
        found.append("installs or downloads outside the cell tagged setup")
    if "exercise" in tags_of(cell) and not (
        "..." in cell.source and re.search(r"\bcheck\(", cell.source)
    ):
        found.append("tagged exercise without a stub `...` and a check_rules(...)")
    return found


def _shape_problems(nb) -> list[str]:
    """The roles a lesson has: opening, setup, exercises, widget, self-test."""
    first = nb.cells[0] if nb.cells else None
    opening = first.source if first is not None and first.cell_type == "markdown" else ""
    code = [cell for cell in nb.cells if cell.cell_type == "code"]
    tags = [tag for cell in nb.cells for tag in tags_of(cell)]
    needs = {
        "the first cell has no title (# ...)": opening.startswith("# "),
        "the first cell asks no question (?)": "?" in opening,
        "the first cell lists no objectives (- ...)": re.search(r"^\s*[-*] ", opening, re.M),
        "the first cell does not say how many minutes it takes": re.search(r"\d+ minutes", opening),
        "2 to 4 cells must be tagged exercise": 2 <= tags.count("exercise") <= 4,
        "a cell must be tagged widget": "widget" in tags,
        "the last code cell has no assert": code and "assert " in code[-1].source,
    }
    return [what for what, met in needs.items() if not met]


# ---- run ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Executed:
    """One executed notebook: CPU seconds, size of the executed copy in MB, and what went wrong (empty: nothing)."""

    name: str
    seconds: float
    megabytes: float
    faults: tuple[str, ...]


def run(
    path: str | Path,
    out: str | Path,
    limit: float | None = None,
    html: bool = False,
    threads: int = 2,
) -> Executed:
    """Execute a notebook in its own folder, write the executed copy (and an HTML page) into `out`, and say how it went.

    `limit` in CPU seconds of the kernel (None: 90, and 300 for 08_training), which a busy machine does not stretch and which on an idle one are
    never less than the seconds on the wall; after three times as long on the wall it is stopped. The copy is written whatever happens.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    path, out = Path(path), Path(out)
    limit = limit or TIME_LIMITS.get(path.stem, 90.0)
    nb = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
    nb.cells.append(
        nbformat.v4.new_code_cell("import time; print(time.process_time())")
    )  # the kernel's own clock; taken out again
    begun, faults = time.monotonic(), []
    client = NotebookClient(
        nb,
        timeout_func=lambda cell: max(1, int(3 * limit - (time.monotonic() - begun))),
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent.resolve())}},
    )
    try:
        client.execute(
            env=os.environ
            | {
                "PLOTLY_RENDERER": "plotly_mimetype",
                "OMP_NUM_THREADS": str(threads),
                "OMP_WAIT_POLICY": "passive",
            }
        )  # a thread that waits must not count as one that works
    except CellTimeoutError:
        faults.append(f"over {3 * limit:.0f} seconds on the wall")
    except CellExecutionError as error:
        faults.append(
            f"error: {error.ename}: {error.evalue.splitlines()[0][:200] if error.evalue else ''}"
        )
    except DeadKernelError:
        faults.append("the kernel died (memory?)")
    clock = nb.cells.pop().outputs
    seconds = float(clock[0].text) if clock else time.monotonic() - begun
    if seconds > limit and not faults:
        faults.append(f"over its {limit:.0f} seconds")
    faults += [f"wrong: {line}" for line in printed(nb) if line.startswith("✗")]
    freeze_widgets(nb)
    text = nbformat.writes(nb, version=4)
    write_atomically(
        out / path.name, lambda temporary: temporary.write_text(text, encoding="utf-8")
    )
    megabytes = len(text.encode()) / 2**20
    if megabytes > EXECUTED_MB:
        faults.append(f"{megabytes:.1f} MB when executed, at most {EXECUTED_MB:.0f}")
    if html:
        page(nb, out / f"{path.stem}.html")
    return Executed(path.stem, seconds, megabytes, tuple(faults))


def printed(nb) -> list[str]:
    """All lines that the code cells printed."""
    texts = [
        output.text
        for cell in nb.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "stream"
    ]
    return [line for text in texts for line in text.split("\n")]


def freeze_widgets(nb) -> None:
    """In place: a widget, which needs a kernel (and stores 5 MB of script), becomes the still picture it showed."""
    models = nb.metadata.pop("widgets", {}).get(f"{WIDGET}state+json", {}).get("state", {})
    for cell in nb.cells:
        for output in cell.get("outputs", []):
            if view := output.get("data", {}).pop(f"{WIDGET}view+json", None):
                for shown in _shown(view["model_id"], models):
                    output["data"] |= shown


def _shown(model: str, models: dict) -> Iterator[dict]:
    """What a widget and the widgets inside it show: Plotly figures, and the contents of output areas."""
    state = models.get(model, {}).get("state", {})
    if state.get("_anywidget_id", "").endswith("FigureWidget"):
        for buffer in models[model].get(
            "buffers", []
        ):  # arrays travel apart: back to their places, as base64
            *way, key, _ = buffer["path"]
            place = reduce(getitem, way, state)
            place[key] = {
                "bdata": buffer["data"],
                "dtype": place[key]["dtype"],
                "shape": ", ".join(map(str, place[key]["shape"])),
            }
        yield {PLOTLY: {"data": state["_widget_data"], "layout": state["_widget_layout"]}}
    for output in state.get("outputs", []):
        yield output.get("data", {})
    for child in state.get("children", []):
        yield from _shown(child.removeprefix("IPY_MODEL_"), models)


def page(nb, path: Path) -> None:
    """A notebook as one HTML page; Plotly's script is written once beside it, so figures turn and play with no network."""
    from nbconvert import HTMLExporter
    from plotly.io import to_html
    from plotly.offline import get_plotlyjs

    nb = nbformat.from_dict(nb)
    for cell in nb.cells:
        for output in cell.get("outputs", []):
            if figure := output.get("data", {}).get(PLOTLY):
                made = {k: figure[k] for k in ("data", "layout", "frames") if k in figure}
                output["data"]["text/html"] = to_html(
                    made,
                    full_html=False,
                    include_plotlyjs="directory",
                    validate=False,
                    auto_play=False,
                )
    text, _ = HTMLExporter(embed_images=True).from_notebook_node(nb)
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    script = path.with_name("plotly.min.js")
    if not script.is_file():
        write_atomically(
            script, lambda temporary: temporary.write_text(get_plotlyjs(), encoding="utf-8")
        )


# ---- all of them ---------------------------------------------------------------------------------------------------
def lessons(files: list[Path] | None = None) -> list[Path]:
    """The notebooks named, or those of the folder `notebooks` here. Raises `FileNotFoundError` for what is not there."""
    paths = files or sorted(Path("notebooks").glob("*.ipynb"))
    missing = [str(path) for path in paths if not path.is_file()]
    if missing or not paths:
        what = ", ".join(missing) or "notebooks/*.ipynb"
        raise FileNotFoundError(f"no notebook {what}; run this from the repository's folder")
    return paths


def clean(paths: list[Path]) -> list[Path]:
    """Rewrite those that are not clean (`cleaned`); returns them."""
    changed = []
    for path in paths:
        text = cleaned(path.read_text(encoding="utf-8")).encode()
        if text != path.read_bytes():
            write_atomically(path, lambda temporary, text=text: temporary.write_bytes(text))
            changed.append(path)
    return changed


def check_rules(paths: list[Path]) -> None:
    """Raise a `ValueError` that names all that breaks the rules of a lesson."""
    if faults := [f"{path}: {what}" for path in paths for what in problems(path)]:
        raise ValueError("\n".join(["notebooks break the rules of a lesson", *faults]))


def run_all(
    paths: list[Path],
    out: str | Path,
    limit: float | None = None,
    html: bool = False,
    jobs: int = 1,
) -> Iterator[Executed]:
    """`run` for each, `jobs` at a time, which share the cores; each notebook has a kernel, a process of its own."""
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(lambda path: run(path, out, limit, html, threads), paths)


def copy_lessons(folder: str | Path) -> Path:
    """Copy the lessons and the samples that they read into `folder`, all of it or nothing.

    Returns:
        `folder/notebooks`; the samples lie beside it, in `folder/data_samples`.

    Raises:
        FileExistsError: one of the two is there already; nothing is ever written over.
        OSError: something could not be written.
    """
    folder = Path(folder)
    for there in (folder / "notebooks", folder / "data_samples"):
        if there.exists():
            raise FileExistsError(
                f"{there} is there already, with your work perhaps; choose another folder"
            )
    sources = bundled("notebooks"), bundled("data_samples")
    files = [
        (source.name, path.relative_to(source), path)
        for source, pattern in zip(sources, ("*.ipynb", "*"))
        for path in sorted(source.rglob(pattern))
        if path.is_file() and "/." not in f"/{path.relative_to(source).as_posix()}"  # .DS_Store
    ]
    half = folder / f".copy.{os.getpid()}.tmp"  # whole before it gets its name
    try:
        for name, inside, path in files:
            (half / name / inside).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, half / name / inside)
        for source in reversed(sources):  # lessons last: where they are, samples are
            (half / source.name).rename(folder / source.name)
    except OSError as error:
        raise OSError(
            error.errno,
            f"could not copy the lessons into {folder} ({error.strerror}); "
            "free some space or choose another folder",
        ) from error
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return folder / "notebooks"
