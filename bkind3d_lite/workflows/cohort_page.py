"""Cohort page: a row a session, sortable, with its film; what fails stands beside its remedy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ..files import write_atomically
from ..viz.report_page import PAGE_HEAD, PAGE_STYLE, scrolled

# key of a row: (head, what it means, format, from which value on it is marked, which way)
MEASURES: dict[str, tuple[str, str, str, float, int]] = {
    "hours": ("hours", "of the track", "{:.3g}", math.inf, 1),
    "on_animal": ("on animal", "share of points on the silhouettes", "{:.0%}", 0.75, -1),
    "at_end": ("at end", "the same in the session's last quarter", "{:.0%}", 0.75, -1),
    "body": ("R2 body", "explained by a place in the animal's body", "{:.2f}", -math.inf, -1),
    "room": ("R2 room", "explained by a place in the room", "{:.2f}", math.inf, 1),
    "turning": ("turning", "1: turns with the animal, 0: not", "{:.2f}", 0.5, -1),
    "drift": ("drift", "of the figure's shape, first fifth to last", "{:.0%}", 0.2, 1),
    "dead": ("dead", "keypoints that do not move", "{:.0f}", 0.5, 1),
    "confidence": ("confidence", "mean of all keypoints", "{:.2f}", -math.inf, -1),
}
COHORT_CELLS = """
main { max-width: 96rem; font-size: .92rem }
th, td { padding: .35rem .5rem }
th:first-child, td:first-child { padding-left: 0 }
th button { all: unset; cursor: pointer; line-height: 1.25 }
th button:focus-visible { outline: 2px solid var(--link) }
th[aria-sort=ascending] button::after { content: " \\25B2" }
th[aria-sort=descending] button::after { content: " \\25BC" }
td { vertical-align: middle }
td.name { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 9rem }
td.bad { color: #d55e00; font-weight: 700 }
th.wrong { text-align: left }
td.wrong {
  text-align: left; white-space: normal; min-width: 18rem; font-size: .85rem;
  overflow-wrap: anywhere
}
td.wrong b { color: #d55e00 }
td.wrong span { color: var(--dim) }
video { width: 176px; display: block; border-radius: 4px; background: #000; cursor: pointer }
"""
SORTING = """
for (const head of document.querySelectorAll("th[aria-sort]")) head.onclick = () => {
  const up = head.ariaSort !== "ascending", body = document.querySelector("tbody")
  const key = row => row.children[head.cellIndex].dataset.value
  const rows = [...body.rows].sort((a, b) => {
    const [x, y] = [key(a), key(b)]
    if (x === "" || y === "") return (x === "") - (y === "")
    const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y
    return up ? order : -order
  })
  for (const other of document.querySelectorAll("th[aria-sort]")) other.ariaSort = "none"
  head.ariaSort = up ? "ascending" : "descending"
  body.append(...rows)
}
for (const film of document.querySelectorAll("video")) {
  film.onmouseenter = () => film.play()
  film.onmouseleave = () => film.pause()
  film.onclick = () => film.paused ? film.play() : film.pause()
  film.onkeydown = event => {
    if (event.key !== " " && event.key !== "Enter") return
    film.onclick()
    event.preventDefault()
  }
}
"""
COHORT_LEAD = (
    "Measured without labels, on moments spread over each session. On animal does not say who is "
    "who; R2 body and turning say whether the figure turns with the animal, if it goes anywhere. "
    "A click on a head sorts; a film plays under the pointer, or by space where the keyboard is."
)


def write_cohort_page(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write the page; it needs no network, its films lie beside it.

    Args:
        path: the HTML file.
        rows: name, the keys of `MEASURES` (NaN: not known), keypoints, failures and film of each
            session.

    Returns:
        The path.
    """
    hours = sum(row["hours"] for row in rows if math.isfinite(row["hours"]))
    wrong = sum(bool(row["failures"]) for row in rows)
    summary = f"{len(rows)} sessions, {hours:.3g} hours tracked, {wrong} with something to mend."
    heads = _head("session", "click to sort", "ascending") + "<th>film"
    heads += "".join(_head(head, meaning) for head, meaning, *_ in MEASURES.values())
    heads += _head("what to mend", "with the remedy").replace("<th", '<th class="wrong"', 1)
    body = "".join(_line(row) for row in rows)
    page = sorting_page("Cohort", summary, COHORT_LEAD, heads, body)
    return write_atomically(path, lambda file: file.write_text(page, encoding="utf-8"))


def sorting_page(
    title: str, summary: str, lead: str, heads: str, body: str, *, style: str = ""
) -> str:
    """A page with one table that is sorted by a click on a head.

    Args:
        title: of the page.
        summary: a sentence of what the table holds.
        lead: how it is to be read.
        heads: the cells of its head, as HTML.
        body: its rows, as HTML.
        style: CSS beyond that of all such pages.

    Returns:
        The HTML.
    """
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
    return (
        f"{PAGE_HEAD}<title>{title}</title><style>{PAGE_STYLE}{COHORT_CELLS}{style}</style>"
        f"<body><main><h1>{title}</h1><p>{summary}</p><p class=lead>{lead}</p>"
        f"{scrolled(table, summary)}</main>"
        f"<script>{SORTING}</script></body></html>"
    )


def _head(word: str, meaning: str, sort: str = "none") -> str:
    button = f'<button title="{escape(meaning)}">{escape(word)}</button>'
    return f'<th scope="col" aria-sort="{sort}">{button}'


def _line(row: Mapping[str, Any]) -> str:
    name = escape(row["name"])
    cells = [f'<td class="name" data-value="{name}">{name}']
    source = f'src="{escape(row["film"])}" loop muted playsinline preload="metadata" tabindex="0"'
    words = f'role="button" aria-label="film of {name}, plays or pauses"'
    cells.append(f"<td><video {source} {words}></video>" if row["film"] else "<td>")
    cells += [_value(row, key) for key in MEASURES]
    wrong = "<br>".join(
        f"<b>{escape(what)}</b> <span>{escape(remedy)}</span>" for what, remedy in row["failures"]
    )
    return f"<tr>{''.join(cells)}<td class=wrong data-value={len(row['failures'])}>{wrong or '–'}"


def _value(row: Mapping[str, Any], key: str) -> str:
    value, (_, _, form, limit, sign) = row[key], MEASURES[key]
    known = math.isfinite(value) and row["keypoints"] > 0
    text = form.format(value) if known else "–"
    text += f" of {row['keypoints']}" if known and key == "dead" else ""
    bad = " class=bad" if known and sign * value > sign * limit else ""
    return f'<td{bad} data-value="{value if known else ""}">{text}'
