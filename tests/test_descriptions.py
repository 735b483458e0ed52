"""Every figure says in words what it shows, in notebooks, exports and pages."""

import base64
import io
import re

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import plotly.graph_objects as go
import pytest
from matplotlib.figure import Figure
from nbconvert import HTMLExporter
from PIL import Image

from bkind3d_lite.lab.notebook_pages import PLOTLY, portable, undescribed
from bkind3d_lite.lab.notebook_tools import run
from bkind3d_lite.viz import save_html
from bkind3d_lite.viz.descriptions import described, in_words
from bkind3d_lite.viz.notebook_figures import CYCLE, INK, figure_html
from bkind3d_lite.viz.report_page import write_report
from bkind3d_lite.workflows.cohort_page import MEASURES, write_cohort_page
from bkind3d_lite.workflows.sweep_page import write_sweep_page

LESSON = """from bkind3d_lite.viz.notebook_figures import accessible
assert accessible()
import matplotlib.pyplot as plt, plotly.graph_objects as go
ax = plt.subplots(figsize=(2, 2))[1]
ax.plot([3, 1], label="error < 4"); ax.set(xlabel="step")
plt.show()
go.Figure(go.Scatter(y=[1, 2], name="loss")).show()
plt.figure(figsize=(2, 2)).add_subplot()
plt.show()"""


@pytest.fixture
def axes():
    figure, axes = plt.subplots(1, 2)
    yield axes
    plt.close(figure)


def test_titles_labels_names_and_ranges_are_said(axes):
    assert in_words(axes[0].figure) == ""
    axes[0].imshow(np.zeros((2, 3)))
    axes[0].set_title("a $map$")
    axes[1].plot([0, 1, 2], [9.0, 5.0, np.nan], label="error")
    axes[1].plot([0, 2], [1, 1])
    axes[1].set(xlabel="step", ylabel="mm", xlim=(0, 2), ylim=(0, 10))
    axes[0].figure.suptitle("Training")
    assert in_words(axes[0].figure) == (
        "Training. 2 panels. 1: a picture: a map; "
        "2: error from 9 to 5, x: step, 0 to 2, y: mm, 0 to 10."
    )


def test_bars_have_names(axes):
    axes[0].bar(["left", "right"], [1, 2], label="share")
    axes[0].set(xlabel="side")
    assert in_words(axes[0].figure).startswith("2 panels. 1: share, x: side, left, right; 2: as")


def test_plotly_says_kinds_names_axes_and_that_it_plays():
    cloud = dict(x=[0], y=[0], z=[0])
    traces = [go.Scatter3d(**cloud, name=f"<b>k{n}</b>") for n in range(8)]
    figure = go.Figure([*traces, go.Bar(y=[1])], frames=[go.Frame(), go.Frame()])
    figure.update_layout(title="A rat<br>walks", scene_xaxis_title="x (mm)")
    assert in_words(figure) == (
        "A rat walks. 8 x set of points or lines in space: k0, k1, k2, k3, k4, k5, and 2 more; "
        "a row of bars; x: x (mm); a film of 2 moments, by slider and button."
    )
    assert in_words(figure.to_plotly_json()) == in_words(figure)
    assert in_words(go.Figure(go.Bar(y=[1]))) == ""


@pytest.mark.parametrize("figure", [go.Figure(), Figure()], ids=["plotly", "matplotlib"])
def test_what_was_told_is_said(figure):
    assert in_words(described(figure, "A rat turns left.")) == "A rat turns left."


def test_a_part_of_a_page_holds_no_tag_of_the_figure():
    html = figure_html(go.Figure(go.Scatter(y=[1], name="</script><script>alert(1)")), 'a"b')
    assert html.count("</script>") == 1 and "alert(1)<" not in html and 'id="a&quot;b"' in html


def test_a_saved_page_says_what_it_shows_and_how_keys_move_it(tmp_path):
    figure = go.Figure(go.Scatter3d(x=[0], y=[0], z=[0], name="rat"), layout_title_text="A walk")
    still = save_html(figure, tmp_path / "still.html").read_text(encoding="utf-8")
    figure.frames = [go.Frame(name="0"), go.Frame(name="1")]
    film = save_html(figure, tmp_path / "film.html").read_text(encoding="utf-8")
    for page, keys in ((still, "turn it."), (film, "space plays or pauses; ")):
        label = re.search(
            r'class="described" role="application" tabindex="0" aria-label="(.*?)"', page
        )
        assert label[1].startswith("A walk. a set of points or lines in space: rat")
        assert keys in label[1] and ":focus-visible" in page


