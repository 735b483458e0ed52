"""05_lifts: roads from maps to keypoints, and where they part."""

import torch
from torch import Tensor

from ...cameras import triangulate
from ...volumes import soft_argmax
from .cameras import one_camera
from .entry import Dice, Exercise, Mistake

LESSON = "05_lifts"


def _triangulate_weighted(R, t, flat, weight):
    return triangulate(one_camera(None, R, t), flat[:, None], weight[:, None])[0]


def _expected_depth(logits, depths):
    return soft_argmax(logits[None], depths[:, None])[0][0, :, 0]


def _fuse_points(points, confidence):
    return (confidence[..., None] * points).sum(0) / confidence.sum(0)[:, None]


def _views(dice: Dice) -> tuple[Tensor, ...]:
    """Four cameras that see one point, on the plane z = 1, with noise; the first is least sure."""
    V = 4
    R = torch.stack([dice.rotation() for _ in range(V)])
    t = torch.cat([dice.uniform(-0.5, 0.5, V, 2), dice.uniform(3, 6, V, 1)], 1)
    flat = one_camera(None, R, t).px_from_world(dice.uniform(-0.5, 0.5, 1, 3))[:, 0]
    flat = flat + 0.05 * dice.normal(V, 2)
    return R, t, flat, torch.cat([dice.uniform(0.1, 0.3, 1), dice.uniform(0.4, 1, V - 1)])


EXERCISES = (
    Exercise(
        name="triangulate_weighted",
        lesson=LESSON,
        task=(
            "triangulate_weighted(R (V, 3, 3), t (V, 3), flat (V, 2), weight (V)) -> (3): "
            "least squares, both equations of a view times its weight"
        ),
        reference=_triangulate_weighted,
        make=_views,
        mistakes=(
            Mistake(
                "the weights are not used",
                lambda R, t, f, w: _triangulate_weighted(R, t, f, torch.ones_like(w)),
            ),
            Mistake(
                "each equation is multiplied by its weight: "
                "in the normal equations A^T A the weight stands squared",
                lambda R, t, f, w: _triangulate_weighted(R, t, f, w.sqrt()),
            ),
            Mistake(
                "the weights are squared once too often: the least squares do that themselves",
                lambda R, t, f, w: _triangulate_weighted(R, t, f, w.square()),
            ),
            Mistake(
                "swapped x and y", lambda R, t, f, w: _triangulate_weighted(R, t, f.flip(-1), w)
            ),
            Mistake(
                "a large weight must count more, not less",
                lambda R, t, f, w: _triangulate_weighted(R, t, f, 1 / w),
            ),
        ),
        shows=triangulate,
        tolerance=3e-3,
    ),
    Exercise(
        name="expected_depth",
        lesson=LESSON,
        task=(
            "expected_depth(logits (K, D), depths (D)) -> (K): "
            "mean depth of each keypoint under softmax(logits)"
        ),
        reference=_expected_depth,
        make=lambda dice: (2 * dice.normal(4, 7), dice.uniform(500, 1500, 7).sort().values),
        mistakes=(
            Mistake(
                "wrong axis of the softmax: each keypoint's chances over the depths sum to 1",
                lambda x, d: x.softmax(0) @ d,
            ),
            Mistake(
                "this is the single likeliest depth; take the mean", lambda x, d: d[x.argmax(-1)]
            ),
            Mistake(
                "the weights already sum to 1: sum, do not average",
                lambda x, d: (x.softmax(-1) * d).mean(-1),
            ),
            Mistake("logits are not chances yet: take their softmax", lambda x, d: x @ d),
        ),
        shows=soft_argmax,
    ),
    Exercise(
        name="fuse_points",
        lesson=LESSON,
        task=(
            "fuse_points(points (V, K, 3), confidence (V, K)) -> (K, 3): "
            "mean over the views, weighted by confidence"
        ),
        reference=_fuse_points,
        make=lambda dice: (100 * dice.normal(3, 5, 3), dice.uniform(0.05, 1, 3, 5)),
        mistakes=(
            Mistake("the weights are not used", lambda x, w: x.mean(0)),
            Mistake(
                "divide by the sum of the weights, not by the number of views",
                lambda x, w: (w[..., None] * x).mean(0),
            ),
            Mistake(
                "forgot to divide by the sum of the weights", lambda x, w: (w[..., None] * x).sum(0)
            ),
            Mistake(
                "weights are normalised over the views (the first axis), not over the keypoints",
                lambda x, w: ((w / w.sum(1, keepdim=True))[..., None] * x).sum(0),
            ),
            Mistake(
                "confidences are weights already: no softmax",
                lambda x, w: (w.softmax(0)[..., None] * x).sum(0),
            ),
        ),
    ),
)
