"""What moved between two frames?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import plotly.graph_objects as go
import torch
from torch import Tensor
from torch.nn import functional as F

from ...clips.clip import MultiViewClip
from ...model.losses import dissimilarity
from ..model_images import heat
from ..overlays import mosaic
from ..scenes import picture


def gaps(
    clip: MultiViewClip, views: Sequence[int] | None = None, width: int = 160
) -> Callable[..., go.Figure]:
    """What moved between two frames?

    Expensive half: every frame decoded and shrunk.

    Args:
        clip: what is shown.
        views: numbers of the views (default: the first four).
        width: of the small frames in pixels.

    Returns:
        draw(time, gap): rows now, `gap` frames later and 1 - SSIM; a column per view.
    """
    views = list(range(min(4, clip.rig.views))) if views is None else list(views)
    frames = torch.cat(list(_shrunk(clip, views, width)))  # (T, V, 3, h, w)

    def draw(time: int = 0, gap: int = 6) -> go.Figure:
        later = min(time + gap, len(clip) - 1)
        now, then = (frames[t].float() / 255 for t in (time, later))
        change = dissimilarity(now, then)[:, 0]
        rows = [(f.movedim(1, -1) * 255).byte().numpy() for f in (now, then)]
        title = (
            f"frame {time}, frame {later} ({(later - time) / clip.fps:.2f} s later), "
            f"and what changed: mean {float(change.mean()):.3f}"
        )
        return picture(_stacked([*rows, heat(change, 1.0)]), title)

    return draw


def _shrunk(clip: MultiViewClip, views: list[int], width: int) -> Iterator[Tensor]:
    """All frames, a few at a time, as (t, V, 3, h, w) uint8."""
    W, H = clip.rig.wh
    hw = (max(11, round(width * H / W)), width)
    for start in range(0, len(clip), 32):
        some = clip.frames[list(range(start, min(start + 32, len(clip))))][:, views]
        flat = some.movedim(-1, -3).flatten(0, 1).float()
        small = F.interpolate(flat, hw, mode="area").unflatten(0, (-1, len(views)))
        yield small.round().byte()


def _stacked(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Rows of pictures (n, h, w, 3), one below the other."""
    return np.concatenate([mosaic(list(row), len(row)) for row in rows])
