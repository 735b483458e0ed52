"""A real browser: the saved page plays with the network cut off, and in JupyterLab a slider changes
a figure."""

import functools
import hashlib
import http.client
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from bkind3d_lite.clips import Track
from bkind3d_lite.viz import movie, save_html

ROOT = Path(__file__).parents[1]
SHOTS = ROOT / "build" / "browser"
CHROMIUM, DRIVER = (
    next(filter(None, map(shutil.which, names)), None)
    for names in (("chromium", "chromium-browser", "google-chrome"), ("chromedriver",))
)
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--window-size=1280,860",
)
NOTEBOOK = """from bkind3d_lite.clips import synthetic
from bkind3d_lite.viz import widgets
clip = synthetic.figure(24)
box = widgets.gap_explorer(clip)
box"""

pytestmark = [
    pytest.mark.timeout(420),
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER),
        reason="no Chromium with its driver here (Debian: apt-get install chromium "
        "chromium-driver)",
    ),
]
selenium = pytest.importorskip(
    "selenium", reason="the tests in a real browser need selenium (pip install -e '.[test]')"
)


@pytest.fixture(scope="module")
def browser():
    """Chromium without a window, WebGL drawn by the CPU."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in FLAGS:
        options.add_argument(flag)
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    driver.set_script_timeout(60)
    yield driver
    driver.quit()


def until(true, seconds: float, what: str):
    """What `true()` returns once it is truthy."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.25)
    raise AssertionError(f"in {seconds:.0f} s there was no {what}")


def looks(browser, name: str) -> str:
    """A fingerprint of what is on the screen; the screenshot is kept."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    browser.save_screenshot(str(SHOTS / f"{name}.png"))
    return hashlib.sha256((SHOTS / f"{name}.png").read_bytes()).hexdigest()


# ---- the page ------------------------------------------------------------------------------------
FIRST = "return document.querySelector('.js-plotly-plot')?.data?.[0]?.x?.slice(0, 2)?.join()"
ACTIVE = "return document.querySelector('.js-plotly-plot').layout.sliders[0].active"


def test_the_film_plays_with_the_network_cut_off(browser, clip, tmp_path):
    track = Track(clip.truth.clone(), torch.ones(len(clip), 8), clip.skeleton, clip.fps)
    page = save_html(
        movie(track, clip.rig, clip.truth, clip.skeleton, clip=clip, title="a film"),
        tmp_path / "skeleton.html",
    )
    browser.execute_cdp_cmd("Network.enable", {})
    offline = dict(offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    try:
        browser.get(page.as_uri())
        before = until(lambda: browser.execute_script(FIRST), 60, "figure")
        time.sleep(1)
        still = looks(browser, "skeleton-first")
        assert browser.execute_script(ACTIVE) == 0
        step = browser.find_elements("css selector", ".slider-rail-touch-rect, .slider-rail-rect")[
            -1
        ]
        from selenium.webdriver import ActionChains

        ActionChains(browser).move_to_element(step).click().perform()  # the middle of the rail
        assert until(
            lambda: browser.execute_script(ACTIVE), 20, "slider that moves"
        ) == pytest.approx(len(clip) / 2, abs=3)
        time.sleep(1)
        assert (
            browser.execute_script(FIRST) != before and looks(browser, "skeleton-middle") != still
        )
        at = browser.execute_script(ACTIVE)
        play = browser.find_elements("css selector", ".updatemenu-button")[0]
        ActionChains(browser).move_to_element(play).click().perform()
        until(lambda: browser.execute_script(ACTIVE) != at, 30, "film that plays")
        _by_keys(browser)
        failed = [e["message"] for e in browser.get_log("browser") if e["level"] == "SEVERE"]
        assert not failed
    finally:
        browser.execute_cdp_cmd(
            "Network.emulateNetworkConditions",
            dict(offline, offline=False, downloadThroughput=-1, uploadThroughput=-1),
        )


FOCUSED = """const e = document.activeElement;
return [e.getAttribute("role"), e.getAttribute("aria-label"), e.getAttribute("aria-valuenow")]"""


def _by_keys(browser):
    """The film is stopped, and stepped from its end, by somebody who has a keyboard alone."""
    from selenium.webdriver import ActionChains, Keys

    def press(key, shift=False):
        with_ = ActionChains(browser)
        with_ = (
            with_.key_down(Keys.SHIFT).send_keys(key).key_up(Keys.SHIFT)
            if shift
            else (with_.send_keys(key))
        )
        with_.perform()
        return browser.execute_script(FOCUSED)

    last = browser.execute_script(ACTIVE.replace("active", "steps.length - 1"))
    role, said, _ = press(Keys.TAB)  # from the button that plays, which was clicked
    assert role == "button" and "pause" in said
    press(Keys.ENTER)
    assert [press(Keys.TAB, shift=True)[0] for _ in range(3)] == ["button", "slider", "application"]
    assert press(Keys.TAB)[0] == "slider"
    press(Keys.END)
    until(lambda: browser.execute_script(ACTIVE) == last, 20, "end of the film by a key")
    assert press(Keys.ARROW_LEFT)[0] == "slider"  # Plotly drew anew, and the keyboard is there
    until(lambda: browser.execute_script(ACTIVE) == last - 1, 20, "step back by a key")
    until(lambda: browser.execute_script(FOCUSED)[2] == str(last - 1), 20, "number that is said")


# ---- JupyterLab ----------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab on a free local port, in a folder of its own with one notebook: its address with a
    token."""
    pytest.importorskip(
        "jupyterlab", reason="JupyterLab is not installed (pip install -e '.[lab]')"
    )
    pytest.importorskip(
        "anywidget", reason="a live Plotly figure needs anywidget (pip install -e '.[lab]')"
    )
    folder = tmp_path_factory.mktemp("lab")
    source = next(iter(sorted((ROOT / "notebooks").glob("01_*.ipynb"))), None)
    settings = folder / "config" / "lab" / "user-settings" / "@jupyterlab"
    for path, text in (
        (
            folder / "course" / "notebooks" / "try.ipynb",
            _notebook() if source is None else source.read_text(encoding="utf-8"),
        ),
        (
            settings / "apputils-extension" / "notification.jupyterlab-settings",
            '{"fetchNews": "false"}',
        ),
        (
            settings / "notebook-extension" / "tracker.jupyterlab-settings",
            '{"windowingMode": "none"}',
        ),
    ):  # all cells are in the page
        path.parent.mkdir(parents=True)
        path.write_text(text, encoding="utf-8")
    (folder / "course" / "data_samples").symlink_to(ROOT / "data_samples")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "IPYTHONDIR": str(folder / "ipython"),
        "OMP_NUM_THREADS": "1",
    }
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={token}",
        f"--ServerApp.root_dir={folder / 'course'}",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    with open(folder / "log.txt", "w") as log:
        server = subprocess.Popen(
            command, env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=folder
        )
    try:
        until(
            functools.partial(_answers, server, port, folder / "log.txt"),
            90,
            "answer of JupyterLab",
        )
        yield f"http://127.0.0.1:{port}/lab/tree/notebooks/try.ipynb?reset&token={token}"
    finally:
        server.terminate()
        server.wait(30)