def wordless(page: str) -> list[str]:
    """Pictures, films and drawings of a page without words, and tables that keys cannot scroll."""
    tags = re.findall(r"<(?:img|video|svg|div class=.?wide)\b[^>]*>", page)
    said = re.compile(r"""(?:alt|aria-label)="[^"]+\"""")
    return [t for t in tags if not said.search(t) or ("wide" in t and "tabindex" not in t)]


def test_pages_of_runs_have_words_for_all_that_they_show(tmp_path):
    (tmp_path / "overlay.mp4").touch()
    shown = {"Two frames.": np.zeros((4, 4, 3), np.uint8)}
    rows = [{"name": 'a"b', "film": "a.mp4", "keypoints": 2, "failures": ()}]
    rows[0] |= dict.fromkeys(MEASURES, 1.0)
    trial = {"number": 3, "state": "complete", "score": 0.5, "values": {}, "terms": {}}
    trial |= {"curve": [(0, 0.1), (9, 0.5)], "picture": "3.jpg"}
    pages = [
        write_report(tmp_path, {}, shown),
        write_cohort_page(tmp_path / "cohort.html", rows),
        write_sweep_page(tmp_path / "sweep.html", [trial]),
    ]
    texts = [page.read_text(encoding="utf-8") for page in pages]
    assert [wordless(text) for text in texts] == [[], [], []]
    assert [len(re.findall("<(?:img|video|svg)", text)) for text in texts] == [2, 1, 2]
    assert wordless('<img src="a">') and wordless('<img alt="" src="a">')


def test_the_ink_is_read_on_white_and_on_black():
    def luminance(colour):
        c = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    assert 1.05 / (luminance(INK) + 0.05) >= 4.5 and (luminance(INK) + 0.05) / 0.05 >= 4.5
    assert all(1.05 / (luminance(c) + 0.05) >= 1.9 for c in CYCLE)


def test_a_lesson_keeps_words_and_figures_in_any_export(tmp_path):
    new = nbformat.v4
    nb = new.new_notebook(cells=[new.new_code_cell(LESSON, id="see")])
    nb.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(nb, tmp_path / "see.ipynb")
    done = run(tmp_path / "see.ipynb", tmp_path / "out")
    assert done.faults == (
        "cell see: a figure without words; give it a title, labels or `described`",
    )
    executed = nbformat.read(tmp_path / "out" / "see.ipynb", 4)
    shown = [o for o in executed.cells[0].outputs if o.output_type != "stream"]
    drawn = next(o for o in shown if "image/png" in o.data)
    words = "error < 4 from 3 to 1, x: step"
    assert drawn.metadata["image/png"]["alt"].startswith(words)
    corner = Image.open(io.BytesIO(base64.b64decode(drawn.data["image/png"]))).getpixel((0, 0))
    assert len(corner) == 4 and corner[3] == 0  # no ground of its own: light or dark, as the page
    text, _ = HTMLExporter().from_notebook_node(executed)
    assert 'alt="error &lt; 4 from 3 to 1' in text and 'aria-label="a curve: loss."' in text


def test_frozen_figures_get_the_html_of_the_others():
    new = nbformat.v4
    table = {"image/png": "abc", "text/html": "<table>"}
    frozen = {PLOTLY: {"data": [{"y": [1], "name": "error"}], "layout": {}}}
    words = {"image/png": {"alt": "a 'map'"}}
    outputs = [new.new_output("display_data", d) for d in (table, frozen)]
    outputs.append(new.new_output("display_data", {"image/png": "abc"}, metadata=words))
    nb = new.new_notebook(cells=[new.new_code_cell("", id="see", outputs=outputs)])
    portable(nb)
    assert outputs[0].data["text/html"] == "<table>"
    assert 'aria-label="a curve: error."' in outputs[1].data["text/html"]
    assert 'alt="a &#x27;map&#x27;"' in outputs[2].data["text/html"]
    assert [said.partition(":")[0] for said in undescribed(nb)] == ["cell see"]
