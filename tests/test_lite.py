"""Two lessons in the browser: their numbers in plain Python, then the pages in Chromium, which
reaches no network, with Python running inside the page."""

import functools
import importlib.util
import os
import re
import sys
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nbformat
import pytest
from test_browser import CHROMIUM, DRIVER, ERRORS, FLAGS, RUN_ALL, looks, until

from bkind3d_lite.lab.notebook_tools import code_of, problems

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import build_lite  # noqa: E402

NAMES = ("01_cameras", "10_epipolar")
CUT = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"


# ---- in plain Python -----------------------------------------------------------------------------
@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """What lies beside the lessons in the browser."""
    folder = tmp_path_factory.mktemp("lite") / "files"
    build_lite.write_files(folder)
    return folder


@pytest.fixture
def lesson(files, monkeypatch):
    """The lessons' helper, as they import it; what it shows is kept in `shown`."""
    spec = importlib.util.spec_from_file_location("lesson", files / "lesson.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "lesson", module)
    spec.loader.exec_module(module)
    module.shown = []
    monkeypatch.setattr(module, "display", lambda html: module.shown.append(html.data))
    return module


def cells(name: str) -> list:
    return nbformat.read(build_lite.PAGES / f"{name}.ipynb", 4).cells


def answers(name: str) -> str:
    """The folded solutions of a lesson."""
    text = "\n".join(cell.source for cell in cells(name) if cell.cell_type == "markdown")
    return "import numpy as np\n" + "\n".join(re.findall(r"```python\n(.*?)```", text, re.S))


@pytest.mark.parametrize("name", NAMES)
def test_a_lesson_has_the_form_of_all_lessons(name):
    assert not problems(build_lite.PAGES / f"{name}.ipynb")


@pytest.mark.parametrize("name", NAMES)
def test_a_lesson_runs_without_torch_and_its_laws_hold(name, lesson, capsys):
    names: dict = {}
    for cell in cells(name):
        if cell.cell_type == "code":
            exec(compile(code_of(cell), f"{name}: {cell.id}", "exec"), names)
    said = capsys.readouterr().out
    assert "all laws hold" in said and said.count("○ not attempted yet") == 3
    assert not {"torch", "bkind3d_lite"} & names.keys()
    assert len(lesson.shown) == 4
    for html in lesson.shown:
        words = re.search(r'<img alt="([^"]+)" src="data:image/png', html)[1]
        assert len(words) > 40 and f"<p>{words}</p>" in html


@pytest.mark.parametrize("name", NAMES)
def test_its_solutions_are_right_and_usual_mistakes_get_the_packages_hints(name, lesson, capsys):
    names: dict = {}
    exec(answers(name), names)
    asked = [key for key in build_lite.ASKED if key in names]
    assert len(asked) == 3
    for key in asked:
        assert lesson.check(names[key]) == "✓"
        exercise = build_lite.EXERCISES[key]
        wrong = {
            "ndc_from_px": lambda px, wh: px / list(wh) - 1,
            "px_from_cam": lambda points, K: (points @ K.T)[:, :2],
            "triangulate_two": lambda P, px: px[0],
            "skew": lambda v: names["skew"](v).T,
            "fundamental": lambda K, R, t: names["fundamental"](K, R, t).T,
            "epipolar_line": lambda F, px: names["epipolar_line"](F.T, px),
        }[key]
        wrong.__name__ = key
        assert lesson.check(wrong) == "✗"
        said = capsys.readouterr().out
        assert key == "triangulate_two" or any(m.hint in said for m in exercise.mistakes)


def test_another_pyodide_is_not_taken(tmp_path, monkeypatch):
    """A file that is not the release's is refused, and a folder that is right asks nobody."""
    monkeypatch.setattr(build_lite, "SUMS", tmp_path / "sums")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "a.whl").write_bytes(b"as released")
    (tmp_path / "sums").write_text(f"{build_lite._told(tmp_path / 'here' / 'a.whl')}  a.whl\n")
    monkeypatch.setattr(build_lite, "_downloaded", lambda *_: pytest.fail("asked for"))
    assert build_lite.pyodide_files(tmp_path / "here") == tmp_path / "here"
    assert build_lite.complete(tmp_path / "here") and not build_lite.complete(tmp_path)
    with pytest.raises(build_lite.NotHad, match="a.whl is not that of Pyodide"):
        build_lite.build(tmp_path / "out", tmp_path)
    import zipfile

    with zipfile.ZipFile(tmp_path / "carrier.whl", "w") as carrier:
        carrier.writestr(build_lite.INSIDE + "a.whl", "another")
        carrier.writestr(build_lite.INSIDE + "pyodide-lock.json", "{}")
    monkeypatch.setattr(build_lite, "_downloaded", lambda *_: [tmp_path / "carrier.whl"])
    with pytest.raises(build_lite.NotHad, match="a.whl in provisa.*nothing is taken"):
        build_lite.pyodide_files(tmp_path / "new")


