"""The heading in space: an arrow on the ground below the animal."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
from torch import Tensor

from ...clips.tracks import Track
from ..arrows import ARROW, TRIANGLES, arrows, moment, solidity


def heading_arrow(track: Track, time: int = 0) -> list[go.Mesh3d]:
    """The arrow of one frame, faint where the heading is unsure; hovering tells both.

    Args:
        track: T frames.
        time: row of the track.

    Returns:
        One trace; none where heading or place are unknown.
    """
    corners = arrows(track)
    known = corners is not None and bool(corners[time].isfinite().all())
    return [arrow_mesh(moving_arrow(track, corners, time))] if corners is not None and known else []


def arrow_mesh(drawn: dict[str, Any]) -> go.Mesh3d:
    """The whole trace of an arrow.

    Args:
        drawn: what moves of it, by `moving_arrow`.

    Returns:
        One trace, named heading.
    """
    i, j, k = zip(*TRIANGLES)
    flat = dict(ambient=1, diffuse=0, specular=0, fresnel=0)
    return go.Mesh3d(
        **drawn,
        **dict(i=i, j=j, k=k, color=ARROW, lighting=flat),
        hoverinfo="text",
        name="heading",
        showlegend=True,
    )


def moving_arrow(track: Track, corners: Tensor, time: int, decimals: int = 4) -> dict[str, Any]:
    """What moves in the drawing of an arrow.

    Args:
        track: with a heading.
        corners: (T, 7, 3) of its arrows.
        time: row of the track.
        decimals: of the coordinates.

    Returns:
        Coordinates, opacity and words, as a `go.Mesh3d` takes them; nothing is seen where the place
        is unknown.
    """
    known = bool(corners[time].isfinite().all())
    here = corners[time].nan_to_num().T.double().tolist()
    x, y, z = ([round(c, decimals) for c in axis] for axis in here)
    solid = solidity(track, time) if known else 0.0
    return dict(x=x, y=y, z=z, opacity=solid, hovertext=moment(track, time))
