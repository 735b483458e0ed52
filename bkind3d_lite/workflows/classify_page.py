"""Classify page: scores, curves, strips of true against found, and what is taken for what."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from ..files import write_atomically
from ..viz.behaviour_plots import behaviour_figure, confusion, ethogram, precision_recall
from ..viz.report_page import PAGE_HEAD, PAGE_STYLE, embedded, scrolled
from .classify_rows import ClassifyRow, LabelledPart, row_cells, row_heads

MOST_STRIPS = 6  # test recordings whose strips are drawn
LEAD = (
    "Average precision of each class against the rest, on recordings that were not learned from; "
    "means leave out <i>other</i> and classes that are not there. A row is worth what it has above "
    "<b>centroid alone</b>: where the animal is often tells what it does; <b>centroid removed</b> "
    "has lost place, height and heading. <b>voted</b>: "
    "share of recordings whose commonest class has the largest mean share."
)


def write_behaviour_page(
    out: str | Path, rows: Sequence[ClassifyRow], test: Sequence[LabelledPart], names: Sequence[str]
) -> Path:
    """Write `behaviour.html`.

    Args:
        out: folder for it.
        rows: of the table; the first one's curves and strips are drawn.
        test: the recordings that were scored.
        names: of the classes.

    Returns:
        The page.
    """
    labels = np.concatenate([part.acts.labels for part in test])
    shares = np.concatenate(rows[0].shares)
    curves, axes = behaviour_figure(9, 3.8)
    precision_recall(axes, labels, shares, names)
    strips, axes = behaviour_figure(9, 1 + 0.55 * min(MOST_STRIPS, len(test)))
    drawn = [
        strip
        for part, found in zip(test[:MOST_STRIPS], rows[0].shares)
        for strip in ((f"{part.name}: true", part.acts.labels), ("found", found.argmax(1)))
    ]
    ethogram(axes, drawn, names, test[0].fps)
    taken, axes = behaviour_figure(9, 1.5 + 0.4 * len(names))
    confusion(axes, labels, shares.argmax(1), names)
    figures = "".join(
        embedded(figure, caption)
        for figure, caption in (
            (curves, f"Precision over recall, {rows[0].name}."),
            (strips, "What was labelled, and what was found."),
            (taken, "What each class was taken for, shares of its frames."),
        )
    )
    page = (
        f"{PAGE_HEAD}<title>Behaviour</title>"
        f"<style>{PAGE_STYLE}</style><body><main><h1>Behaviour</h1><p class=lead>{LEAD}</p>"
        f"{scrolled(_table(rows), 'scores')}{figures}</main></body></html>"
    )
    path = Path(out) / "behaviour.html"
    return write_atomically(path, lambda file: file.write_text(page, encoding="utf-8"))


def _table(rows: Sequence[ClassifyRow]) -> str:
    heads = row_heads(rows)
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = "".join(f"<tr>{_line(row_cells(row, heads))}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _line(cells: Sequence[str]) -> str:
    return "".join(f"<td>{escape(cell)}</td>" for cell in cells)