# ---- in a browser --------------------------------------------------------------------------------
class Quiet(SimpleHTTPRequestHandler):
    """A web server that does not print."""

    def log_message(self, *_) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The built pages on a free local port."""
    if not (CHROMIUM and DRIVER):
        pytest.skip(
            "no Chromium with its driver (Debian: apt-get install chromium chromium-driver)"
        )
    pyodide = Path(os.environ.get("BKIND3D_PYODIDE", build_lite.KEPT))
    if not build_lite.complete(pyodide):  # a test fetches no 77 MB
        pytest.skip(
            f"Pyodide is not in {pyodide}: `make lite` fetches it (or BKIND3D_PYODIDE=FOLDER)"
        )
    try:
        out = build_lite.build(tmp_path_factory.mktemp("pages") / "lite", pyodide).parent
    except build_lite.NotHad as error:
        if "stopped" in str(error):  # had, and broken
            raise
        pytest.skip(str(error))
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(out)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="module")
def browser(address):  # which skips where there is no Chromium
    """Chromium without a window that finds no address but this machine's."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="pip install -e '.[test]'")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, CUT):
        options.add_argument(flag)
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


IDLE = "return !!document.querySelector('.jp-Notebook-ExecutionIndicator[data-status=\"idle\"]')"
TEXTS = """return [...document.querySelectorAll('.jp-OutputArea-output')].map(e => e.textContent)"""
WORDS = """return [...document.querySelectorAll('.jp-OutputArea-output .jp-OutputArea-output img')]
    .at(-1)?.alt"""


def ran(browser, name: str) -> None:
    """Run all cells of the open lesson, to its laws."""
    until(lambda: browser.execute_script(IDLE), 120, "kernel")
    time.sleep(1)
    menu = browser.find_elements("css selector", ".lm-MenuBar-item")
    next(entry for entry in menu if entry.text.strip() == "Run").click()
    until(lambda: browser.execute_script(RUN_ALL), 10, "menu entry").click()

    def done() -> bool:
        assert not browser.execute_script(ERRORS)[:1]
        return any("all laws hold" in text for text in browser.execute_script(TEXTS))

    try:
        until(done, 400, "end of the lesson")
    finally:
        looks(browser, f"lite-{name}")


def follows(browser, name: str) -> None:
    """The lesson's first slider moves its figure, by an arrow key and by the pointer."""
    from selenium.webdriver import ActionChains, Keys

    handle = browser.find_elements("css selector", ".noUi-handle")[0]
    browser.execute_script("arguments[0].scrollIntoView({block: 'start'})", handle)
    time.sleep(1)
    for move in (
        ActionChains(browser).click(handle).send_keys(Keys.ARROW_RIGHT),
        ActionChains(browser).drag_and_drop_by_offset(handle, 20, 0),
    ):
        words, at = browser.execute_script(WORDS), handle.get_attribute("aria-valuenow")
        move.perform()
        until(lambda: handle.get_attribute("aria-valuenow") != at, 10, "slider that moves")
        until(lambda: browser.execute_script(WORDS) not in (None, words), 60, "figure that follows")
    looks(browser, f"lite-{name}-moved")


@pytest.mark.timeout(900)
def test_both_lessons_run_in_the_browser_and_their_sliders_move_the_figure(browser, address):
    browser.get(address)
    text = browser.find_element("css selector", "main").text
    assert "What the full lessons need" in text and "PyTorch" in text
    looks(browser, "lite-start")
    for name, link in zip(NAMES, ("Cameras", "Epipolar geometry")):
        browser.get(address)
        browser.find_element("partial link text", link).click()
        ran(browser, name)
        assert browser.execute_script(WORDS)
        follows(browser, name)
