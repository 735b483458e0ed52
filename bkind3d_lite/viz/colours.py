"""Colours: keypoints told apart by every eye, on light and dark; left is blue, right orange."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..clips.tracks import Skeleton

GREY = "#8c8c8c"  # the truth, and whatever must not compete with the keypoints
# Okabe and Ito 2008; wine for their black
SAFE = (
    "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#882255"
)  # fmt: skip
SIDES = {
    "left": ("#0072b2", "#56b4e9"),
    "right": ("#d55e00", "#e69f00"),
    "": ("#009e73", "#66c5ab"),
}


def palette(count: int) -> list[str]:
    """Colours that colour-blind eyes tell apart, on light and on dark.

    The first 8 are `SAFE`; then come their tints and shades.

    Args:
        count: how many.

    Returns:
        `count` colours as #rrggbb.
    """
    mixes = [0.0, 0.5, -0.4, 0.25, -0.2, 0.7, -0.6]  # towards white, towards black
    colours = []
    for k in range(count):
        mix = mixes[k // len(SAFE) % len(mixes)]
        base, end = rgb(SAFE[k % len(SAFE)]), 255.0 if mix > 0 else 0.0
        colours.append("#" + "".join(f"{round(c + abs(mix) * (end - c)):02x}" for c in base))
    return colours


def side_of(name: str) -> str:
    """What a name says of its side, by its beginning or end.

    Args:
        name: of a keypoint: left_knee, LeftKnee, l_knee, knee.l.

    Returns:
        "left", "right" or "".
    """
    for side in ("left", "right"):
        if re.search(f"^{side}|{side}$|^{side[0]}[_. -]|[_. -]{side[0]}$", name, re.IGNORECASE):
            return side
    return ""


def keypoint_colours(names: Sequence[str], chosen: Sequence[str] = ()) -> list[str]:
    """A colour per point.

    The `chosen` ones; or, where names tell sides, blues left, oranges right and greens between;
    or the `palette`.

    Args:
        names: of the K points.
        chosen: K colours as #rrggbb, if somebody chose them.

    Returns:
        K colours as #rrggbb.
    """
    if chosen:
        return list(chosen)
    sides = [side_of(name) for name in names]
    if not any(sides):
        return palette(len(names))
    count, colours = dict.fromkeys(SIDES, 0), []
    for side in sides:
        colours.append(SIDES[side][count[side] % len(SIDES[side])])
        count[side] += 1
    return colours


def skeleton_colours(skeleton: Skeleton) -> list[str]:
    """A colour per point of a skeleton: its own, or those of `keypoint_colours`.

    Args:
        skeleton: names of K points, and their colours where somebody chose them.

    Returns:
        K colours as #rrggbb.
    """
    return keypoint_colours(skeleton.names, skeleton.colours)


def rgb(colour: str) -> tuple[int, int, int]:
    """The three numbers of a colour.

    Args:
        colour: as #rrggbb.

    Returns:
        Red, green and blue in 0..255.
    """
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return red, green, blue
