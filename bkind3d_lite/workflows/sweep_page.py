"""Sweep page: the trials side by side, their values, scores, curves and pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ..files import write_atomically
from .cohort_page import sorting_page

SWEPT = ("keypoints", "gap", "cube", "cover", "hull")
TERMS = ("on_animal", "body", "steady", "wide")
SWEEP_LEAD = (
    "Score: the geometric mean of what can be told without labels - points on the silhouettes, "
    "explained by the animal's own way (body), steady from frame to frame, as wide as the animal. "
    "It ranks trials of one recording; it does not say that points are right. Gap in seconds, cube "
    "in lengths of the animal. A click on a head sorts."
)
STRIP = "img { height: 96px; display: block; border-radius: 4px } polyline { fill: none }"


def write_sweep_page(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write the page; its pictures lie beside it.

    Args:
        path: the HTML file.
        rows: number, state, score, terms, values, curve and picture of each trial.

    Returns:
        The path.
    """
    rows = sorted(rows, key=lambda row: (math.isnan(row["score"]), -row["score"]))
    done = sum(row["state"] == "complete" for row in rows)
    pruned = sum(row["state"] == "pruned" for row in rows)
    words = ("trial", "state", "score", *SWEPT, *(term.replace("_", " ") for term in TERMS))
    heads = "".join(f'<th aria-sort="none"><button>{word}</button>' for word in words)
    heads += "<th>on the way<th>three moments"
    body = "".join(_trial_line(row) for row in rows)
    summary = f"{done} trials complete, {pruned} pruned."
    page = sorting_page("Sweep", summary, SWEEP_LEAD, heads, body, style=STRIP)
    return write_atomically(path, lambda file: file.write_text(page, encoding="utf-8"))


def _trial_line(row: Mapping[str, Any]) -> str:
    cells = [_number(row["number"], "{:d}"), f'<td data-value="{row["state"]}">{row["state"]}']
    cells.append(_number(row["score"], "<b>{:.3f}</b>"))
    cells += [_number(row["values"].get(name), "{:.3g}") for name in SWEPT]
    cells += [_number(row["terms"].get(name), "{:.2f}") for name in TERMS]
    words = f"trial {row['number']}: the keypoints found, at three moments"
    picture = f'<img src="{escape(row["picture"])}" alt="{words}">' if row["picture"] else ""
    return f"<tr>{''.join(cells)}<td>{_curve(row['curve'])}<td>{picture}"


def _number(value: float | None, form: str) -> str:
    known = value is not None and math.isfinite(value)
    return f'<td data-value="{value if known else ""}">{form.format(value) if known else "–"}'


def _curve(curve: Sequence[tuple[int, float]]) -> str:
    """A trial's scores over its steps, from 0 to 1, as a small line."""
    if len(curve) < 2:
        return "–"
    last = curve[-1][0]
    points = " ".join(f"{70 * step / last:.1f},{32 - 30 * score:.1f}" for step, score in curve)
    return (
        '<svg width="72" height="34" role="img" aria-label="score over steps, from '
        f'{curve[0][1]:.2f} to {curve[-1][1]:.2f}">'
        f'<polyline points="{points}" stroke="var(--link)" stroke-width="2"/></svg>'
    )
