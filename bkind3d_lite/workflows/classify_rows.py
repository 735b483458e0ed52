"""Classify rows: one feature set's classifiers, learned and scored; the rows of the table."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..clips.image_tracks import Track2D
from ..clips.tracks import Track
from ..tasks import Acts, BehaviourClassifier, BehaviourScores, PoseFeatures, score_behaviour
from ..tasks.behaviour import UNKNOWN, refuse_other_widths

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelledPart:
    """One labelled sequence: a track, or features that are rows already (CalMS21)."""

    name: str
    acts: Acts
    fps: float
    track: Track | Track2D | None = None
    ready: Callable[[tuple[str, ...]], np.ndarray] | None = None

    def rows(self, features: PoseFeatures) -> np.ndarray:
        """The part as rows.

        Args:
            features: what they hold.

        Returns:
            (T, F).

        Raises:
            ValueError: it holds rows already, and another frame is asked for.
        """
        if self.track is not None:
            return features.rows(self.track)
        if self.ready is None or features.frame != "room":
            raise ValueError(
                f"{self.name}: holds rows for frame = room alone, not {features.frame}"
            )
        return self.ready(features.parts)


@dataclass(frozen=True)
class ClassifyRow:
    """One row of the table: what was read, and its scores for each seed."""

    name: str
    scores: tuple[BehaviourScores, ...]
    shares: tuple[np.ndarray, ...]  # of the first seed, (T, C) of each test part


def classified(
    name: str,
    features: PoseFeatures,
    parts: tuple[list[LabelledPart], list[LabelledPart]],
    made: Sequence[BehaviourClassifier],
    *,
    shuffled: bool = False,
) -> ClassifyRow:
    """Fit each classifier on the first part, score it on the second.

    Args:
        name: of the row.
        features: of the tracks.
        parts: to learn from, and to be scored on, numbered alike.
        made: a classifier a seed.
        shuffled: learn from labels in random order, which is chance.

    Returns:
        The row.

    Raises:
        ValueError: a part has other features than the first one; names it.
    """
    train, test = parts
    tracks: list[Any] = [p.track for p in train if p.track is not None]
    features = features.fitted(tracks) if tracks else features
    rows, labels = [p.rows(features) for p in train], [p.acts.labels for p in train]
    held = [p.rows(features) for p in test]
    refuse_other_widths([*rows, *held], rows[0].shape[1], [p.name for p in (*train, *test)])
    scores: list[BehaviourScores] = []
    first: tuple[np.ndarray, ...] = ()
    for classifier in made:
        truth = _mixed(labels, classifier.seed) if shuffled else labels
        log.info("%s, seed %d ...", name, classifier.seed)
        shares = classifier.fit(rows, truth).predict_proba(held)
        shares = [_wide(s, len(test[0].acts.names)) for s in shares]
        first = first or tuple(shares)
        block = max(1, round(10 * test[0].fps))
        scores.append(
            score_behaviour([p.acts.labels for p in test], shares, test[0].acts.names, block=block)
        )
    return ClassifyRow(name, tuple(scores), first)


def _wide(shares: np.ndarray, classes: int) -> np.ndarray:
    """Classes that the training part never names are never found."""
    return np.pad(shares, ((0, 0), (0, classes - shares.shape[1])))


def _mixed(labels: list[np.ndarray], seed: int) -> list[np.ndarray]:
    """The labels of all known frames in random order, over all sequences."""
    whole = np.concatenate(labels)
    known = np.flatnonzero(whole != UNKNOWN)
    whole[known] = np.random.default_rng(seed).permutation(whole[known])
    return np.split(whole, np.cumsum([len(y) for y in labels])[:-1])


def row_heads(rows: Sequence[ClassifyRow]) -> list[str]:
    """Heads of the table's columns.

    Args:
        rows: of one run.

    Returns:
        They; `voted` only where some sequences voted.
    """
    voted = ["voted"] * any(s.voted is not None for row in rows for s in row.scores)
    common = ["features", "mean AP", "95 % of the first seed", "macro F1", "top 5", *voted]
    return [*common, *rows[0].scores[0].names]


def row_cells(row: ClassifyRow, heads: Sequence[str]) -> list[str]:
    """A row of the table.

    Args:
        row: to be told.
        heads: of `row_heads`.

    Returns:
        A text for each head: mean average precision (with its spread over seeds), the first seed's
        interval, macro F1, top 5, the share of sequences whose class was voted right, and the
        average precision of each class.
    """
    means = np.array([s.mean for s in row.scores])
    spread = f" ± {means.std(ddof=1):.3f}" if len(means) > 1 else ""
    low, high = row.scores[0].interval
    keys = ("macro_f1", "top5", *(["voted"] if "voted" in heads else []))
    over_seeds = [tuple(getattr(s, key) for s in row.scores) for key in keys]
    over_seeds += zip(*(s.average_precision for s in row.scores))
    known = [[v for v in values if v is not None] for values in over_seeds]
    told = [f"{np.mean(values):.3f}" if values else "not there" for values in known]
    return [row.name, f"{means.mean():.3f}{spread}", f"{low:.3f} to {high:.3f}", *told]


def table_of(rows: Sequence[ClassifyRow]) -> str:
    """The rows as a Markdown table.

    Args:
        rows: of one run.

    Returns:
        The table.
    """
    heads = row_heads(rows)
    lines = [heads, ["---"] * len(heads), *(row_cells(row, heads) for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
