"""Arrows: the heading of a track as a flat arrow on the ground below the animal."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..clips.tracks import Track, allocentric

ARROW = "#d6278f"  # no keypoint's colour, on light and on dark
FAINTEST = 0.25  # opacity where nothing is sure
# corners round the arrow, ahead and to the left; it begins below the animal and is 1 long
OUTLINE = (
    *((0, -0.025), (0.74, -0.025), (0.74, -0.11)),
    (1, 0),
    *((0.74, 0.11), (0.74, 0.025), (0, 0.025)),
)
TRIANGLES = ((0, 1, 5), (0, 5, 6), (2, 3, 4))  # that fill it
ARROW_LENGTH = 2.6  # of the arrow, as a multiple of the usual distance of a keypoint from its start


def arrows(track: Track) -> Tensor | None:
    """The arrow of every frame, in proportion to the figure.

    Args:
        track: T frames.

    Returns:
        (T, 7, 3) corners round it, in the order of `OUTLINE`, NaN where the animal's place is
        unknown; None: the track knows no heading.
    """
    if track.heading is None:
        return None
    flat = (track.world - track.origin[:, None])[..., :2].norm(dim=-1)
    corners = ARROW_LENGTH * flat.nanmean(1).nanmedian() * track.world.new_tensor(OUTLINE)
    own = torch.cat([corners, corners.new_full((len(OUTLINE), 1), ground(track))], 1)
    return allocentric(own.expand(len(track.world), -1, -1), track.origin, track.heading)


def ground(track: Track) -> float:
    """Height of the ground: all but 2 % of the frames' lowest keypoints are above it.

    Args:
        track: what stands on it.

    Returns:
        z in world units; 0 where no keypoint is known.
    """
    lowest = track.world[..., 2].nan_to_num(torch.inf).amin(1)
    lowest = lowest[lowest.isfinite()]
    return float(lowest.quantile(0.02)) if len(lowest) else 0.0


def solidity(track: Track, time: int) -> float:
    """How solid an arrow is drawn: faint where its heading is unsure.

    Args:
        track: with a heading.
        time: row of the track.

    Returns:
        Opacity from `FAINTEST` to 1.
    """
    if track.heading_confidence is None:
        return 1.0
    # a heading of two possible ones is half sure
    sure = 2 * float(track.heading_confidence[time]) - 1
    return round(FAINTEST + (1 - FAINTEST) * min(max(sure, 0.0), 1.0), 2)


def recent(track: Track, time: int, seconds: float = 2.0) -> Tensor:
    """Where the animal has just been.

    Args:
        track: T frames.
        time: row of the track.
        seconds: so long ago and since.

    Returns:
        (t, 3) of `Track.origin`, the last one now.
    """
    first = max(0, time - round(seconds * track.fps))
    return track.origin[first : time + 1]


def moment(track: Track, time: int) -> str:
    """A frame in words.

    Args:
        track: T frames.
        time: row of the track.

    Returns:
        Its time, and the heading with its confidence where they are known.
    """
    words = [f"{float(track.clock['seconds'][time]):.2f} s"]
    if track.heading is not None:
        words.append(f"heading {math.degrees(float(track.heading[time])):.0f}°")
    if track.heading_confidence is not None:
        words.append(f"{float(track.heading_confidence[time]):.0%} sure")
    return ", ".join(words)
