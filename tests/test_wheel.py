"""The wheel: what it holds, and that it works in a new environment, far from the clone."""

import email
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
LIMIT = 300  # seconds for one command; the longest takes 40 on two busy cores

pytestmark = pytest.mark.timeout(2 * LIMIT)
for needed in ("build", "pip"):
    pytest.importorskip(needed, reason=f"building a wheel needs {needed}: pip install -e '.[test]'")


def called(*command, cwd: Path) -> str:
    """What a command prints; the test fails with its last words if it does not return 0."""
    hidden = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    environment = {k: v for k, v in os.environ.items() if k not in hidden}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONNOUSERSITE": "1", "PYTHONUTF8": "1"}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment,
        timeout=LIMIT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel of this clone; built in place where hatchling is installed, else pip fetches it."""
    out = tmp_path_factory.mktemp("wheel")
    try:
        import hatchling  # noqa: F401

        how = ["--no-isolation"]
    except ImportError:
        how = []
    called(sys.executable, "-m", "build", "--wheel", *how, "--outdir", out, ROOT, cwd=out)
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def elsewhere(wheel, tmp_path_factory) -> tuple[Path, Path]:
    """Scripts of a new environment with the wheel in it, and an empty folder outside the clone.

    The environment borrows the libraries of the one that runs the tests (torch alone is 5 GB) by
    a line of a `.pth` file. Such lines come after its own packages, and `.pth` files in the
    folders that they name are not read, so that an editable install of the clone stays unseen.
    """
    home = tmp_path_factory.mktemp("elsewhere")
    called(sys.executable, "-m", "venv", "--without-pip", home / "env", cwd=home)
    scripts = home / "env" / ("Scripts" if os.name == "nt" else "bin")
    pip = [sys.executable, "-m", "pip", "--python", scripts / "python"]
    called(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=home)
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = Path(called(scripts / "python", "-c", where, cwd=home).strip())
    lent = [p for p in sys.path if Path(p).name in ("site-packages", "dist-packages")]
    (own / "zz_borrowed.pth").write_text("\n".join(lent) + "\n", encoding="utf-8")
    (home / "work").mkdir()
    return scripts, home / "work"


def test_it_holds_the_package_samples_and_lessons_and_nothing_else(wheel):
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    ignored = {".pyc", ".DS_Store"}
    expected = {
        f"{place}{path.relative_to(root).as_posix()}"
        for root, pattern, place in (
            (ROOT / "bkind3d_lite", "*.py", "bkind3d_lite/"),
            (ROOT / "data_samples", "*", "bkind3d_lite/bundled/data_samples/"),
            (ROOT / "notebooks", "*.ipynb", "bkind3d_lite/bundled/notebooks/"),
        )
        for path in root.rglob(pattern)
        if path.is_file() and path.suffix not in ignored and ".ipynb_checkpoints" not in path.parts
    }
    assert held == expected | {"bkind3d_lite/py.typed", "bkind3d_lite/lab/key.md"}
    assert wheel.stat().st_size < 20 * 2**20


def test_it_says_what_it_is(wheel):
    from bkind3d_lite import __version__

    with zipfile.ZipFile(wheel) as archive:
        texts = {Path(n).name: archive.read(n).decode() for n in archive.namelist() if "info/" in n}
    said = email.message_from_string(texts["METADATA"])
    assert (said["Name"], said["Version"]) == ("bkind3d_lite", __version__)
    assert said["License-Expression"] == "Apache-2.0" and "Apache License" in texts["LICENSE"]
    assert "bkind3d = bkind3d_lite.__main__:main" in texts["entry_points.txt"]
    assert set(said.get_all("Provides-Extra")) >= {"lab", "io", "nwb", "logs", "test", "site"}


@pytest.fixture
def alone(tmp_path) -> Path:
    """A lesson's beginning, alone in an empty folder: setup, imports and first data."""
    lesson = nbformat.read(ROOT / "notebooks" / "01_cameras.ipynb", as_version=4)
    lesson.cells = lesson.cells[:4]
    place = tmp_path / "far" / "away"  # where nothing lies above it, either
    place.mkdir(parents=True)
    nbformat.write(lesson, place / "lesson.ipynb")
    return place / "lesson.ipynb"


def code(lesson: Path) -> str:
    """The code of a lesson as one script."""
    cells = nbformat.read(lesson, as_version=4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "code")


def test_a_lesson_alone_finds_package_and_samples(elsewhere, alone):
    """No clone, no samples beside it: they are where the package is."""
    scripts, _ = elsewhere
    asked = "\nprint(clip.name, len(clip), open_clip.__module__, samples('rat'))"
    said = called(scripts / "python", "-c", code(alone) + asked, cwd=alone.parent)
    assert "bundled" in said and "rat" in said.splitlines()[-1]


