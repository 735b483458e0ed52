"""bkind3d_lite: a 3D skeleton that nobody labelled, from synchronized, calibrated videos.

BKinD-3D (Sun et al., CVPR 2023). Everything lies on one street, and modules import only earlier
ones; `docs/architecture.md` walks it: clip -> batch -> heatmaps -> volume -> 3D keypoints ->
projected edges -> reconstruction -> losses, and clip -> track -> use. This page is its table of
contents; each name is found at first use, so that `import bkind3d_lite` takes no time.
"""

import importlib
import os
from typing import TYPE_CHECKING

__version__ = "0.1.0"

# Large pages for large tensors: touching new memory in pages of 4 kB costs a CPU more than a
# normalization's arithmetic.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

if TYPE_CHECKING:
    from .calibrations import load_calibration
    from .cameras import CameraRig, save_calibration, triangulate
    from .clips.clip import MultiViewClip, open_clip
    from .clips.exports import export
    from .clips.survey import survey
    from .clips.tracks import Track
    from .evaluation import KeypointRegressor, scores
    from .files import samples
    from .lab.checks import check
    from .lab.revealing import reveal
    from .model.builder import build, placed
    from .recipes import Recipe, find_recipe
    from .training.checkpoints import load, resume, save
    from .training.loop import batches, begin, train
    from .training.memory_planner import plan
    from .training.tracking import track
    from .viz.overlays import overlay
    from .viz.player import movie
    from .viz.scenes import save_html, scene

_PLACES = {
    "CameraRig": "cameras",
    "save_calibration": "cameras",
    "triangulate": "cameras",
    "load_calibration": "calibrations",
    "MultiViewClip": "clips.clip",
    "open_clip": "clips.clip",
    "Track": "clips.tracks",
    "export": "clips.exports",
    "survey": "clips.survey",
    "Recipe": "recipes",
    "find_recipe": "recipes",
    "build": "model.builder",
    "placed": "model.builder",
    "begin": "training.loop",
    "batches": "training.loop",
    "train": "training.loop",
    "track": "training.tracking",
    "load": "training.checkpoints",
    "resume": "training.checkpoints",
    "save": "training.checkpoints",
    "plan": "training.memory_planner",
    "KeypointRegressor": "evaluation",
    "samples": "files",
    "scores": "evaluation",
    "overlay": "viz.overlays",
    "movie": "viz.player",
    "save_html": "viz.scenes",
    "scene": "viz.scenes",
    "check": "lab.checks",
    "reveal": "lab.revealing",
}
__all__ = [
    "CameraRig",
    "KeypointRegressor",
    "MultiViewClip",
    "Recipe",
    "Track",
    "batches",
    "begin",
    "build",
    "check",
    "export",
    "find_recipe",
    "load",
    "load_calibration",
    "movie",
    "open_clip",
    "overlay",
    "placed",
    "plan",
    "resume",
    "reveal",
    "samples",
    "save",
    "save_calibration",
    "save_html",
    "scene",
    "scores",
    "survey",
    "track",
    "train",
    "triangulate",
]


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
