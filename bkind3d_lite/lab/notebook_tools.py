"""Notebooks: tracked clean, checked small, executed as artefacts. Nothing imports this module.

The verb `bkind3d notebooks`:

    clean         rewrite notebooks/*.ipynb without outputs
    check         say what breaks the rules
    run --html    execute into build/notebooks; fails on an error, a ✗, or lost time
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
from functools import partial
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from ..files import bundled, refuse_unwritable, text_of, write_atomically
from .notebook_pages import freeze_widgets, page, portable, undescribed
from .sandbox import python_of

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
CELLS, LINES, COLUMNS, KILOBYTES = 30, 18, 95, 60  # at most
EXECUTED_MB = 7.0  # figures travel twice: as themselves, and as HTML for any export
WALL = 3  # times the CPU seconds a notebook may take on the wall, where others work, too
TIME_LIMITS = {"08_training": 300.0}  # real training, in its short form


def cleaned(text: str) -> str:
    """A notebook without outputs, counts and metadata other than kernelspec and tags.

    Cell ids stay. `cleaned(run(x)) == x`, byte for byte, for a clean x.

    Args:
        text: its JSON.

    Returns:
        Its JSON, clean.
    """
    nb = nbformat.reads(text, as_version=4)
    nb.metadata, nb.nbformat, nb.nbformat_minor = {"kernelspec": KERNEL}, 4, 5
    for i, cell in enumerate(nb.cells):
        cell.metadata = {k: v for k, v in cell.metadata.items() if k == "tags" and v}
        cell.setdefault("id", f"cell-{i}")
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return nbformat.writes(nb, version=4).rstrip("\n") + "\n"


# ---- check ---------------------------------------------------------------------------------------
def problems(path: str | Path) -> list[str]:
    """What breaks the rules of a lesson.

    Args:
        path: a notebook.

    Returns:
        One sentence each; empty if nothing does.
    """
    raw = Path(path).read_bytes()
    try:
        text = raw.decode("utf-8")
        nb = nbformat.reads(text, as_version=4)
        tidy = cleaned(text)
    except Exception as error:  # nbformat raises several kinds for a file that is no notebook
        return [f"not a notebook: {type(error).__name__}"]
    found = []
    if text != tidy or b"\r" in raw:
        found.append("not clean: run `python -m bkind3d_lite notebooks clean`")
    if len(nb.cells) > CELLS:
        found.append(f"{len(nb.cells)} cells, at most {CELLS}")
    if len(raw) > KILOBYTES * 1024:
        found.append(f"{len(raw) / 1024:.0f} KB, at most {KILOBYTES}")
    for cell in nb.cells:
        if cell.cell_type == "code":
            found += [f"cell {cell.get('id')}: {what}" for what in _cell_problems(cell)]
    return found + _shape_problems(nb)


def code_of(cell: NotebookNode) -> str:
    """A code cell's Python without IPython's % and ! lines.

    Args:
        cell: a code cell.

    Returns:
        Its lines; those of IPython are blank, so that line numbers stay.
    """
    return python_of(cell.source)


def tags_of(cell: NotebookNode) -> list[str]:
    """A cell's tags.

    Args:
        cell: any cell.

    Returns:
        Empty if it has none.
    """
    return cell.metadata.get("tags", [])


def _cell_problems(cell: NotebookNode) -> list[str]:
    found, source, tags = [], cell.source, tags_of(cell)
    lines = source.count("\n") + 1
    if lines > LINES:
        found.append(f"{lines} lines, at most {LINES}")
    if (columns := max(map(len, source.split("\n")))) > COLUMNS:  # the page would scroll sideways
        found.append(f"{columns} columns, at most {COLUMNS}")
    try:
        tree = ast.parse(code_of(cell))
    except SyntaxError as error:
        return [*found, f"does not parse (line {error.lineno})"]
    if any(isinstance(n, ast.ImportFrom) and n.names[0].name == "*" for n in ast.walk(tree)):
        found.append("imports *")
    if "filterwarnings" in source or "simplefilter" in source:
        found.append("silences warnings")
    if "../data_samples" in source:
        found.append("names ../data_samples: ask `samples(...)`, which finds them from any folder")
    if "setup" not in tags and re.search(r"^\s*[!%].*\b(pip|wget|curl)\b", source, re.M):
        found.append("installs or downloads outside the cell tagged setup")
    if "exercise" in tags and not ("..." in source and re.search(r"\bcheck\(", source)):
        found.append("tagged exercise without a stub `...` and a check(...)")
    return found


def _shape_problems(nb: NotebookNode) -> list[str]:
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


# ---- run -----------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Executed:
    """One executed notebook: CPU seconds, MB of the executed copy, what went wrong."""

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
    """Execute a notebook in its own folder and write the executed copy, whatever happens.

    Args:
        path: the notebook.
        out: a folder for the copy.
        limit: CPU seconds of the kernel (None: 90, and 300 for 08_training), which a busy machine
            does not stretch and which on an idle one are never less than the seconds on the wall;
            after three times as long on the wall it is stopped.
        html: an HTML page as well.
        threads: of the kernel.

    Returns:
        How it went.
    """
    path, out = Path(path), Path(out)
    limit = limit or TIME_LIMITS.get(path.stem, 90.0)
    nb = nbformat.reads(text_of(path), as_version=4)
    seconds, faults = _executed(nb, path.parent.resolve(), limit, threads)
    if seconds > limit and not faults:
        faults.append(f"over its {limit:.0f} seconds")
    faults += [f"wrong: {line}" for line in printed(nb) if line.startswith("✗")]
    freeze_widgets(nb)
    portable(nb)
    faults += undescribed(nb)
    text = nbformat.writes(nb, version=4)
    write_atomically(out / path.name, partial(Path.write_text, data=text, encoding="utf-8"))
    megabytes = len(text.encode()) / 2**20
    if megabytes > EXECUTED_MB:
        faults.append(f"{megabytes:.1f} MB when executed, at most {EXECUTED_MB:.0f}")
    if html:
        page(nb, out / f"{path.stem}.html")
    return Executed(path.stem, seconds=seconds, megabytes=megabytes, faults=tuple(faults))


def _executed(
    nb: NotebookNode, folder: Path, limit: float, threads: int
) -> tuple[float, list[str]]:
    """Execute in place: CPU seconds, and what stopped it."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    # the kernel's own clock; taken out again
    nb.cells.append(nbformat.v4.new_code_cell("import time; print(time.process_time())"))
    begun, faults = time.monotonic(), []

    def left(cell: NotebookNode) -> int:
        return max(1, int(WALL * limit - (time.monotonic() - begun)))

    client = NotebookClient(
        nb,
        timeout_func=left,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )
    environment = {
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "passive",  # a thread that waits must not count as one that works
    }
    try:
        client.execute(env=os.environ | environment)
    except CellTimeoutError:
        faults.append(f"over {WALL * limit:.0f} seconds on the wall")
    except CellExecutionError as error:
        first = error.evalue.splitlines()[0][:200] if error.evalue else ""
        faults.append(f"error: {error.ename}: {first}")
    except DeadKernelError:
        faults.append("the kernel died (memory?)")
    clock = nb.cells.pop().outputs
    return float(clock[0].text) if clock else time.monotonic() - begun, faults


