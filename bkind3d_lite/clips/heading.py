"""Heading: which way the animal faces, tail to head about the vertical, in every frame."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

SURE_ENOUGH = 0.75  # mean confidence from which a look alone tells the heading of a recording
LEAST_WALK = 3.0  # seconds of walking that tell a heading


@dataclass(frozen=True)
class Heading:
    """Heading of every frame and how sure it is."""

    angle: Tensor  # (T,) radians about the vertical, from the world's x axis
    confidence: Tensor  # (T,) in [0, 1]: that the true heading is within 90 degrees
    walking: Tensor  # (T,) bool
    speed: float  # that counts as walking, animal lengths per second
    axis_agreement: float  # of the body's axis with walking, in [-1, 1]
    axis_weight: float  # of that axis in the heading
    length: float  # of the animal, world units
    travelled: float  # by walking, animal lengths
    looked: bool  # whether a look spoke for it, too
    agrees: bool  # False: neither its axis nor its looks have to do with the way it goes
    fps: float
    starts: tuple[int, ...] = (0,)

    @property
    def found(self) -> bool:
        """Whether the animal walks enough to tell a heading at all, or a look is sure of it."""
        walks = self.walking.sum() >= LEAST_WALK * self.fps and self.travelled >= 1
        told = walks or (self.looked and self.confidence.mean() > SURE_ENOUGH)
        return bool(told and self.agrees)

    @property
    def directions(self) -> int:
        """How many of 12 directions the animal walks in."""
        return len(twelfth(self.angle[self.walking]).unique())

    @property
    def flips(self) -> Tensor:
        """Frames (n,) about which the heading turns by more than 120 degrees within 0.4 s."""
        k = max(1, round(0.2 * self.fps))
        stretch = torch.bucketize(
            torch.arange(len(self.angle)), torch.tensor(self.starts), right=True
        )
        turn = wrapped(self.angle[2 * k :] - self.angle[: -2 * k]).abs()
        fast = (turn > 2 * math.pi / 3) & (stretch[2 * k :] == stretch[: -2 * k])
        first = fast & ~F.pad(fast, (1, 0))[:-1]
        return first.nonzero()[:, 0] + k

    def __str__(self) -> str:
        sure = float(self.confidence.mean())
        return (
            f"walks {self.walking.float().mean():.0%} of the time (faster than {self.speed:.1f} "
            f"lengths a second), in {self.directions} of 12 directions; its axis agrees "
            f"{self.axis_agreement:.2f}; heading {sure:.0%} sure, {len(self.flips)} flips"
        )


def wrapped(angle: Tensor) -> Tensor:
    """The same directions between -pi and pi.

    Args:
        angle: (...) radians.

    Returns:
        (...) radians.
    """
    return torch.remainder(angle + math.pi, 2 * math.pi) - math.pi


def twelfth(angle: Tensor) -> Tensor:
    """Which of 12 directions angles point in.

    Args:
        angle: (...) radians.

    Returns:
        (...) from 0 to 11.
    """
    return (torch.remainder(angle, 2 * math.pi) * 6 / math.pi).long().clamp(max=11)


def rotated(points: Tensor, angle: Tensor) -> Tensor:
    """Points turned about the world's vertical through the origin.

    Args:
        points: (T, J, 3).
        angle: (T,) radians.

    Returns:
        (T, J, 3).
    """
    c, s = angle.cos()[:, None], angle.sin()[:, None]
    x, y, z = points.unbind(-1)
    return torch.stack([c * x - s * y, s * x + c * y, z], -1)
