"""Executed notebooks without a kernel: widgets become the pictures they showed; HTML pages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import reduce
from operator import getitem
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from ..files import write_atomically

PLOTLY = "application/vnd.plotly.v1+json"
WIDGET = "application/vnd.jupyter.widget-"  # view+json, state+json
WIDGET_TEXT = re.compile(r"\w+\(.*children=|Output\(", re.S)  # how one prints without a kernel


def freeze_widgets(nb: NotebookNode) -> None:
    """Put still pictures in the place of widgets, which need a kernel (and store 5 MB of script).

    Args:
        nb: an executed notebook, changed in place.
    """
    models = nb.metadata.pop("widgets", {}).get(f"{WIDGET}state+json", {}).get("state", {})
    for cell in nb.cells:
        for output in cell.get("outputs", []):
            if view := output.get("data", {}).pop(f"{WIDGET}view+json", None):
                for shown in _shown(view["model_id"], models):
                    output["data"] |= shown.get("data", {})
                    output["metadata"] |= shown.get("metadata", {})


def _shown(model: str, models: dict) -> Iterator[dict]:
    """What a widget and those inside it show, as outputs: Plotly figures, what areas hold."""
    state = models.get(model, {}).get("state", {})
    if state.get("_anywidget_id", "").endswith("FigureWidget"):
        # arrays travel apart: back to their places, as base64
        for buffer in models[model].get("buffers", []):
            *way, key, _ = buffer["path"]
            place = reduce(getitem, way, state)
            place[key] = {
                "bdata": buffer["data"],
                "dtype": place[key]["dtype"],
                "shape": ", ".join(map(str, place[key]["shape"])),
            }
        made = {"data": state["_widget_data"], "layout": state["_widget_layout"]}
        yield {"data": {PLOTLY: made}}
    yield from state.get("outputs", [])
    for child in state.get("children", []):
        yield from _shown(child.removeprefix("IPY_MODEL_"), models)


def portable(nb: NotebookNode) -> None:
    """Give frozen widgets the HTML that all other figures have: any export keeps it.

    Args:
        nb: an executed notebook, its widgets frozen; changed in place.
    """
    from ..viz.notebook_figures import figure_html, image_html

    for output in (o for cell in nb.cells for o in cell.get("outputs", [])):
        data = output.get("data", {})
        if PLOTLY in data:
            data.setdefault("text/html", figure_html(data[PLOTLY]))
        elif "image/png" in data:
            data.setdefault("text/html", image_html(data["image/png"], _words(output) or ""))


def undescribed(nb: NotebookNode) -> list[str]:
    """Cells whose figures do not say in words what they show.

    Args:
        nb: an executed notebook, its widgets frozen.

    Returns:
        One sentence each.
    """
    return [
        f"cell {cell.get('id')}: a figure without words; give it a title, labels or `described`"
        for cell in nb.cells
        for output in cell.get("outputs", [])
        if _words(output) == ""
    ]


def _words(output: NotebookNode) -> str | None:
    """What an output's figure says that it shows; None: there is none."""
    from ..viz.descriptions import in_words

    data = output.get("data", {})
    if PLOTLY in data:
        return in_words(data[PLOTLY])
    shown = "image/png" in data
    return output.metadata.get("image/png", {}).get("alt", "") if shown else None


def accessible_html(nb: NotebookNode, sources: Sequence[str] = (), note: str = "") -> None:
    """Put HTML with a text alternative in the place of every figure.

    Args:
        nb: an executed notebook, its widgets frozen; changed in place.
        sources: addresses of Plotly's script (default: as `figure_html` has them).
        note: HTML behind figures that a kernel would let one change.
    """
    from ..viz.notebook_figures import figure_html, image_html

    figures = 0
    for output in (o for cell in nb.cells for o in cell.get("outputs", [])):
        data = output.get("data", {})
        told = note if WIDGET_TEXT.match(data.get("text/plain", "")) else ""
        if PLOTLY in data:
            html = figure_html(data[PLOTLY], f"figure-{figures}", sources=sources)
            figures += 1
        elif "image/png" in data:
            html = image_html(data["image/png"], _words(output) or "")
        elif told and not data.keys() & {"image/jpeg", "image/svg+xml", "text/html"}:
            html = ""
        else:
            continue
        output["data"] = {"text/html": html + told}


def page(nb: NotebookNode, path: Path) -> None:
    """Write a notebook as one HTML page.

    Plotly's script is written once beside it, so figures turn and play with no network.

    Args:
        nb: an executed notebook.
        path: the page.
    """
    from nbconvert import HTMLExporter
    from plotly.offline import get_plotlyjs

    nb = nbformat.from_dict(nb)
    accessible_html(nb, ["plotly.min.js"])
    # no embed_images: for it nbconvert closes each open tag, and a folded answer lies open
    text, _ = HTMLExporter().from_notebook_node(nb)
    _write(path, text)
    script = path.with_name("plotly.min.js")
    if not script.is_file():
        _write(script, get_plotlyjs())


def _write(path: Path, text: str) -> None:
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