def _notebook() -> str:
    cell = dict(
        cell_type="code", id="try", metadata={}, source=NOTEBOOK, outputs=[], execution_count=None
    )
    kernel = dict(name="python3", display_name="Python 3", language="python")
    return json.dumps(
        dict(cells=[cell], metadata=dict(kernelspec=kernel), nbformat=4, nbformat_minor=5)
    )


def _answers(server: subprocess.Popen, port: int, log: Path) -> bool:
    assert server.poll() is None, log.read_text()
    try:
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        line.request("GET", "/api")
        return line.getresponse().status == 200
    except OSError:
        return False


RUN_ALL = """return [...document.querySelectorAll('.lm-Menu-itemLabel')]
    .find(e => e.textContent.trim() === 'Run All Cells')"""
PICTURE = """const cell = [...document.querySelectorAll('.jp-Cell')]
    .find(c => c.querySelector('.noUi-handle') && c.querySelector('.js-plotly-plot')?.data);
return cell ? JSON.stringify(cell.querySelector('.js-plotly-plot').data) : null"""
STARTED = """return [...document.querySelectorAll('.jp-InputArea-prompt')]
    .some(e => /[*0-9]/.test(e.textContent))"""
HANDLE = """const cell = [...document.querySelectorAll('.jp-Cell')]
    .find(c => c.querySelector('.noUi-handle') && c.querySelector('.js-plotly-plot'));
cell.querySelector('.noUi-handle').scrollIntoView({block: 'start'});
return cell.querySelector('.noUi-handle')"""
ERRORS = """return [...document.querySelectorAll('.jp-OutputArea-output[data-mime-type*="error"]')]
    .map(e => e.textContent)"""


def test_a_slider_in_jupyterlab_changes_the_figure(browser, lab):
    from selenium.webdriver import ActionChains, Keys

    browser.get(lab)
    until(lambda: browser.find_elements("css selector", ".jp-Notebook .jp-Cell"), 90, "notebook")
    until(
        lambda: browser.execute_script(
            "return !!document.querySelector("
            "'.jp-Notebook-ExecutionIndicator[data-status=\"idle\"]')"
        ),
        90,
        "kernel",
    )
    time.sleep(2)
    next(
        e
        for e in browser.find_elements("css selector", ".lm-MenuBar-item")
        if e.text.strip() == "Run"
    ).click()
    until(lambda: browser.execute_script(RUN_ALL), 10, "menu entry").click()
    try:
        until(lambda: browser.execute_script(STARTED), 60, "cell that runs")
        before = until(
            lambda: browser.execute_script(PICTURE) or _no_error(browser),
            240,
            "figure with a slider",
        )
    finally:
        looks(browser, "notebook-run")
    browser.execute_script(HANDLE)
    time.sleep(2)
    still, handle = looks(browser, "notebook-first"), browser.execute_script(HANDLE)
    ActionChains(browser).click(handle).send_keys(Keys.ARROW_RIGHT * 5).perform()
    until(
        lambda: browser.execute_script(PICTURE) not in (None, before),
        30,
        "figure that changes with its slider",
    )
    time.sleep(1)
    assert looks(browser, "notebook-moved") != still


def _no_error(browser) -> None:
    assert not browser.execute_script(ERRORS)[:1]
