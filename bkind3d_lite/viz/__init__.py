"""Pictures: on images, in space, in notebooks, of runs and for papers.

`overlays`, `films` and `plots` draw on images; `traces`, `scenes` and `player` in space;
`interactive`, `widgets` and `dashboard` are for notebooks.
"""

from .colours import keypoint_colours, palette
from .films import closeups, drawn_frames, filmstrip, keypoint_crops, overlay_video
from .overlays import mosaic, overlay, stroke
from .player import movie, movie_in_image
from .plots import loss_curves, strip, top_view
from .scenes import picture, save_html, scene
from .traces import bones, cube, heading_arrow, rays, rig_traces, slices, trail, volume_trace

__all__ = [
    "bones",
    "closeups",
    "cube",
    "drawn_frames",
    "filmstrip",
    "heading_arrow",
    "keypoint_colours",
    "keypoint_crops",
    "loss_curves",
    "mosaic",
    "movie",
    "movie_in_image",
    "overlay",
    "overlay_video",
    "palette",
    "picture",
    "rays",
    "rig_traces",
    "save_html",
    "scene",
    "slices",
    "strip",
    "stroke",
    "top_view",
    "trail",
    "volume_trace",
]
