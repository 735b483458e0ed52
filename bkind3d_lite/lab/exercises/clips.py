"""02_clips: what moved between two frames."""

import torch

from ...clips.clip import MultiViewClip, Survey
from ...clips.survey import survey
from .entry import Dice, Exercise, Mistake

LESSON = "02_clips"


def _background(frames):
    return frames.median(0).values


def _motion_energy(thumbs, gap):
    none = torch.zeros(0)
    measured = Survey(
        background=none, noise=none, contrast=none, centre=none, thumbs=thumbs, floor=0.0
    )
    return measured.motion_energy(gap)


def _pair_chance(energy):
    return energy / energy.sum()


def _street(dice: Dice) -> tuple:
    """A still picture with something bright that is somewhere else in every frame."""
    frames, H, W = 2 * dice.integer(3, 5) + 1, 5, 7
    video = dice.uniform(20, 90, 1, H, W, 3) + dice.uniform(0, 4, frames, H, W, 3)
    for i in range(frames):
        video[i, dice.integer(0, H - 1), dice.integer(0, W - 1)] += 150
    return (video.round().byte(),)


def _change(thumbs, gap):
    return thumbs[gap:].float() - thumbs[:-gap].float()


EXERCISES = (
    Exercise(
        name="background",
        lesson=LESSON,
        task=(
            "background(frames (T, H, W, 3) uint8) -> (H, W, 3): "
            "what each pixel shows most of the time, the median over time"
        ),
        reference=_background,
        make=_street,
        mistakes=(
            Mistake(
                "the mean keeps a ghost of everything that passed; take the median",
                lambda f: f.float().mean(0).round(),
            ),
            Mistake("median over the wrong axis: time is the first", lambda f: f.median(1).values),
            Mistake("the brightest value is the animal, not the background", lambda f: f.amax(0)),
            Mistake(
                "the mode of single bytes is chance where light flickers: take the median",
                lambda f: f.mode(0).values,
            ),
            Mistake("the darkest value is not the most usual one", lambda f: f.amin(0)),
        ),
        shows=survey,
        tolerance=6e-3,
    ),
    Exercise(
        name="motion_energy",
        lesson=LESSON,
        task=(
            "motion_energy(thumbs (T, V, h, w) uint8, gap) -> (T - gap): "
            "mean |later - now| over views and pixels, divided by the mean of all thumbs"
        ),
        reference=_motion_energy,
        make=lambda dice: (
            dice.uniform(0, 255, dice.integer(7, 9), 3, 4, 6).byte(),
            dice.integer(2, 4),
        ),
        mistakes=(
            Mistake(
                "bytes cannot be negative: convert to float before you subtract",
                lambda x, g: (x[g:] - x[:-g]).float().abs().mean((1, 2, 3)) / x.float().mean(),
            ),
            Mistake(
                "without the absolute value, brighter and darker cancel",
                lambda x, g: _change(x, g).mean((1, 2, 3)) / x.float().mean(),
            ),
            Mistake(
                "forgot to divide by the mean of all thumbs",
                lambda x, g: _change(x, g).abs().mean((1, 2, 3)),
            ),
            Mistake(
                "summed instead of averaged",
                lambda x, g: _change(x, g).abs().sum((1, 2, 3)) / x.float().mean(),
            ),
            Mistake(
                "squared instead of absolute differences",
                lambda x, g: _change(x, g).square().mean((1, 2, 3)) / x.float().mean(),
            ),
            Mistake(
                "`later` is `gap` frames after `now`, not one", lambda x, g: _motion_energy(x, 1)
            ),
        ),
        shows=Survey.motion_energy,
    ),
    Exercise(
        name="pair_chance",
        lesson=LESSON,
        task=(
            "pair_chance(energy (T)) -> (T): "
            "the chance of each pair, in proportion to its motion; sums to 1"
        ),
        reference=_pair_chance,
        make=lambda dice: (dice.uniform(0, 3, dice.integer(5, 9)),),
        mistakes=(
            Mistake(
                "in proportion means divided by the sum; a softmax takes exponentials first",
                lambda e: e.softmax(0),
            ),
            Mistake("divided by the largest: chances must sum to 1", lambda e: e / e.max()),
            Mistake(
                "this gives every pair the same chance", lambda e: torch.full_like(e, 1 / len(e))
            ),
            Mistake("divided by the mean: chances must sum to 1", lambda e: e / e.mean()),
        ),
        shows=MultiViewClip.batches,
    ),
)
