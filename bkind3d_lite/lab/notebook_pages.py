"""Executed notebooks without a kernel: widgets become the pictures they showed; HTML pages."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from operator import getitem
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from ..files import write_atomically

PLOTLY = "application/vnd.plotly.v1+json"
WIDGET = "application/vnd.jupyter.widget-"  # view+json, state+json


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
                    output["data"] |= shown


def _shown(model: str, models: dict) -> Iterator[dict]:
    """What a widget and those inside it show: Plotly figures, and contents of output areas."""
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
        yield {PLOTLY: {"data": state["_widget_data"], "layout": state["_widget_layout"]}}
    for output in state.get("outputs", []):
        yield output.get("data", {})
    for child in state.get("children", []):
        yield from _shown(child.removeprefix("IPY_MODEL_"), models)


def page(nb: NotebookNode, path: Path) -> None:
    """Write a notebook as one HTML page.

    Plotly's script is written once beside it, so figures turn and play with no network.

    Args:
        nb: an executed notebook.
        path: the page.
    """
    from nbconvert import HTMLExporter
    from plotly.io import to_html
    from plotly.offline import get_plotlyjs

    nb = nbformat.from_dict(nb)
    for cell in nb.cells:
        for output in cell.get("outputs", []):
            if figure := output.get("data", {}).get(PLOTLY):
                made = {k: figure[k] for k in ("data", "layout", "frames") if k in figure}
                output["data"]["text/html"] = to_html(
                    made,
                    full_html=False,
                    include_plotlyjs="directory",
                    validate=False,
                    auto_play=False,
                )
    # no embed_images: for it nbconvert closes each open tag, and a folded answer lies open
    text, _ = HTMLExporter().from_notebook_node(nb)
    _write(path, text)
    script = path.with_name("plotly.min.js")
    if not script.is_file():
        _write(script, get_plotlyjs())


def _write(path: Path, text: str) -> None:
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
