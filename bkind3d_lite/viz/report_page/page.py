"""The report as a page: scores, results, pictures, doubts, and the run."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ...files import write_atomically
from .images import embedded
from .table import COLUMNS, cells_of, heads, meanings

CAVEATS = (
    "MPJPE and PMPJPE need a linear map from keypoints to joints that is fitted to true poses of "
    "the training part. It flatters: points that only follow the animal's place and heading "
    "already predict a fair mean pose, which is why the baselines stand beside it.",
    "On body and to bone use no regression, so no fit can flatter them; but on body proves nothing "
    "about who is who: points that crowd in one spot on the body, or keep to the sides of the room "
    "whichever way the animal looks, score well. Look at the film, too.",
    "R2 room, R2 body and turning say whether points turn with the animal, not whether they are "
    "right: in a volume that turns with a heading they are nearly given. So joints decide, beside "
    "the two baselines that have the heading as well: the rigid template, and the untrained "
    "network in the turned volume.",
    "The truth is used for these scores and grey drawings only. Training never sees it.",
    "One clip, one seed: another seed gives other numbers; run a few before you believe a small "
    "difference.",
)
FILES = {
    "skeleton.html": "3D skeleton, to turn and play",
    "overlay.mp4": "film with the keypoints drawn in",
    "keypoints.csv": "keypoints as a table",
    "keypoints.npz": "keypoints for numpy",
    "losses.csv": "losses of every step",
    "report.json": "this report as data",
}
VIDEO = (
    '<video src="overlay.mp4" controls loop muted playsinline preload="metadata" '
    'aria-label="film: the views with the keypoints drawn in"></video>'
)
PAGE_HEAD = (
    '<!doctype html><html lang="en"><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
)
PAGE_STYLE = """
:root {
  color-scheme: light dark; --ink: #1d2126; --dim: #5d6670; --line: #d8dde2;
  --paper: #fff; --soft: #f4f6f8; --link: #0067ac
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e4e7ea; --dim: #9aa4ae; --line: #363c44; --paper: #16181d; --soft: #1f232a;
    --link: #6fbdf0
  }
}
* { box-sizing: border-box }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, sans-serif
}
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1.1rem 4rem }
h1 { font-size: 1.7rem; line-height: 1.25; margin: .4rem 0 }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem }
a { color: var(--link) }
.lead, small, figcaption, dd { color: var(--dim) }
.wide { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td {
  padding: .42rem .7rem; border-bottom: 1px solid var(--line); text-align: right;
  vertical-align: bottom
}
td { white-space: nowrap }
th:first-child, td:first-child { text-align: left }
thead th { color: var(--dim); font-weight: 600 }
tbody th { font-weight: inherit }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px }
dl {
  display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem;
  margin: .8rem 0; font-size: .92rem
}
dt { font-weight: 600 }
dd { margin: 0 }
figure { margin: 1rem 0 }
figure img, video { display: block; width: 100%; height: auto; border-radius: 6px }
video { max-height: 80vh; background: #000 }
img.plot { background: #fff; border-radius: 6px; padding: .4rem }
details {
  border: 1px solid var(--line); border-radius: 6px; padding: .5rem .9rem;
  background: var(--soft)
}
summary { cursor: pointer }
details td {
  white-space: normal; overflow-wrap: anywhere; text-align: left;
  padding: .25rem .7rem .25rem 0
}
ul.files { padding-left: 1.1rem }
@media (max-width: 34rem) {
  dl { grid-template-columns: 1fr }
  dd { margin-bottom: .5rem }
  th, td { padding: .4rem .45rem }
  table { font-size: .88rem }
}
"""


def scrolled(table: str, words: str) -> str:
    """A table that may be wider than the page: keys reach and scroll it.

    Args:
        table: as HTML.
        words: what it holds.

    Returns:
        HTML.
    """
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{escape(words)}">{table}</div>'
    )


# ---- parts ---------------------------------------------------------------------------------------
def _scores(report: Mapping) -> str:
    head = "".join(f'<th scope="col">{escape(h)}</th>' for h in ["run", *heads()])
    rows = ((f'<th scope="row">{name}</th>', cells) for name, cells in cells_of(report))
    body = "".join(f"<tr>{name}{_row(cells)}</tr>" for name, cells in rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return (
        f"<h2>Scores</h2>{scrolled(table, 'scores')}<small>Best of a column in bold. "
        "For MPJPE, PMPJPE, vs baseline and to bone less is better; for on body more is.</small>"
        + "".join(_definitions(part) for part in meanings())
        + _turning(report.get("body_bound") or {})
    )


def _turning(judged: Mapping) -> str:
    """On what R2 and turning were judged, and the shares of each keypoint."""
    if not judged:
        return ""
    text = (
        f"R2 room, R2 body and turning are of {judged['frames']} frames in which the keypoints' "
        f"centre goes faster than {judged['faster_than']:.3g} {judged['unit']}, in "
        f"{judged['directions']} of 12 directions."
    )
    each = zip(*(judged["keypoints"][key] for key in ("r2_room", "r2_body")))
    rows = [
        (f"keypoint {k}", f"R2 room {_share(room)}, R2 body {_share(body)}")
        for k, (room, body) in enumerate(each)
    ]
    return f"<p><small>{escape(text)}</small></p>" + _folded("Each keypoint", rows)


def _share(value: float | None) -> str:
    return "not told" if value is None else f"{value:.2f}"


def _row(cells: Sequence[tuple[str, bool]]) -> str:
    return "".join(f"<td><b>{t}</b></td>" if best else f"<td>{t}</td>" for t, best in cells)


def _definitions(pairs: Sequence[tuple[str, str]]) -> str:
    inner = "".join(f"<dt>{escape(a)}</dt><dd>{escape(b)}</dd>" for a, b in pairs)
    return f"<dl>{inner}</dl>"


def _facts(values: Mapping, prefix: str = "") -> list[tuple[str, str]]:
    """Names and values of nested dictionaries, flat."""
    rows = []
    for key, value in values.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            rows += _facts(value, f"{name}: ")
        else:
            rows.append((name, f"{value:.4g}" if isinstance(value, float) else str(value)))
    return rows


def _folded(title: str, rows: Sequence[tuple[str, str]]) -> str:
    body = "".join(f"<tr><td>{escape(a)}</td><td>{escape(b)}</td></tr>" for a, b in rows)
    return f"<details><summary>{title}</summary><table>{body}</table></details><br>"


def _links(folder: Path) -> str:
    """The results that are in the folder, the film to be played on the page."""
    have = {
        name: text
        for name, text in FILES.items()
        if name == "report.json" or (folder / name).is_file()
    }
    have |= {path.name: "weights: a checkpoint" for path in sorted(folder.glob("*.safetensors"))}
    items = "".join(
        f'<li><a href="{escape(name)}">{escape(name)}</a> <small>{text}</small></li>'
        for name, text in have.items()
    )
    film = VIDEO if "overlay.mp4" in have else ""
    return f'<h2>Results</h2>{film}<ul class="files">{items}</ul>'


# ---- the page ------------------------------------------------------------------------------------
def _page(folder: Path, report: Mapping, figures: Mapping, recipe: Mapping) -> str:
    clip = escape("/".join(Path(str(report.get("clip", "a clip"))).parts[-2:]))
    apart = {column.key for column in COLUMNS.values()} | {"body_bound"}
    run = _facts({k: v for k, v in report.items() if k not in apart})
    return "".join(
        [
            f"{PAGE_HEAD}<title>Report: {clip}</title><style>{PAGE_STYLE}</style><body><main>",
            f"<h1>3D keypoints discovered in the clip {clip}</h1>",
            f'<p class="lead">{report.get("keypoints", "The")} keypoints and the edges between '
            "them, found in synchronized calibrated videos without a label, and how far they are "
            "from the animal that is there.</p>",
            _scores(report),
            _links(folder),
            "<h2>Pictures</h2>" if figures else "",
            *(embedded(p, c) for c, p in figures.items()),
            "<h2>What to doubt</h2><ul>",
            *(f"<li>{text}</li>" for text in CAVEATS),
            "</ul><h2>The run</h2>",
            _folded("Clip, time, device, versions", run),
            _folded("Recipe", _facts(recipe)) if recipe else "",
            "</main></body></html>",
        ]
    )


def _plain(value: Any) -> Any:
    """NaN and infinity are no JSON: null."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_report(
    folder: str | Path,
    report: Mapping,
    figures: Mapping[str, Figure | np.ndarray] | None = None,
    recipe: Mapping | None = None,
) -> Path:
    """Write `report.json` (the dictionary, indented) and a self-contained `report.html`.

    Links lead to the results that are in the folder already, so write the report last.

    Args:
        folder: for both files.
        report: scores by key and row, and facts of the run.
        figures: caption -> matplotlib figure or RGB image (H, W, 3) uint8, in this order.
        recipe: `recipe.flat()`.

    Returns:
        Path of the page.
    """
    folder = Path(folder)
    data = json.dumps(_plain(report), indent=2, default=str, allow_nan=False) + "\n"
    write_atomically(folder / "report.json", lambda file: file.write_text(data, encoding="utf-8"))
    page = _page(folder, report, figures or {}, recipe or {})
    return write_atomically(
        folder / "report.html", lambda file: file.write_text(page, encoding="utf-8")
    )
