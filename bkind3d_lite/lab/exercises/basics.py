"""00_basics: what the lessons take for granted of somebody who knows numpy."""

import torch
from torch import Tensor

from ...model.losses import separation
from ...volumes import soft_argmax
from .entry import Exercise, Mistake

LESSON = "00_basics"


def _distances(a, b):
    return torch.cdist(a, b)


def _softmax(logits):
    return logits.softmax(0)


def _centres(heatmap: Tensor) -> Tensor:
    """Of the pixels of a map (h, w): (h w, 2), x and y, the first at (0.5, 0.5)."""
    h, w = heatmap.shape
    y, x = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing="ij")
    return torch.stack([x, y], -1).flatten(0, 1)


def _expected_pixel(heatmap):
    return soft_argmax(heatmap.flatten()[None, None], _centres(heatmap))[0][0, 0]


def _of_rows(heatmap: Tensor) -> Tensor:
    """The mean place where every row got shares of its own."""
    return heatmap.softmax(1).flatten() @ _centres(heatmap) / len(heatmap)


EXERCISES = (
    Exercise(
        name="distances",
        lesson=LESSON,
        task=(
            "distances(a (P, 3), b (Q, 3)) -> (P, Q): "
            "from each point of a to each point of b, no loop"
        ),
        reference=_distances,
        make=lambda dice: (10 * dice.normal(5, 3), 10 * dice.normal(7, 3)),
        mistakes=(
            Mistake("forgot the square root", lambda a, b: torch.cdist(a, b).square()),
            Mistake(
                "the axes are (Q, P): the points of a come first, a[:, None] - b",
                lambda a, b: torch.cdist(b, a),
            ),
            Mistake(
                "a distance is the root of the sum of squares, not the sum of the differences",
                lambda a, b: torch.cdist(a, b, p=1),
            ),
            Mistake(
                "averaged over the coordinates instead of summed",
                lambda a, b: torch.cdist(a, b) / 3**0.5,
            ),
            Mistake(
                "these are the differences; their length is asked for: .norm(dim=-1)",
                lambda a, b: a[:, None] - b,
            ),
        ),
        shows=separation,
    ),
    Exercise(
        name="softmax_of",
        lesson=LESSON,
        task="softmax_of(logits (n)) -> (n): the softmax, of logits as large as 1000, too",
        reference=_softmax,
        make=lambda dice: (dice.uniform(-1000, 1000) + 3 * dice.normal(dice.integer(4, 9)),),
        mistakes=(
            Mistake(
                "dividing by the sum is no softmax: exponentials come first", lambda x: x / x.sum()
            ),
            Mistake("they do not sum to 1 yet: divide by their sum", lambda x: (x - x.max()).exp()),
            Mistake("this is the logarithm of the shares", lambda x: x.log_softmax(0)),
            Mistake(
                "these are shares of the distance to the largest: exponentials come first",
                lambda x: (x - x.max()) / (x - x.max()).sum(),
            ),
        ),
        shows=soft_argmax,
    ),
    Exercise(
        name="expected_pixel",
        lesson=LESSON,
        task=(
            "expected_pixel(heatmap (h, w)) -> (2): the soft-argmax (x, y) in pixels; "
            "the first pixel's centre is (0.5, 0.5)"
        ),
        reference=_expected_pixel,
        make=lambda dice: (2 * dice.normal(6, 9),),
        mistakes=(
            Mistake("forgot the half pixel", lambda m: _expected_pixel(m) - 0.5),
            Mistake(
                "swapped x and y: maps are [row y, column x]", lambda m: _expected_pixel(m).flip(0)
            ),
            Mistake(
                "this is the hard argmax: it jumps, and has no slope",
                lambda m: _centres(m)[m.argmax()],
            ),
            Mistake("one softmax over all pixels: here every row got shares of its own", _of_rows),
            Mistake(
                "from -1 to 1: pixels are asked for",
                lambda m: 2 * _expected_pixel(m) / torch.tensor(m.shape[::-1]) - 1,
            ),
            Mistake(
                "logits are not shares yet: take their softmax",
                lambda m: m.flatten() @ _centres(m),
            ),
        ),
        shows=soft_argmax,
    ),
)
