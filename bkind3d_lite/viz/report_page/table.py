"""The score table: this run's keypoints, and the baselines that they must beat."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple


class Column(NamedTuple):
    """A score: where it stands in the report, and how it is written."""

    key: str
    factor: float
    decimals: int
    better: int  # sign: 1, more is better; -1, less is; 0: no best is marked
    meaning: str
    unknown: str = "-"  # of a row that was scored otherwise


# key in the report: name in the table, what it is
ROW_MEANINGS = {
    "trained": ("trained", "this run's keypoints, on frames it was not trained on"),
    "checkpoint": (
        "checkpoint",
        "the keypoints of the checkpoint it is compared with, on the same frames",
    ),
    "untrained": (
        "untrained",
        "the same network before its first step, in the same volume, turned with the animal where "
        "that is: what geometry and heading give without learning",
    ),
    "rigid_template": (
        "rigid template",
        "the animal's centre and heading, found without labels, and a mean offset for each joint: "
        "what a heading gives without a network",
    ),
    "centroid": (
        "centroid",
        "regression from the true centre of the animal alone, "
        "an oracle that knows the place and no pose",
    ),
    "mean_pose": ("mean pose", "the mean pose of the training frames, always"),
}
BASELINES = ("untrained", "rigid_template", "centroid", "mean_pose")
COLUMNS = {
    "MPJPE mm": Column(
        "mpjpe_mm",
        1,
        1,
        better=-1,
        meaning="mean distance between regressed and true joints "
        "after removing the mean shift of each frame",
    ),
    "PMPJPE mm": Column(
        "pmpjpe_mm",
        1,
        1,
        better=-1,
        meaning="the same after the best rotation and translation of each frame: the pose alone",
    ),
    "on body %": Column(
        "on_body",
        100,
        1,
        better=1,
        meaning="share of the keypoints within 15 % of a body length of the nearest true bone; "
        "no regression",
    ),
    "to bone mm": Column(
        "bone_distance_mm",
        1,
        1,
        better=-1,
        meaning="median distance of the keypoints from the nearest true bone; no regression",
    ),
    "R2 room": Column(
        "r2_room",
        1,
        2,
        better=0,
        meaning="share of the figure, seen from above, that places fixed in the room explain while "
        "the animal walks, every direction weighted alike; near 1 for points that keep to the "
        "sides of the room",
        unknown="not told",
    ),
    "R2 body": Column(
        "r2_body",
        1,
        2,
        better=0,
        meaning="the same of places fixed in a body that faces where it goes; near 1 for points "
        "that turn with the animal, and by construction in a volume that does",
        unknown="not told",
    ),
    "turning": Column(
        "turning",
        1,
        2,
        better=0,
        meaning="how far the figure turns when the animal does: 1, with it; 0, not at all",
        unknown="not told",
    ),
}
RATIO = "vs baseline"
RATIO_MEANS = (
    "MPJPE over the best baseline's (untrained, rigid template, centroid, mean pose); "
    "under 1 is better than all of them"
)
Cells = list[tuple[str, bool]]  # text, and whether it is the best of its column


def _value(report: Mapping, key: str, row: str) -> float | None:
    value = (report.get(key) or {}).get(row)
    return None if value is None or not math.isfinite(value) else float(value)


def _best_baseline(report: Mapping) -> float | None:
    values = [_value(report, "mpjpe_mm", row) for row in BASELINES]
    return min((v for v in values if v is not None), default=None)


def cells_of(report: Mapping) -> list[tuple[str, Cells]]:
    """The cells of the score table.

    Args:
        report: scores by key and row; one that is not defined may be missing, None or NaN.

    Returns:
        For each row its name, and (text, is the best of its column) per column; "-" where a score
        is not defined, "not told" where too little moves to tell it.
    """
    table: dict[str, Cells] = {row: [] for row in ROW_MEANINGS}
    for title, column in COLUMNS.items():
        values = {row: _value(report, column.key, row) for row in ROW_MEANINGS}
        scores = [column.better * v for v in values.values() if v is not None]
        best = max(scores, default=None)
        for row, v in values.items():
            unknown = column.unknown if _scored(report, column.key, row) else "-"
            table[row].append((unknown, False) if v is None else _cell(v, column, best))
        if title == "MPJPE mm":
            base = _best_baseline(report)
            for row, v in values.items():
                table[row].append(("-" if v is None or not base else f"{v / base:.2f}", False))
    return [(ROW_MEANINGS[row][0], cells) for row, cells in table.items()]


def _scored(report: Mapping, key: str, row: str) -> bool:
    """Whether this score was asked of a row that is there."""
    return row in (report.get(key) or {}) and _value(report, "mpjpe_mm", row) is not None


def _cell(value: float, column: Column, best: float | None) -> tuple[str, bool]:
    is_best = column.better != 0 and column.better * value == best
    return f"{column.factor * value:.{column.decimals}f}", is_best


def heads() -> list[str]:
    """Titles of the table's columns, the ratio after what it is a ratio of."""
    first, *rest = COLUMNS
    return [first, RATIO, *rest]


def meanings() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """What columns and rows are: (title, meaning) of each."""
    texts = {title: column.meaning for title, column in COLUMNS.items()} | {RATIO: RATIO_MEANS}
    return [(title, texts[title]) for title in heads()], list(ROW_MEANINGS.values())


def score_table(report: Mapping) -> str:
    """The scores as aligned text for a terminal.

    Args:
        report: scores by key and row.

    Returns:
        Lines; `*` marks the best of a column.
    """
    lines = [["", *(f"{head} " for head in heads())]]
    for name, cells in cells_of(report):
        lines.append([name, *(text + ("*" if best else " ") for text, best in cells)])
    widths = [max(map(len, column)) for column in zip(*lines)]
    aligned = [
        [line[0].ljust(widths[0]), *(t.rjust(w) for t, w in zip(line[1:], widths[1:]))]
        for line in lines
    ]
    return "\n".join("  ".join(line).rstrip() for line in aligned)
