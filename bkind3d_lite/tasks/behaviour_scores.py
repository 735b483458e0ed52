"""Behaviour scores: average precision and F1 per class, means without `other`, and how sure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import average_precision_score, precision_recall_fscore_support

OTHER = "other"  # the class of frames in which nothing of interest happens: in no mean


@dataclass(frozen=True)
class BehaviourScores:
    """What a classifier is worth on sequences that it did not learn from.

    Attributes:
        names: of the C classes.
        average_precision: one a class, in [0, 1]; None: of the test part no frame, or every
            one, is of it.
        precision: of the likeliest class, one a class.
        recall: likewise.
        f1: likewise.
        frames: that are labelled, of each class.
        mean: of the average precisions, without `other` and without classes that are not there.
        interval: of that mean, 95 %, by a bootstrap over blocks of frames.
        macro_f1: mean F1 of the same classes.
        top5: share of frames whose class is among the five likeliest.
        voted: share of sequences whose most frequent class is the one predicted most; None: fewer
            than two sequences.
    """

    names: tuple[str, ...]
    average_precision: tuple[float | None, ...]
    precision: tuple[float, ...]
    recall: tuple[float, ...]
    f1: tuple[float, ...]
    frames: tuple[int, ...]
    mean: float
    interval: tuple[float, float]
    macro_f1: float
    top5: float
    voted: float | None


def score_behaviour(
    labels: Sequence[np.ndarray],
    shares: Sequence[np.ndarray],
    names: Sequence[str],
    *,
    block: int = 300,
    resamples: int = 200,
    seed: int = 0,
) -> BehaviourScores:
    """Score predictions of whole sequences.

    Args:
        labels: of each sequence (T,) whole numbers; -1: not labelled, not scored.
        shares: of each (T, C), how likely each class is.
        names: of the C classes.
        block: frames that are drawn together: frames of one bout are one sample.
        resamples: of the bootstrap.
        seed: of its draws.

    Returns:
        The scores.
    """
    truth, likely = _labelled(labels, shares, names)
    counted = [c for c, name in enumerate(names) if name != OTHER and (truth == c).any()]
    each = average_precisions(truth, likely)
    classes = np.arange(len(names))
    precision, recall, f1, frames = precision_recall_fscore_support(
        truth, likely.argmax(1), labels=classes, zero_division=0.0
    )
    best = np.argsort(-likely, 1)[:, :5]
    return BehaviourScores(
        names=tuple(names),
        average_precision=tuple(each),
        precision=tuple(precision.tolist()),
        recall=tuple(recall.tolist()),
        f1=tuple(f1.tolist()),
        frames=tuple(int(n) for n in frames),
        mean=_mean(each, counted),
        interval=_bootstrap(truth, likely, counted, block=block, resamples=resamples, seed=seed),
        macro_f1=float(np.mean(f1[counted])) if counted else float("nan"),
        top5=float((best == truth[:, None]).any(1).mean()),
        voted=_voted(labels, shares),
    )


def _labelled(
    labels: Sequence[np.ndarray], shares: Sequence[np.ndarray], names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Labels (n,) and predictions (n, C) of all labelled frames."""
    for n, (y, p) in enumerate(zip(labels, shares)):
        if np.shape(p) != (len(y), len(names)):
            raise ValueError(
                f"sequence {n}: predictions {np.shape(p)} for {len(y)} frames and {len(names)} "
                "classes"
            )
    truth, likely = np.concatenate(labels), np.concatenate(shares)
    if not (known := truth >= 0).any():
        raise ValueError("no frame of the test part is labelled; there is nothing to score")
    return truth[known], likely[known]


def average_precisions(truth: np.ndarray, likely: np.ndarray) -> list[float | None]:
    """One vs rest, of every class.

    Args:
        truth: (T,) classes.
        likely: (T, C).

    Returns:
        C numbers in [0, 1]; None: a class of which there is no frame, or of which all are.
    """
    there = [0 < int((truth == c).sum()) < len(truth) for c in range(likely.shape[1])]
    return [
        float(average_precision_score(truth == c, likely[:, c])) if known else None
        for c, known in enumerate(there)
    ]


def _mean(each: Sequence[float | None], counted: Sequence[int]) -> float:
    values = [v for c in counted if (v := each[c]) is not None]
    return float(np.mean(values)) if values else float("nan")


def _bootstrap(
    truth: np.ndarray,
    likely: np.ndarray,
    counted: Sequence[int],
    *,
    block: int,
    resamples: int,
    seed: int,
) -> tuple[float, float]:
    """95 % bounds of the mean average precision over blocks of consecutive frames."""
    random = np.random.default_rng(seed)
    blocks = np.array_split(np.arange(len(truth)), max(2, round(len(truth) / block)))
    means = []
    for _ in range(resamples):
        picked = np.concatenate([blocks[b] for b in random.integers(len(blocks), size=len(blocks))])
        means.append(_mean(average_precisions(truth[picked], likely[picked]), counted))
    if np.isnan(means).all():
        return float("nan"), float("nan")
    low, high = np.nanquantile(means, [0.025, 0.975])
    return float(low), float(high)


def _voted(labels: Sequence[np.ndarray], shares: Sequence[np.ndarray]) -> float | None:
    """Share of sequences whose commonest class has the largest mean share."""
    known = [(y[y >= 0], p[y >= 0]) for y, p in zip(labels, shares) if (y >= 0).any()]
    if len(known) < 2:
        return None
    return float(np.mean([np.bincount(y).argmax() == p.mean(0).argmax() for y, p in known]))
