"""Report: one page that says how well it went, against what, and what to doubt."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from ..clips.clip import MultiViewClip
from ..clips.tracks import Skeleton, Track
from ..files import write_atomically
from .overlays import GREY, boxed, closeups, keypoint_colours, loss_curves, pose

ROWS = {  # key in the report: name in the table, what it is
    "trained": ("trained", "this run's keypoints, on frames it was not trained on"),
    "checkpoint": (
        "checkpoint",
        "the keypoints of the checkpoint it is compared with, on the same frames",
    ),
    "untrained": (
        "untrained",
        "the same network before its first step: what the cameras' geometry gives without learning",
    ),
    "centroid": (
        "centroid",
        "regression from the true centre of the animal alone, an oracle that knows the place and no pose",
    ),
    "mean_pose": ("mean pose", "the mean pose of the training frames, always"),
}
BASELINES = ("untrained", "centroid", "mean_pose")
COLUMNS = {  # title: (key in the report, factor, decimals, sign of better, what it is)
    "MPJPE mm": (
        "mpjpe_mm",
        1,
        1,
        -1,
        "mean distance between regressed and true joints after removing the mean shift of each frame",
    ),
    "PMPJPE mm": (
        "pmpjpe_mm",
        1,
        1,
        -1,
        "the same after the best rotation and translation of each frame: the pose alone",
    ),
    "on body %": (
        "on_body",
        100,
        1,
        1,
        "share of the keypoints within 15 % of a body length of the nearest true bone; no regression",
    ),
    "to bone mm": (
        "bone_distance_mm",
        1,
        1,
        -1,
        "median distance of the keypoints from the nearest true bone; no regression",
    ),
}
RATIO = "vs baseline"
RATIO_MEANS = "MPJPE over the best baseline's (untrained, centroid, mean pose); under 1 is better than all of them"
CAVEATS = (
    "MPJPE and PMPJPE need a linear map from keypoints to joints that is fitted to true poses of the training part. It flatters: points that only "
    "follow the animal's place and heading already predict a fair mean pose, which is why the baselines stand beside it.",
    "On body and to bone use no regression, so no fit can flatter them; but points that crowd in one spot on the body score well. Look at the film, too.",
    "The truth is used for these scores and grey drawings only. Training never sees it.",
    "One clip, one seed: another seed gives other numbers; run a few before you believe a small difference.",
)
FILES = {
    "skeleton.html": "3D skeleton, to turn and play",
    "overlay.mp4": "film with the keypoints drawn in",
    "keypoints.csv": "keypoints as a table",
    "keypoints.npz": "keypoints for numpy",
    "losses.csv": "losses of every step",
    "report.json": "this report as data",
}
PAGE_STYLE = """:root{color-scheme:light dark;--ink:#1d2126;--dim:#5d6670;--line:#d8dde2;--paper:#fff;--soft:#f4f6f8;--link:#0067ac}
@media(prefers-color-scheme:dark){:root{--ink:#e4e7ea;--dim:#9aa4ae;--line:#363c44;--paper:#16181d;--soft:#1f232a;--link:#6fbdf0}}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,sans-serif}
main{max-width:60rem;margin:0 auto;padding:1.5rem 1.1rem 4rem}h1{font-size:1.7rem;line-height:1.25;margin:.4rem 0}h2{font-size:1.15rem;margin:2.2rem 0 .6rem}
a{color:var(--link)}.lead,small,figcaption,dd{color:var(--dim)}.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.42rem .7rem;border-bottom:1px solid var(--line);text-align:right;vertical-align:bottom}td{white-space:nowrap}th:first-child,td:first-child{text-align:left}
thead th{color:var(--dim);font-weight:600}dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1rem;margin:.8rem 0;font-size:.92rem}
dt{font-weight:600}dd{margin:0}figure{margin:1rem 0}figure img,video{display:block;width:100%;height:auto;border-radius:6px}video{max-height:80vh;background:#000}
img.plot{background:#fff;border-radius:6px;padding:.4rem}details{border:1px solid var(--line);border-radius:6px;padding:.5rem .9rem;background:var(--soft)}
summary{cursor:pointer}details td{white-space:normal;overflow-wrap:anywhere;text-align:left;padding:.25rem .7rem .25rem 0}ul.files{padding-left:1.1rem}
@media(max-width:34rem){dl{grid-template-columns:1fr}dd{margin-bottom:.5rem}th,td{padding:.4rem .45rem}table{font-size:.88rem}}"""


# ---- the table ---------------------------------------------------------------------------------------------------
def _value(report: Mapping, key: str, row: str) -> float | None:
    value = (report.get(key) or {}).get(row)
    return None if value is None or not math.isfinite(value) else float(value)


def _best_baseline(report: Mapping) -> float | None:
    known = [v for v in (_value(report, "mpjpe_mm", row) for row in BASELINES) if v is not None]
    return min(known) if known else None


def cells_of(report: Mapping) -> list[tuple[str, list[tuple[str, bool]]]]:
    """The score table: for each row its name and (text, is the best of its column) per column; '-' where a score is not defined."""
    base, table = _best_baseline(report), {row: [] for row in ROWS}
    for title, (key, factor, decimals, sign, _) in COLUMNS.items():
        values = {row: _value(report, key, row) for row in ROWS}
        best = max((sign * v for v in values.values() if v is not None), default=None)
        for row, v in values.items():
            table[row].append(
                ("-", False) if v is None else (f"{factor * v:.{decimals}f}", sign * v == best)
            )
        if title == "MPJPE mm":
            for row, v in values.items():
                table[row].append(("-" if v is None or not base else f"{v / base:.2f}", False))
    return [(ROWS[row][0], cells) for row, cells in table.items()]


def heads() -> list[str]:
    """Titles of the table's columns, the ratio after what it is a ratio of."""
    titles = list(COLUMNS)
    return [titles[0], RATIO, *titles[1:]]


def score_table(report: Mapping) -> str:
    """The scores as aligned text for a terminal; `*` marks the best of a column."""
    lines = [["", *heads()]] + [
        [name] + [text + ("*" if best else " ") for text, best in cells]
        for name, cells in cells_of(report)
    ]
    lines[0][1:] = [head + " " for head in lines[0][1:]]
    widths = [max(len(line[c]) for line in lines) for c in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            [line[0].ljust(widths[0])] + [t.rjust(w) for t, w in zip(line[1:], widths[1:])]
        ).rstrip()
        for line in lines
    )


# ---- pictures ----------------------------------------------------------------------------------------------------
def stills(
    track: Track,
    times: Sequence[int],
    truth: Tensor | None = None,
    skeleton: Skeleton | None = None,
) -> Figure:
    """A row of 3D poses (rows `times` of the track) in matplotlib, equal axes of one extent; `truth` (T, J, 3) in grey."""
    figure, axes = plt.subplots(
        1,
        len(times),
        figsize=(3.4 * len(times), 3.4),
        subplot_kw=dict(projection="3d"),
        squeeze=False,
    )
    figure.subplots_adjust(0, 0.04, 0.97, 0.98, 0.06)
    clouds = [
        np.asarray(
            track.world[t] if truth is None or truth[t].isnan().all() else truth[t], np.float64
        )
        for t in times
    ]
    half = 0.55 * max(float(np.nanmax(np.nanmax(c, 0) - np.nanmin(c, 0))) for c in clouds)
    for ax, t, cloud in zip(axes[0], times, clouds):
        middle = (np.nanmax(cloud, 0) + np.nanmin(cloud, 0)) / 2
        if truth is not None:
            pose(
                ax,
                np.asarray(truth[t], np.float64),
                skeleton.edges if skeleton else (),
                [GREY] * len(truth[t]),
                1.2,
                6,
            )
        pose(
            ax,
            np.asarray(track.world[t], np.float64),
            track.skeleton.edges,
            keypoint_colours(track.skeleton.names, track.skeleton.colours),
            2,
            22,
        )
        boxed(ax, middle, half, track.unit).set_title(f"{t / track.fps:.2f} s", y=0.97)
    return figure


def pictures(
    clip: MultiViewClip,
    track: Track,
    rows: Sequence[Mapping] = (),
    times: Sequence[int] | None = None,
    views: Sequence[int] | None = None,
) -> dict[str, Figure | np.ndarray]:
    """The page's usual pictures with their captions: `figures` for `write_report`. The track has a row for each frame of the clip.

    rows: of losses.csv. times: frames to show (default: three, evenly spread over those with truth). views: cameras to show (default: the first four).
    """
    known = (
        clip.labelled if len(clip.labelled) else range(len(clip))
    )  # where there is something to compare with
    times = [int(known[len(known) * n // 6]) for n in (1, 3, 5)] if times is None else list(times)
    views = list(range(min(4, clip.rig.views))) if views is None else list(views)
    shown = {
        f"Held-out frames, {len(views)} of {clip.rig.views} views cut around the keypoints, which are projected into them. "
        "Rings and pale edges: low confidence.": closeups(clip, track, times, views=views),
        "The skeleton found, in colour"
        + (", and the true one in grey," if clip.truth is not None else "")
        + " at the same times.": stills(track, times, clip.truth, clip.skeleton),
    }
    return shown | (
        {"Training: the weighted terms of the loss.": loss_curves(rows).figure} if rows else {}
    )


def embedded(picture: Figure | np.ndarray, caption: str) -> str:
    """A matplotlib figure as PNG, an RGB image as JPEG (photographs: a tenth of the size), inside the page."""
    buffer = io.BytesIO()
    if isinstance(picture, Figure):
        picture.savefig(buffer, format="png", dpi=130, facecolor="white")
        plt.close(picture)  # pyplot would keep it open for ever
        kind, style = "png", ' class="plot"'
    else:
        Image.fromarray(np.asarray(picture)).save(buffer, "JPEG", quality=86)
        kind, style = "jpeg", ""
    data = base64.b64encode(buffer.getvalue()).decode()
    text = escape(caption)
    return f'<figure><img{style} alt="{text}" src="data:image/{kind};base64,{data}"><figcaption>{text}</figcaption></figure>'


# ---- the page ----------------------------------------------------------------------------------------------------
def _scores(report: Mapping) -> str:
    head = "".join(f"<th>{escape(h)}</th>" for h in ["", *heads()])
    body = "".join(
        f"<tr><td>{name}</td>"
        + "".join(f"<td><b>{t}</b></td>" if best else f"<td>{t}</td>" for t, best in cells)
        + "</tr>"
        for name, cells in cells_of(report)
    )
    means = {title: column[-1] for title, column in COLUMNS.items()} | {RATIO: RATIO_MEANS}
    defined = [(title, means[title]) for title in heads()], list(ROWS.values())
    return (
        f'<h2>Scores</h2><div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div><small>Best of a column in bold. '
        "For MPJPE, PMPJPE, vs baseline and to bone less is better; for on body more is.</small><dl>"
        + "</dl><dl>".join(
            "".join(f"<dt>{escape(a)}</dt><dd>{escape(b)}</dd>" for a, b in part)
            for part in defined
        )
        + "</dl>"
    )


def _facts(values: Mapping, prefix: str = "") -> list[tuple[str, str]]:
    rows = []
    for key, value in values.items():
        name = f"{prefix}{key}".replace("_", " ")
        rows += (
            _facts(value, f"{name}: ")
            if isinstance(value, Mapping)
            else [(name, f"{value:.4g}" if isinstance(value, float) else str(value))]
        )
    return rows


def _folded(title: str, rows: Sequence[tuple[str, str]]) -> str:
    body = "".join(f"<tr><td>{escape(a)}</td><td>{escape(b)}</td></tr>" for a, b in rows)
    return f"<details><summary>{title}</summary><table>{body}</table></details><br>"


def _links(folder: Path) -> str:
    have = {
        name: text
        for name, text in FILES.items()
        if name == "report.json" or (folder / name).is_file()
    }
    have |= {path.name: "weights: a checkpoint" for path in sorted(folder.glob("*.safetensors"))}
    film = (
        '<video src="overlay.mp4" controls loop muted playsinline preload="metadata"></video>'
        if "overlay.mp4" in have
        else ""
    )
    return (
        "<h2>Results</h2>"
        + film
        + '<ul class="files">'
        + "".join(
            f'<li><a href="{escape(name)}">{escape(name)}</a> <small>{text}</small></li>'
            for name, text in have.items()
        )
        + "</ul>"
    )


def _page(folder: Path, report: Mapping, figures: Mapping, recipe: Mapping) -> str:
    clip = escape("/".join(Path(str(report.get("clip", "a clip"))).parts[-2:]))
    scores = ("mpjpe_mm", "pmpjpe_mm", "on_body", "bone_distance_mm")
    run = _facts({k: v for k, v in report.items() if k not in scores})
    return "".join(
        [
            f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>Report: {clip}</title><style>{PAGE_STYLE}</style><body><main><h1>3D keypoints discovered in the clip {clip}</h1>",
            f'<p class="lead">{report.get("keypoints", "The")} keypoints and the edges between them, found in synchronized calibrated videos without a label, '
            "and how far they are from the animal that is there.</p>",
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


def _plain(value):
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
    """Write `report.json` (the dictionary, indented) and a self-contained `report.html` into `folder`; returns the page's path.

    figures: caption -> matplotlib figure or RGB image (H, W, 3) uint8, embedded in this order. recipe: `asdict(recipe)`.
    Links lead to the results that are in the folder already, so write the report last.
    """
    folder = Path(folder)
    data = json.dumps(_plain(report), indent=2, default=str, allow_nan=False) + "\n"
    write_atomically(
        folder / "report.json", lambda temporary: temporary.write_text(data, encoding="utf-8")
    )
    page = _page(folder, report, figures or {}, recipe or {})
    return write_atomically(
        folder / "report.html", lambda temporary: temporary.write_text(page, encoding="utf-8")
    )
