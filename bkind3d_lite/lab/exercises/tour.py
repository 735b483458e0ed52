"""00_tour: what it finds, with nobody telling it anything."""

import torch
from torch import Tensor

from ...cameras import triangulate
from ...model.losses import lengths
from ...training.loop import batches
from .entry import Dice, Exercise, Mistake

LESSON = "00_tour"


def _gap_frames(seconds, fps):
    return max(1, round(seconds * fps))


def _bone_lengths(world, pairs):
    return lengths(world, pairs)


def _seconds_and_fps(dice: Dice) -> tuple[float, float]:
    """One time in three a gap of less than a frame."""
    return dice.number(0.001, 0.007 if dice.integer(0, 2) == 0 else 0.9), dice.number(12.0, 60.0)


def _track(dice: Dice) -> tuple[Tensor, Tensor]:
    points = dice.integer(4, 6)
    pairs = torch.tensor([(i, j) for i in range(points) for j in range(i + 1, points)])
    return 100 * dice.normal(dice.integer(7, 9), points, 3), pairs[: dice.integer(3, len(pairs))]


EXERCISES = (
    Exercise(
        name="views_needed",
        lesson=LESSON,
        task=(
            "views_needed = a number: "
            "how many cameras must see a point before its place in space is fixed?"
        ),
        reference=lambda: 2,
        make=lambda dice: (),
        mistakes=(
            Mistake("one camera gives a ray: the point may lie anywhere along it", lambda: 1),
            Mistake(
                "two rays that are not parallel already meet in one point; "
                "a third one guards against errors",
                lambda: 3,
            ),
        ),
        shows=triangulate,
    ),
    Exercise(
        name="gap_frames",
        lesson=LESSON,
        task=(
            "gap_frames(seconds, fps) -> int: "
            "the whole number of frames nearest to `seconds`, at least 1"
        ),
        reference=_gap_frames,
        make=_seconds_and_fps,
        mistakes=(
            Mistake(
                "round to the nearest whole number, do not cut off",
                lambda s, fps: max(1, int(s * fps)),
            ),
            Mistake(
                "a gap of 0 frames compares a picture with itself: at least 1",
                lambda s, fps: round(s * fps),
            ),
            Mistake("round to a whole number of frames", lambda s, fps: max(1, s * fps)),
            Mistake("seconds x frames per second = frames", lambda s, fps: max(1, round(fps / s))),
        ),
        shows=batches,
    ),
    Exercise(
        name="bone_lengths",
        lesson=LESSON,
        task=(
            "bone_lengths(world (T, K, 3), pairs (E, 2)) -> (T, E): "
            "length of every bone in every frame"
        ),
        reference=_bone_lengths,
        make=_track,
        mistakes=(
            Mistake("forgot the square root", lambda w, p: lengths(w, p).square()),
            Mistake(
                "a length is the root of the sum of squares, not the sum of the differences",
                lambda w, p: (w[:, p[:, 0]] - w[:, p[:, 1]]).abs().sum(-1),
            ),
            Mistake(
                "this is the length as one camera from above sees it: z is left out",
                lambda w, p: lengths(w[..., :2], p),
            ),
            Mistake(
                "averaged over the coordinates instead of summed",
                lambda w, p: lengths(w, p) / 3**0.5,
            ),
        ),
        shows=lengths,
    ),
)
