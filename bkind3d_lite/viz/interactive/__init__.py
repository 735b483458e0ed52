"""Interactive: questions that a slider asks.

Each function does the expensive half once and returns a plain function that draws the cheap half:

    draw = gaps(clip)
    draw(time=40, gap=6)          # a Plotly figure; no widget, no kernel magic

`widgets` puts sliders on the same functions.
"""

from ..model_images import channel_sheet, flattened, heat, heat_images
from .edge_drawing import drawing
from .frame_gaps import gaps
from .heading_view import from_above
from .keypoint_choice import edited, keeping
from .loss_pulls import pulls
from .volume_votes import placing, spots, votes

__all__ = [
    "channel_sheet",
    "drawing",
    "edited",
    "flattened",
    "from_above",
    "gaps",
    "heat",
    "heat_images",
    "keeping",
    "placing",
    "pulls",
    "spots",
    "votes",
]