def printed(nb: NotebookNode) -> list[str]:
    """All lines that the code cells printed.

    Args:
        nb: an executed notebook.

    Returns:
        Lines in order, without their ends.
    """
    texts = [
        output.text
        for cell in nb.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "stream"
    ]
    return [line for text in texts for line in text.split("\n")]


# ---- all of them ---------------------------------------------------------------------------------
def lessons(files: list[Path] | None = None) -> list[Path]:
    """The notebooks named, or those of the folder `notebooks` here.

    Args:
        files: None or empty: all of the folder.

    Returns:
        Paths of notebooks.

    Raises:
        FileNotFoundError: one of them, or the folder, is not there.
    """
    paths = files or sorted(Path("notebooks").glob("*.ipynb"))
    missing = [str(path) for path in paths if not path.is_file()]
    if missing or not paths:
        what = ", ".join(missing) or "notebooks/*.ipynb"
        raise FileNotFoundError(f"no notebook {what}; run this from the repository's folder")
    return paths


def clean(paths: list[Path]) -> list[Path]:
    """Rewrite those that are not clean (`cleaned`).

    Args:
        paths: notebooks.

    Returns:
        Those that were changed.
    """
    changed = []
    for path in paths:
        data = cleaned(text_of(path)).encode()
        if data != path.read_bytes():
            write_atomically(path, partial(Path.write_bytes, data=data))
            changed.append(path)
    return changed


def check_rules(paths: list[Path]) -> None:
    """Refuse notebooks that break the rules of a lesson.

    Args:
        paths: notebooks.

    Raises:
        ValueError: names all that breaks a rule.
    """
    if faults := [f"{path}: {what}" for path in paths for what in problems(path)]:
        raise ValueError("\n".join(["notebooks break the rules of a lesson", *faults]))


def run_all(
    paths: list[Path],
    out: str | Path,
    limit: float | None = None,
    html: bool = False,
    jobs: int = 1,
) -> Iterator[Executed]:
    """`run` for each; each notebook has a kernel, a process of its own.

    Args:
        paths: notebooks.
        out: a folder for the executed copies.
        limit: CPU seconds, see `run`.
        html: an HTML page of each as well.
        jobs: notebooks at a time, which share the cores.

    Yields:
        How each went, in order.
    """
    out = refuse_unwritable(out)
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(lambda path: run(path, out, limit, html, threads), paths)


def copy_lessons(folder: str | Path) -> Path:
    """Copy the lessons and the samples that they read into `folder`, all of it or nothing.

    Args:
        folder: gets two folders, `notebooks` and `data_samples`; made if it is not there.

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
