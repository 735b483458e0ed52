"""Background: the room without the animal, from frames in which it is somewhere else."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

# The animal's area must vary so much less before a background that few frames have made (real
# mouse: 0.2 to 0.6; bundled films: 0.9 and 1).
EVENER = 2 / 3


def estimate_background(frames: Tensor, least: int = 9) -> Tensor:
    """What a still camera sees when the animal is away, without labels.

    The median over time; but where an animal rests in one place for half of the film, that is the
    animal. So a second median is taken over frames that look different: each is the one farthest
    from those already taken, until the next is nearer to one of them than half of the first
    distance, and a long rest is one picture of many. It is believed, where the two differ, if in
    front of it the animal is far more nearly of one size all the time: before its own ghost it
    vanishes, and beside it there are two.

    Args:
        frames: (n, H, W, 3) uint8.
        least: frames that the second median takes at least.

    Returns:
        (H, W, 3) uint8.
    """
    usual = _median(frames)
    other = _median(frames, _diverse(frames, least))
    doubt = (usual.float() - other.float()).abs().amax(-1, keepdim=True) > 8
    other = torch.where(doubt, other, usual)
    return other if _unevenness(frames, other) < EVENER * _unevenness(frames, usual) else usual


def _diverse(frames: Tensor, least: int) -> list[int]:
    """Times of frames that look different, at least `least`."""
    hw = min(48, frames.shape[1]), min(64, frames.shape[2])
    small = torch.cat(
        [F.adaptive_avg_pool2d(some.movedim(-1, 1).float() / 255, hw) for some in frames.split(1)]
    ).flatten(1)
    taken = [int((small - _median(small)).abs().mean(1).argmax())]
    away = (small - small[taken[0]]).abs().mean(1)
    apart = away.max() / 2
    while len(taken) < len(frames) and (len(taken) < least or away.max() > apart):
        taken.append(int(away.argmax()))
        away = torch.minimum(away, (small - small[taken[-1]]).abs().mean(1))
    return sorted(taken)


def _unevenness(frames: Tensor, ground: Tensor) -> float:
    """Standard deviation over mean of the area that differs from `ground`, over the frames."""
    areas = torch.stack(
        [((frame.short() - ground.short()).abs().amax(-1) > 24).float().mean() for frame in frames]
    )
    return float(areas.std() / areas.mean().clamp(min=1e-6))


def _median(frames: Tensor, times: list[int] | slice = slice(None)) -> Tensor:
    """Over the times, some rows at once: sorting takes several times the memory of its frames."""
    return torch.cat([rows[times].median(0).values for rows in frames.split(64, 1)])
