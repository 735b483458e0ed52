"""Classify page: scores, curves, strips of true against found, and what is taken for what."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from ..files import write_atomically
from ..viz.behaviour_plots import behaviour_figure, confusion, ethogram, precision_recall
from ..viz.report_page import PAGE_STYLE, embedded
from .classify_rows import ClassifyRow, LabelledPart

MOST_STRIPS = 6  # test recordings whose strips are drawn
HEADS = "<th>features<th>mean AP<th>95 % of the first seed<th>macro F1<th>top 5"
LEAD = (
    "Average precision of each class against the rest, on recordings that were not learned from; "
    "means leave out <i>other</i> and classes that are not there. A row is worth what it has above "
    "<b>centroid alone</b>: where the animal is often tells what it does."
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
    curves, axes = behaviour_figure(7, 4)
    precision_recall(axes, labels, shares, names)
    strips, axes = behaviour_figure(9, 1 + 0.55 * min(MOST_STRIPS, len(test)))
    drawn = [
        strip
        for part, found in zip(test[:MOST_STRIPS], rows[0].shares)
        for strip in ((f"{part.name}: true", part.acts.labels), ("found", found.argmax(1)))
    ]
    ethogram(axes, drawn, names, test[0].fps)
    taken, axes = behaviour_figure(5.5, 5)
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
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Behaviour</title>'
        f"<style>{PAGE_STYLE}</style><body><main><h1>Behaviour</h1><p class=lead>{LEAD}</p>"
        f'<div class="wide">{_table(rows, names)}</div>{figures}</main></body></html>'
    )
    path = Path(out) / "behaviour.html"
    return write_atomically(path, lambda file: file.write_text(page, encoding="utf-8"))


def _table(rows: Sequence[ClassifyRow], names: Sequence[str]) -> str:
    head = HEADS + "".join(f"<th>{escape(name)}" for name in names)
    body = "".join(_line(row) for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _line(row: ClassifyRow) -> str:
    means = np.array([s.mean for s in row.scores])
    spread = f" ± {means.std(ddof=1):.3f}" if len(means) > 1 else ""
    low, high = row.scores[0].interval
    cells = [f"{means.mean():.3f}{spread}", f"{low:.3f} to {high:.3f}"]
    cells += [f"{np.mean([getattr(s, k) for s in row.scores]):.3f}" for k in ("macro_f1", "top5")]
    for c in range(len(row.scores[0].names)):
        values = [v for s in row.scores if (v := s.average_precision[c]) is not None]
        cells.append(f"{np.mean(values):.3f}" if values else "–")
    return f"<tr><td>{escape(row.name)}" + "".join(f"<td>{cell}" for cell in cells) + "</tr>"
