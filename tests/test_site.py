"""The site of course and API, in a browser that reaches no network: it shows all that it should."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import plotly.graph_objects as go
import pytest
from test_browser import CHROMIUM, DRIVER, FLAGS, until

ROOT = Path(__file__).parents[1]
NEEDS = ("sphinx", "myst_nb", "furo", "latex2mathml")
MISSING = [name for name in NEEDS if importlib.util.find_spec(name) is None]
CUT = ("--host-resolver-rules=MAP * ~NOTFOUND", "--proxy-server=127.0.0.1:9")
GUIDE = "# A guide\n\nThe [lesson](../notebooks/00_tour.ipynb), [a test](../tests/test_site.py).\n"
FORMULA = r"$\hat x = \sum_p \frac{e^{V_p}}{\sum_q e^{V_q}}\,p$"
WIDGET = "interactive(children=(IntSlider(value=0), Output()), _dom_classes=('widget-interact',))"
DRAWN = "return document.querySelectorAll('.js-plotly-plot .main-svg .scatterlayer path').length"
PLAYED = "return document.querySelector('.js-plotly-plot').data[0].y[0]"
TEXT = """const article = document.querySelector('article').cloneNode(true);
article.querySelectorAll('script').forEach(script => script.remove());
return article.textContent"""

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER),
        reason="no Chromium with its driver (Debian: apt-get install chromium chromium-driver)",
    ),
    pytest.mark.skipif(
        bool(MISSING),
        reason=f"the site needs {', '.join(MISSING)} (pip install -e '.[site]')",
    ),
]


def executed() -> str:
    """A lesson as `notebooks run` leaves it: a formula, a film, a frozen widget, a warning."""
    line = go.Scatter(x=[0, 1], y=[0, 1], mode="lines+markers", name="error")
    film = go.Figure(line, frames=[go.Frame(data=[go.Scatter(x=[0, 1], y=[7, 8])], name="7")])
    film.update_layout(
        updatemenus=[dict(type="buttons", buttons=[dict(label="play", method="animate")])]
    )
    new = nbformat.v4
    mime = {"application/vnd.plotly.v1+json": film.to_plotly_json(), "text/plain": "Figure()"}
    outputs = [
        new.new_output("display_data", mime),
        new.new_output("display_data", {"text/plain": WIDGET}),
        new.new_output("stream", name="stderr", text="UserWarning: not for a page"),
    ]
    cells = [
        new.new_markdown_cell(f"# A lesson\n\nThe mean is {FORMULA}."),
        new.new_code_cell("film", outputs=outputs, execution_count=1),
    ]
    return nbformat.writes(new.new_notebook(cells=cells))


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site of a repository with one guide, one lesson and one module's docstrings."""
    root = tmp_path_factory.mktemp("site")
    pages = {"README.md": "# Start\n", "docs/guide.md": GUIDE}
    pages |= {"notebooks/00_tour.ipynb": executed(), "build/notebooks/00_tour.ipynb": executed()}
    for name, text in pages.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    builder = [sys.executable, str(ROOT / "tools" / "build_site.py"), "--root", str(root)]
    done = subprocess.run(
        [*builder, "--out", str(root / "site"), "--only", "volumes"],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return root / "site"


@pytest.fixture(scope="module")
def browser():
    """Chromium without a window; every name and every address leads nowhere."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in FLAGS + CUT:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def requests(browser) -> list[str]:
    """All addresses that the browser asked for since it was asked last."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    return [request["request"]["url"] for request in sent]


def opened(browser, page: Path) -> str:
    """The text of a page, none of whose parts came from anywhere but the disk."""
    browser.get(page.as_uri())
    until(lambda: browser.execute_script("return document.readyState == 'complete'"), 60, "page")
    asked = requests(browser)
    assert page.as_uri() in asked and any("/_static/site.css" in a for a in asked)
    assert not [a for a in asked if not a.startswith(("file://", "data:", "blob:"))]
    severe = [e["message"] for e in browser.get_log("browser") if e["level"] == "SEVERE"]
    assert not severe
    return browser.execute_script(TEXT)


def test_a_lesson_shows_its_figure_and_formula(browser, site):
    text = opened(browser, site / "notebooks" / "00_tour.html")
    assert until(lambda: browser.execute_script(DRAWN), 60, "figure")
    assert browser.find_elements("css selector", "p math mfrac") and "$" not in text
    assert "interactive(" not in text and "UserWarning" not in text
    assert "live in the notebook" in text
    from selenium.webdriver import Keys

    figure = browser.find_element("css selector", "#figure-0")
    assert figure.get_attribute("aria-label").startswith("a curve: error")
    figure.send_keys(Keys.ARROW_RIGHT)  # without a mouse
    until(lambda: browser.execute_script(PLAYED) == 7, 20, "frame that is played")
    assert not [a for a in requests(browser) if a.startswith("http")]
    assert len(list(site.rglob("plotly*.js"))) == 1


def test_a_guide_links_to_pages_only(browser, site):
    assert "a test" in opened(browser, site / "docs" / "guide.html")
    links = browser.find_elements("css selector", "article p a")
    assert [a.get_attribute("href").rpartition("/")[2] for a in links] == ["00_tour.html"]


def test_the_api_tells_a_function_and_its_parameters(browser, site):
    text = opened(browser, site / "api" / "volumes.html")
    assert "unproject(" in text and "maps" in text and "ndc" in text
    names = [e.text for e in browser.find_elements("css selector", "dt.sig em.sig-param .n")]
    assert {"maps", "ndc"} <= set(names)
