"""Slides for the lab of three hours, from the lessons' own figures: `make slides`.

    python tools/build_slides.py

For each row of the table "A lab of three hours" in docs/teaching.md: its title and time; the
question of each of its lessons; the figures of those lessons as `make notebooks` executed them,
with the words that they say of themselves; the exercises to do. build/slides/index.html needs no
network; arrow keys go on and back, and printed, each slide is a page.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path

import nbformat
from plotly.offline import get_plotlyjs

from bkind3d_lite.files import text_of, write_atomically
from bkind3d_lite.lab.notebook_pages import PLOTLY
from bkind3d_lite.viz.descriptions import in_words
from bkind3d_lite.viz.notebook_figures import figure_html, image_html

ROOT = Path(__file__).parents[1]
TABLE = re.compile(r"## A lab of three hours.*?\|---[^\n]*\n(.*?)\n\n", re.S)
EACH = 3  # figures of a lesson at most, evenly chosen: a slide is not the lesson
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
:root {{ color-scheme: light dark }}
body {{ margin: 0; font: 20px/1.4 system-ui, sans-serif; background: Canvas; color: CanvasText }}
section {{ box-sizing: border-box; min-height: 100vh; padding: 4vh 5vw; display: none }}
section.shown {{ display: block }}
h1 {{ font-size: 2.2em; margin: 0.2em 0 }} h2 {{ font-size: 1.3em; margin: 0.2em 0 }}
img.described {{ width: 100%; height: 70vh; object-fit: contain }}
.time, .words, nav {{ color: GrayText }} .words {{ font-size: 0.7em }} .big {{ font-size: 1.6em }}
nav {{ position: fixed; right: 1em; bottom: 0.5em; font-size: 0.7em }}
@media print {{ section {{ display: block; break-after: page }} nav {{ display: none }} }}
</style><body><script>{show}</script>
{slides}
<nav aria-live="polite" id="place"></nav><script>draw()</script></body></html>"""
SHOW = """const slides = () => [...document.querySelectorAll("section")];
const draw = () => { const all = slides();
  const n = Math.min(all.length - 1, Math.max(0, (parseInt(location.hash.slice(1)) || 1) - 1));
  all.forEach((slide, i) => slide.classList.toggle("shown", i === n));
  document.getElementById("place").textContent = `${n + 1} of ${all.length} · arrow keys`;
  window.dispatchEvent(new Event("resize")); };
window.addEventListener("hashchange", draw);
window.addEventListener("keydown", event => {
  if (event.target.closest?.(".described")) return;  // a figure has keys of its own
  const by = {ArrowRight: 1, PageDown: 1, " ": 1, ArrowLeft: -1, PageUp: -1}[event.key];
  const n = parseInt(location.hash.slice(1)) || 1;
  if (by) { location.hash = Math.min(slides().length, Math.max(1, n + by));
    event.preventDefault(); } });"""


@dataclass(frozen=True)
class Part:
    """A row of the lab's table: when, what, which lessons, which exercises."""

    time: str
    what: str
    lessons: tuple[str, ...]
    exercises: tuple[str, ...]


def parts(guide: str) -> list[Part]:
    """The rows of the lab's table.

    Args:
        guide: docs/teaching.md.

    Returns:
        In order.

    Raises:
        ValueError: the table is not there.
    """
    if not (table := TABLE.search(guide)):
        raise ValueError('docs/teaching.md: no table under "## A lab of three hours"')
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in table[1].split("\n")]
    named = partial(re.findall, r"`(\w+)`")
    return [Part(time, what, tuple(named(a)), tuple(named(b))) for time, what, a, b in rows]


def figures(nb: nbformat.NotebookNode) -> list[tuple[str, str]]:
    """A lesson's figures as HTML, each with its words, at most EACH of them."""
    found = []
    for output in (o for cell in nb.cells for o in cell.get("outputs", [])):
        data = output.get("data", {})
        if PLOTLY in data:
            made = data[PLOTLY]
            layout = {k: v for k, v in made.get("layout", {}).items() if k != "height"}
            free = {**made, "layout": layout}  # as high as the slide has room for, on any wall
            html = figure_html(free, height="66vh", sources=["plotly.min.js"])
            found.append((html, in_words(made)))
        elif "image/png" in data:
            words = output.metadata.get("image/png", {}).get("alt", "")
            found.append((image_html(data["image/png"], words), words))
    step = max(1, (len(found) - 1) / (EACH - 1))
    chosen = dict.fromkeys(round(n * step) for n in range(EACH))
    return [found[n] for n in chosen if n < len(found)]


def slides(part: Part, folder: Path) -> Iterator[str]:
    """The slides of one row, as HTML.

    Args:
        part: the row.
        folder: where the executed lessons are.

    Yields:
        What stands in a section.

    Raises:
        FileNotFoundError: a lesson of the row was not executed.
    """
    head = f'<p class="time">{escape(part.time)}</p>'
    yield f"{head}<h1>{escape(part.what)}</h1>"
    for lesson in part.lessons:
        path = folder / f"{lesson}.ipynb"
        if not path.is_file():
            raise FileNotFoundError(f"{path}: not executed; run `make notebooks` first")
        nb = nbformat.read(path, 4)
        first = nb.cells[0].source
        title = escape(first.partition("\n")[0].removeprefix("# "))
        question = re.search(r"\*\*(.*?\?)\*\*", first)
        yield f'<h2>{title}</h2><p class="big">{escape(question[1] if question else "")}</p>'
        for html, words in figures(nb):
            yield f'<h2>{title}</h2>{html}<p class="words" aria-hidden="true">{escape(words)}</p>'
    if part.exercises:
        items = "".join(f"<li><code>{escape(name)}</code></li>" for name in part.exercises)
        yield f'{head}<h2>Now you</h2><ul class="big">{items}</ul>'


def build(guide: Path, folder: Path, out: Path) -> int:
    """Write the slides and Plotly's script beside them.

    Args:
        guide: docs/teaching.md.
        folder: where the executed lessons are.
        out: the slides' folder.

    Returns:
        How many slides there are.
    """
    title = "A 3D skeleton that nobody labelled"
    made = [f"<h1>{title}</h1><p class='big'>A lab of three hours</p>"]
    made += [slide for part in parts(text_of(guide)) for slide in slides(part, folder)]
    sections = "\n".join(f"<section>{slide}</section>" for slide in made)
    text = PAGE.format(title=title, show=SHOW, slides=sections)
    for name, content in {"index.html": text, "plotly.min.js": get_plotlyjs()}.items():
        write_atomically(out / name, partial(Path.write_text, data=content, encoding="utf-8"))
    return len(made)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="slides for the lab of three hours")
    parser.add_argument("--lessons", type=Path, default=ROOT / "build" / "notebooks")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "slides")
    given = parser.parse_args()
    count = build(ROOT / "docs" / "teaching.md", given.lessons, given.out)
    print(f"{count} slides; open {given.out / 'index.html'}")
