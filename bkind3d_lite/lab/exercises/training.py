"""08_training: how a skeleton appears."""

import math

import torch
from torch import Tensor, nn

from ...model.losses import EdgeLength
from ...training.loop import train
from .entry import Dice, Exercise, Mistake

LESSON = "08_training"


def _cosine_rate(step, steps, rate):
    return rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps))))


def _clipped(gradient, most):
    weight = nn.Parameter(torch.zeros_like(gradient))
    weight.grad = gradient
    nn.utils.clip_grad_norm_([weight], most)
    return weight.grad


def _running_average(values, decay):
    average = values[0]
    out = [average]
    for value in values[1:]:
        average = decay * average + (1 - decay) * value
        out.append(average)
    return torch.stack(out)


def _from_zero(values: Tensor, decay: float) -> Tensor:
    return _running_average(torch.cat([values.new_zeros(1), values]), decay)[1:]


def _gradients(dice: Dice) -> tuple:
    """Short ones and long ones."""
    return dice.normal(6) * (0.3 if dice.integer(0, 1) else 3.0), 2.0


EXERCISES = (
    Exercise(
        name="cosine_rate",
        lesson=LESSON,
        task=(
            "cosine_rate(step, steps, rate) -> number: half a cosine from `rate` at step 0 "
            "down to rate / 20 at `steps`, and rate / 20 from there on"
        ),
        reference=_cosine_rate,
        make=lambda dice: (dice.integer(0, 1300), 1000, dice.number(1e-4, 1e-2)),
        mistakes=(
            Mistake(
                "after `steps` the rate stays where it is: keep step / steps at most 1",
                lambda i, n, r: r * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * i / n))),
            ),
            Mistake(
                "it falls to a twentieth, not to zero",
                lambda i, n, r: r * 0.5 * (1 + math.cos(math.pi * min(1, i / n))),
            ),
            Mistake(
                "this is a straight line; it is half a cosine",
                lambda i, n, r: r * (1 - 0.95 * min(1, i / n)),
            ),
            Mistake(
                "half a cosine ends at pi, not at 2 pi",
                lambda i, n, r: (
                    r * (0.05 + 0.95 * 0.5 * (1 + math.cos(2 * math.pi * min(1, i / n))))
                ),
            ),
            Mistake(
                "a cosine goes from 1 to -1: add 1 and halve it",
                lambda i, n, r: r * (0.05 + 0.95 * math.cos(math.pi * min(1, i / n))),
            ),
        ),
        shows=train,
    ),
    Exercise(
        name="clipped",
        lesson=LESSON,
        task="clipped(gradient (P), most) -> (P): the same direction, its norm at most `most`",
        reference=_clipped,
        make=_gradients,
        mistakes=(
            Mistake(
                "clamping each number bends the direction: scale all of them by one factor",
                lambda g, m: g.clamp(-m, m),
            ),
            Mistake(
                "a gradient that is short enough stays as it is", lambda g, m: g * m / g.norm()
            ),
            Mistake(
                "divide by the norm, not by its square",
                lambda g, m: g * min(1.0, m / float(g.square().sum())),
            ),
            Mistake(
                "divide by the norm, not by the largest number",
                lambda g, m: g * min(1.0, m / float(g.abs().max())),
            ),
        ),
        shows=train,
        tolerance=1e-3,
    ),
    Exercise(
        name="running_average",
        lesson=LESSON,
        spare=True,
        task=(
            "running_average(values (T), decay) -> (T): average_t = decay x average_(t-1) "
            "+ (1 - decay) x value_t, beginning with the first value"
        ),
        reference=_running_average,
        make=lambda dice: (dice.uniform(1, 5, dice.integer(6, 9)), dice.number(0.7, 0.95)),
        mistakes=(
            Mistake(
                "decay and 1 - decay are swapped: decay is how much of the old is kept",
                lambda v, d: _running_average(v, 1 - d),
            ),
            Mistake("begin with the first value, not with 0", _from_zero),
            Mistake(
                "this is the plain mean of all so far",
                lambda v, d: v.cumsum(0) / torch.arange(1, len(v) + 1),
            ),
            Mistake(
                "only the last average is returned; all of them are asked for",
                lambda v, d: _running_average(v, d)[-1],
            ),
        ),
        shows=EdgeLength,
    ),
)
