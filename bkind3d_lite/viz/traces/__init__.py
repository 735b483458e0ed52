"""Traces: every type has a picture, and pictures add up.

A function here returns Plotly traces; `scenes.scene` makes the figure. World units are the rig's.
Colours are told apart by colour-blind eyes; left is blue and right is orange where names say which.
"""

from .cameras import rays, rig_radius, rig_traces
from .headings import arrow_mesh, heading_arrow, moving_arrow
from .points import Points, array, bones, moving, outline, trail, walk
from .volumes import CUBE, cube, cube_corners, slices, volume_trace

__all__ = [
    "CUBE",
    "Points",
    "array",
    "arrow_mesh",
    "bones",
    "cube",
    "cube_corners",
    "heading_arrow",
    "moving",
    "moving_arrow",
    "outline",
    "rays",
    "rig_radius",
    "rig_traces",
    "slices",
    "trail",
    "volume_trace",
    "walk",
]
