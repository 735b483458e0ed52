"""Classify run: what an animal does, from its keypoints; learned on some recordings, scored on
others, beside what no claim about poses may be made without."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..files import refuse_unwritable, write_atomically
from ..tasks import BehaviourClassifier, PoseFeatures
from ..tasks.calms21 import FPS, feature_rows, read_sequences, with_features
from ..tasks.labelled import read_labelled
from .classify_page import write_behaviour_page
from .classify_rows import ClassifyRow, LabelledPart, classified

SECONDS = 2.0  # that a window reaches to either side, unless somebody says otherwise


# ---- reading -------------------------------------------------------------------------------------
def labelled_parts(
    places: Sequence[str | Path], features: str | Path | None = None, group: str | None = None
) -> list[LabelledPart]:
    """Open labelled sequences.

    Args:
        places: folders with `keypoints.npz` and `acts.npz`, or CalMS21 files (`.json`, `.npy`).
        features: folder of BKinD feature files, for CalMS21; None: its own mouse keypoints.
        group: of CalMS21, which annotator's.

    Returns:
        One entry a folder or sequence.
    """
    parts: list[LabelledPart] = []
    for place in map(Path, places):
        if place.suffix not in (".json", ".npy"):
            track, acts = read_labelled(place)
            parts.append(LabelledPart(place.name, acts, track.fps, track=track))
            continue
        for one in read_sequences(place, group):
            one = one if features is None else with_features(one, features)
            ready = _rows_of(one)
            parts.append(LabelledPart(one.video, one.acts, FPS, ready=ready))
    return parts


def _rows_of(sequence: Any) -> Callable[[tuple[str, ...]], np.ndarray]:
    """How a CalMS21 sequence becomes rows: its mice, or what stands in their place."""
    if sequence.keypoints.ndim == 4:
        return lambda parts: sequence.mice()
    return lambda parts: feature_rows(sequence, parts)


def alike(
    train: list[LabelledPart], test: list[LabelledPart]
) -> tuple[list[LabelledPart], list[LabelledPart], tuple[str, ...]]:
    """Both parts with their classes numbered alike.

    Args:
        train: to learn from.
        test: to be scored on.

    Returns:
        Both, and the classes' names.

    Raises:
        ValueError: their frame rates differ: a window in seconds would be another one.
    """
    names = train[0].acts.names
    rates = sorted({round(part.fps, 3) for part in (*train, *test)})
    if len(rates) > 1:
        raise ValueError(
            f"tracks of {', '.join(f'{r:g}' for r in rates)} frames a second; a window holds as "
            "many seconds in all: track them at one rate"
        )
    renamed = [[replace(p, acts=p.acts.under(names)) for p in parts] for parts in (train, test)]
    return renamed[0], renamed[1], names


# ---- the verb ----------------------------------------------------------------------------------
def classify(
    train: Sequence[str | Path],
    test: Sequence[str | Path],
    out: str | Path,
    *,
    sets: Sequence[str] = ("keypoints",),
    frame: Literal["room", "body", "centroid"] = "room",
    seeds: Sequence[int] = (0,),
    seconds: float = SECONDS,
    features: str | Path | None = None,
    group: str | None = None,
    baselines: bool = True,
    **how: Any,
) -> list[ClassifyRow]:
    """Learn behaviour on some recordings and score it on others; write a page, a table and data.

    Args:
        train: as of `labelled_parts`.
        test: whole recordings that are held out.
        out: folder for `behaviour.html` and `behaviour.json`.
        sets: feature sets, each some of keypoints, confidence, covariance, joined by commas.
        frame: as of `PoseFeatures`.
        seeds: of the classifiers.
        seconds: that a window reaches to either side.
        features: folder of BKinD feature files, for CalMS21.
        group: of CalMS21, which annotator's.
        baselines: also the centroid alone, the poses without it, and shuffled labels.
        **how: other arguments of `BehaviourClassifier`.

    Returns:
        The rows of the table.
    """
    out = refuse_unwritable(out)
    opened = [labelled_parts(places, features, group) for places in (train, test)]
    first, second, names = alike(*opened)
    fps = first[0].fps
    made = [BehaviourClassifier.in_seconds(seconds, fps, seed=seed, **how) for seed in seeds]
    wanted = {words: PoseFeatures(tuple(words.split(",")), frame) for words in sets}
    rows = [classified(words, of, (first, second), made) for words, of in wanted.items()]
    if baselines:
        rows += _baselines((first, second), made, wanted[sets[0]])
    write_behaviour_page(out, rows, second, names)
    _write_data(Path(out) / "behaviour.json", rows)
    return rows


def _baselines(
    parts: tuple[list[LabelledPart], list[LabelledPart]],
    made: Sequence[BehaviourClassifier],
    features: PoseFeatures,
) -> list[ClassifyRow]:
    """The centroid alone, the poses without it, and the same features with shuffled labels."""
    rows = [classified("shuffled labels", features, parts, made[:1], shuffled=True)]
    if parts[0][0].track is None:
        return rows
    alone, removed = PoseFeatures(frame="centroid"), PoseFeatures(frame="body", height=False)
    rows.append(classified("centroid alone", alone, parts, made))
    rows.append(classified("centroid removed", removed, parts, made))
    return rows


def _write_data(path: Path, rows: Sequence[ClassifyRow]) -> None:
    data: Mapping[str, Any] = {row.name: [vars(s) for s in row.scores] for row in rows}
    text = json.dumps(data, indent=1)
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
