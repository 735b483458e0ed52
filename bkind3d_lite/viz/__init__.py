"""Pictures: on images (`overlays`), in space (`traces`, `scenes`), in notebooks (`interactive`, `widgets`), of runs and for papers."""

from .overlays import (
    closeups,
    drawn_frames,
    filmstrip,
    keypoint_colours,
    loss_curves,
    mosaic,
    overlay,
    overlay_video,
    palette,
    strip,
    stroke,
)
from .scenes import movie, picture, save_html, scene
from .traces import bones, cube, rays, rig_traces, slices, trail, volume_trace

__all__ = [
    "bones",
    "closeups",
    "cube",
    "drawn_frames",
    "filmstrip",
    "keypoint_colours",
    "loss_curves",
    "mosaic",
    "movie",
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
    "trail",
    "volume_trace",
]
