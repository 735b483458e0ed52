"""Clips: recordings of calibrated cameras, what they show without labels, and tracks made of them.

video_headers -> videos -> recordings -> frame_cache -> heading -> tracks -> foreground -> sampling
-> clip -> exports, synthetic -> survey -> hull_motion -> look -> heading_finder
-> calibration_faults -> rig_checks -> recording_checks -> label_checks.
"""

from .clip import Batch, MultiViewClip, Survey, SurveyedClip, open_clip
from .tracks import Skeleton, Track, allocentric

__all__ = [
    "Batch",
    "MultiViewClip",
    "Skeleton",
    "Survey",
    "SurveyedClip",
    "Track",
    "allocentric",
    "open_clip",
]
