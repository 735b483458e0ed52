"""03_volumes: how flat pictures vote for a place in space."""

import torch
from torch.nn import functional as F

from ... import volumes
from .entry import Dice, Exercise, Mistake

LESSON = "03_volumes"


def _voxel_centres(voxels, side, centre):
    return volumes.Grid(torch.tensor([centre, 0.0, 0.0]), side, voxels).points[0, 0, :, 0]


def _unproject(maps, ndc):
    return volumes.unproject(maps[None], ndc[None])[0]


def _fuse(volume):
    return volumes.fuse(volume[None])[0]


def _soft_argmax(logits, points):
    return volumes.soft_argmax(logits[None, None], points)[0][0, 0]


def _sample(maps, ndc, **options):
    return F.grid_sample(maps, ndc[:, None], **{"align_corners": False} | options)[:, :, 0]


def _cloud(dice: Dice) -> tuple:
    points = dice.integer(5, 9)
    return 2 * dice.normal(points), 100 * dice.normal(points, 3)


EXERCISES = (
    Exercise(
        name="voxel_centres",
        lesson=LESSON,
        task=(
            "voxel_centres(voxels, side, centre) -> (voxels): "
            "centres along one axis of equal voxels that fill `side` about `centre`"
        ),
        reference=_voxel_centres,
        make=lambda dice: (dice.integer(4, 9), dice.number(100, 900), dice.number(-200, 200)),
        mistakes=(
            Mistake(
                "missing half voxel: the first centre lies half a "
                "voxel inside the border, not on it",
                lambda n, s, c: torch.linspace(-s / 2, s / 2, n) + c,
            ),
            Mistake(
                "these are the voxels' lower borders: add half a voxel",
                lambda n, s, c: torch.arange(n) / n * s - s / 2 + c,
            ),
            Mistake(
                "`side` is the whole side: it reaches side / 2 to either side of the centre",
                lambda n, s, c: _voxel_centres(n, 2 * s, c),
            ),
            Mistake("forgot to shift to `centre`", lambda n, s, c: _voxel_centres(n, s, 0.0)),
            Mistake(
                "the grid starts at `centre` instead of lying about it",
                lambda n, s, c: _voxel_centres(n, s, c) + s / 2,
            ),
        ),
        shows=volumes.Grid.points,
    ),
    Exercise(
        name="unproject",
        lesson=LESSON,
        spare=True,
        task=(
            "unproject(maps (V, C, h, w), ndc (V, P, 2)) -> (V, C, P): "
            "bilinear samples of each view's maps at the projected points"
        ),
        reference=_unproject,
        make=lambda dice: (dice.normal(3, 2, 5, 8), dice.uniform(-0.95, 0.95, 3, 6, 2)),
        mistakes=(
            Mistake(
                "align_corners must be False: -1 and 1 are the image's "
                "corners, not the outer pixels' centres",
                lambda m, p: _sample(m, p, align_corners=True),
            ),
            Mistake(
                "swapped x and y: grid_sample wants (x, y), and maps are [row y, column x]",
                lambda m, p: _sample(m, p.flip(-1)),
            ),
            Mistake(
                "nearest pixel instead of bilinear: no gradient would reach the points",
                lambda m, p: _sample(m, p, mode="nearest"),
            ),
            Mistake("the axes are (V, P, C); expected (V, C, P)", lambda m, p: _sample(m, p).mT),
            Mistake(
                "summed over the views: keep them apart, they are fused later",
                lambda m, p: _sample(m, p).sum(0),
            ),
        ),
        shows=volumes.unproject,
    ),
    Exercise(
        name="fuse",
        lesson=LESSON,
        task=(
            "fuse(volume (V, C, P)) -> (C, P): "
            "sum over views of softmax-over-views(volume) x volume"
        ),
        reference=_fuse,
        make=lambda dice: (2 * dice.normal(3, 4, 5),),
        mistakes=(
            Mistake(
                "wrong axis of the softmax: it runs over the views, the first axis",
                lambda x: (x.softmax(-1) * x).sum(0),
            ),
            Mistake(
                "wrong axis of the softmax: it runs over the views, not over the channels",
                lambda x: (x.softmax(1) * x).sum(0),
            ),
            Mistake(
                "averaged instead of weighted: sum the softmax-weighted values", lambda x: x.mean(0)
            ),
            Mistake(
                "the weights already sum to 1: sum, do not average",
                lambda x: (x.softmax(0) * x).mean(0),
            ),
            Mistake(
                "these are the weights alone (they sum to 1): multiply by the values",
                lambda x: x.softmax(0).sum(0),
            ),
            Mistake("this is the maximum; the softmax blends", lambda x: x.amax(0)),
        ),
        shows=volumes.fuse,
    ),
    Exercise(
        name="soft_argmax",
        lesson=LESSON,
        task=(
            "soft_argmax(logits (P), points (P, 3)) -> (3): "
            "the mean of the points, weighted by softmax(logits)"
        ),
        reference=_soft_argmax,
        make=_cloud,
        mistakes=(
            Mistake(
                "this is the hard argmax: it jumps, and has no gradient", lambda x, p: p[x.argmax()]
            ),
            Mistake(
                "the weights already sum to 1: sum, do not average",
                lambda x, p: (x.softmax(0)[:, None] * p).mean(0),
            ),
            Mistake("logits are not weights yet: take their softmax", lambda x, p: x @ p),
            Mistake(
                "dividing by the sum is no softmax: exponentials come first",
                lambda x, p: (x / x.sum()) @ p,
            ),
            Mistake("this forgets the logits: it is the plain mean", lambda x, p: p.mean(0)),
        ),
        shows=volumes.soft_argmax,
    ),
)