def test_a_lesson_alone_installs_the_wheel_beside_it(wheel, elsewhere, alone):
    """Into an environment without the package, and without a network; the setup cell says so."""
    scripts, _ = elsewhere
    home = alone.parent / "bare"
    called(sys.executable, "-m", "venv", "--without-pip", home, cwd=alone.parent)
    python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = Path(called(python, "-c", where, cwd=home).strip())
    lent = [p for p in sys.path if Path(p).name in ("site-packages", "dist-packages")]
    (own / "zz_borrowed.pth").write_text("\n".join(lent) + "\n", encoding="utf-8")
    missing = subprocess.run(
        [str(python), "-c", code(alone)], cwd=alone.parent, capture_output=True, encoding="utf-8",
        env={k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "BKIND3D_LITE")},
    )  # fmt: skip
    assert missing.returncode and "put its wheel beside this notebook" in missing.stderr
    shutil.copy(wheel, alone.parent)
    offline = "import os; os.environ['PIP_NO_INDEX'] = '1'\n"
    said = called(python, "-c", f"{offline}{code(alone)}\nprint(len(clip))", cwd=alone.parent)
    assert "installing" in said and int(said.splitlines()[-1]) > 0


def test_the_new_environment_sees_the_wheel_not_the_clone(elsewhere):
    scripts, work = elsewhere
    asked = "import bkind3d_lite as b, sys; print(b.__file__); print(*sys.path, sep='\\n')"
    file, *seen = called(scripts / "python", "-c", asked, cwd=work).splitlines()
    assert Path(file).is_relative_to(scripts.parent)
    assert str(ROOT) not in seen


def test_a_copied_lesson_runs(elsewhere):
    scripts, work = elsewhere
    pytest.importorskip("nbclient", reason="running a lesson needs nbclient: pip install '.[lab]'")
    pytest.importorskip(
        "ipykernel", reason="running a lesson needs ipykernel: pip install '.[lab]'"
    )
    called(scripts / "bkind3d", "notebooks", "copy", "lesson", cwd=work)
    lesson = Path("notebooks") / "01_cameras.ipynb"
    said = called(scripts / "bkind3d", "notebooks", "run", lesson, cwd=work / "lesson")
    assert "1 of 1 notebooks ran through" in said


@pytest.fixture(scope="module")
def short(elsewhere) -> tuple[Path, Path]:
    """`elsewhere` with the rat cut to a few seconds of three views, so that it takes no minutes."""
    import numpy as np

    from bkind3d_lite.calibrations import load_calibration
    from bkind3d_lite.cameras import save_calibration
    from bkind3d_lite.clips.videos import Video, write_video

    scripts, work = elsewhere
    asked = "from bkind3d_lite.files import bundled; print(bundled('data_samples') / 'rat')"
    rat = Path(called(scripts / "python", "-c", asked, cwd=work).strip())
    assert rat.is_relative_to(scripts.parent)
    rig = load_calibration(rat / "calibration.toml").take([0, 2, 4])
    save_calibration(rig, rat / "calibration.toml")
    for part, count in ((rat / "train", 60), (rat / "test", 20)):
        with np.load(part / "truth.npz") as truth:
            cut = dict(truth) | {"positions": truth["positions"][: 3 * count : 3], "fps": 10.0}
        np.savez(part / "truth.npz", **cut)
        for video in part.glob("*.mp4"):
            images = Video(video).read(0, 3 * count, (256, 256))[::3]
            video.unlink()
            if video.stem in rig.names:
                write_video(video, images, 10)
    return scripts, work


def test_quickstart(short):
    scripts, work = short
    called(scripts / "bkind3d", "quickstart", "--steps", "20", cwd=work)
    names = "report.html report.json skeleton.html overlay.mp4 keypoints.csv keypoints.npz"
    written = work / "runs" / "quickstart"
    for name in [*names.split(), "checkpoint.safetensors", "losses.csv"]:
        assert (written / name).stat().st_size > 90, name


def test_help_doctor_and_copied_lessons(short):
    """The lessons are copied, and the doctor looks at a clip that came with them."""
    scripts, work = short
    assert called(scripts / "bkind3d", "--help", cwd=work).startswith("usage: bkind3d ")
    said = called(scripts / "bkind3d", "notebooks", "copy", "course", cwd=work)
    assert str(Path("course") / "notebooks") in said
    lessons = sorted(p.name for p in (work / "course" / "notebooks").iterdir())
    assert lessons == sorted(p.name for p in (ROOT / "notebooks").glob("*.ipynb"))
    called(scripts / "bkind3d", "doctor", "data_samples/rat/test", cwd=work / "course")
    assert "<html" in (work / "course" / "doctor_test.html").read_text(encoding="utf-8")
