"""13_behaviour: what keypoints are good for."""

import numpy as np
import torch

from ...tasks.behaviour import padded, window_offsets
from ...tasks.behaviour_scores import average_precisions, score_behaviour
from ...tasks.pose_features import PoseFeatures
from .entry import Dice, Exercise, Mistake

LESSON = "13_behaviour"


def window_at(features, t, reach, step):
    """The package's window, with zeros beyond the ends."""
    offsets = window_offsets(reach, step)
    rows, places = padded([features.numpy()], int(offsets.abs().max()))
    return rows[places[t] + offsets]


def average_precision(wanted, likely):
    """scikit-learn's, as the package takes it."""
    truth = wanted.numpy().astype(np.int64)
    value = average_precisions(truth, torch.stack([1 - likely, likely], 1).numpy())[1]
    return torch.tensor(value, dtype=torch.float32)


def without_place(points):
    """Points about their own mean in every frame."""
    return points - points.mean(1, keepdim=True)


def _windowed(dice: Dice):
    frames = dice.integer(9, 14)
    features = dice.normal(frames, 3)
    return features, dice.integer(0, frames - 1), dice.integer(2, 4), dice.integer(1, 3)


def _window(features, times):
    inside = (times >= 0) & (times < len(features))
    return features[times.clamp(0, len(features) - 1)] * inside[:, None]


def _ranked(dice: Dice):
    wanted = dice.uniform(0, 1, 24) < 0.3
    wanted[dice.integer(0, 23)] = True
    wanted[dice.integer(0, 11)] = False
    return wanted, dice.uniform(0, 1, 24)


def _precisions(wanted, likely, descending=True):
    order = likely.argsort(descending=descending)
    hits = wanted[order].float()
    return hits, hits.cumsum(0) / torch.arange(1, len(hits) + 1)


EXERCISES = (
    Exercise(
        name="window_at",
        lesson=LESSON,
        task=(
            "window_at(features (T, F), t, reach, step) -> (2 reach + 1, F): every step-th frame "
            "to either side of t; zeros beyond the ends"
        ),
        reference=window_at,
        make=_windowed,
        mistakes=(
            Mistake(
                "beyond the ends there are zeros, not the last frame again",
                lambda x, t, r, s: x[(t + s * torch.arange(-r, r + 1)).clamp(0, len(x) - 1)],
            ),
            Mistake(
                "beyond the ends there are zeros: the sequence does not begin again",
                lambda x, t, r, s: x[(t + s * torch.arange(-r, r + 1)) % len(x)],
            ),
            Mistake(
                "every step-th frame, not every frame",
                lambda x, t, r, s: _window(x, t + torch.arange(-r, r + 1)),
            ),
            Mistake(
                "in the order of time, the past first",
                lambda x, t, r, s: _window(x, t + s * torch.arange(r, -r - 1, -1)),
            ),
        ),
        shows=padded,
    ),
    Exercise(
        name="average_precision",
        lesson=LESSON,
        task=(
            "average_precision(wanted (n,) bool, likely (n,)) -> number: mean over the wanted of "
            "the precision at their place when all are ranked by likely"
        ),
        reference=average_precision,
        make=_ranked,
        mistakes=(
            Mistake(
                "the likeliest first",
                lambda w, p: _mean_at_hits(*_precisions(w, p, descending=False)),
            ),
            Mistake(
                "only at the places of the wanted ones, not at every place",
                lambda w, p: _precisions(w, p)[1].mean(),
            ),
            Mistake(
                "divide by how many are wanted, not by all",
                lambda w, p: (_precisions(w, p)[0] * _precisions(w, p)[1]).mean(),
            ),
            Mistake(
                "that is accuracy at 0.5, which a classifier of the commonest class wins",
                lambda w, p: ((p > 0.5) == w).float().mean(),
            ),
        ),
        shows=score_behaviour,
        tolerance=1e-3,
    ),
    Exercise(
        name="without_place",
        lesson=LESSON,
        task="without_place(points (T, K, 3)) -> (T, K, 3): the pose about its own mean",
        reference=without_place,
        make=lambda dice: (dice.normal(dice.integer(4, 6), 5, 3) + 3,),
        mistakes=(
            Mistake(
                "the mean of each frame, not of the whole recording",
                lambda x: x - x.mean((0, 1)),
            ),
            Mistake("the mean over keypoints, not over time", lambda x: x - x.mean(0)),
            Mistake(
                "subtracted, not divided: a length stays a length",
                lambda x: x / x.mean(1, keepdim=True),
            ),
        ),
        shows=PoseFeatures,
    ),
)


def _mean_at_hits(hits, precision):
    return (hits * precision).sum() / hits.sum()
