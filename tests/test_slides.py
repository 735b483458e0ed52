"""Slides of the lab: a table's rows, the lessons' own figures, and what is missing is said."""

import re
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import build_slides  # noqa: E402

GUIDE = """## A lab of three hours
Some words.

| time | what | notebook | exercises |
|---|---|---|---|
| 0:00 | Guess <first> | `01_one` | `fuse`, `edge_map` |
| 0:30 | break | | |

If time is short.
"""
PICTURES = 7


@pytest.fixture
def course(tmp_path):
    """A guide and one executed lesson with seven pictures and a Plotly figure."""
    new = nbformat.v4
    outputs = [
        new.new_output(
            "display_data",
            {"image/png": f"png{n}"},
            metadata={"image/png": {"alt": f"picture {n}"}},
        )
        for n in range(PICTURES)
    ]
    figure = {"data": [{"y": [1], "name": "error"}], "layout": {"height": 640}}
    outputs.append(new.new_output("display_data", {build_slides.PLOTLY: figure}))
    opening = new.new_markdown_cell("# 01 · One\n\n**Where does it land?**")
    nb = new.new_notebook(cells=[opening, new.new_code_cell("see", outputs=outputs)])
    (tmp_path / "teaching.md").write_text(GUIDE, encoding="utf-8")
    nbformat.write(nb, tmp_path / "01_one.ipynb")
    return tmp_path


def test_rows_questions_figures_and_exercises_become_slides(course):
    out = course / "slides"
    count = build_slides.build(course / "teaching.md", course, out)
    text = (out / "index.html").read_text(encoding="utf-8")
    made = re.findall(r"<section>(.*?)</section>", text, re.S)
    assert count == len(made) == 1 + 1 + 1 + build_slides.EACH + 1 + 1
    assert "Guess &lt;first&gt;" in made[1] and "Where does it land?" in made[2]
    assert "height:66vh" in made[5] and "640" not in made[5]  # whole on any wall
    assert 'alt="picture 0"' in made[3] and 'aria-label="a curve: error."' in made[5]
    assert re.findall(r"<code>(\w+)</code>", made[6]) == ["fuse", "edge_map"] and "break" in made[7]
    sources = set(re.findall(r'\["([^"]*\.js)"\]', text))
    assert sources == {"plotly.min.js"} and "https://" not in text
    assert (out / "plotly.min.js").stat().st_size > 1e6


def test_the_lab_of_the_guide_names_lessons_that_are_there():
    lab = build_slides.parts((ROOT / "docs" / "teaching.md").read_text(encoding="utf-8"))
    assert len(lab) >= 6 and not [part for part in lab if not re.fullmatch(r"\d:\d\d", part.time)]
    named = [lesson for part in lab for lesson in part.lessons]
    assert named and all((ROOT / "notebooks" / f"{name}.ipynb").is_file() for name in named)


def test_what_is_missing_is_said(course):
    (course / "01_one.ipynb").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"01_one.ipynb: not executed; run `make notebooks`"
    ):
        build_slides.build(course / "teaching.md", course, course / "slides")
    with pytest.raises(ValueError, match="no table under"):
        build_slides.parts("# Nothing")
