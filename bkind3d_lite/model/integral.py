"""Integral: a pose from one image, by a soft-argmax over a volume of each joint.

Sun et al. 2018 (integral regression); Kocabas et al. 2019 (EpipolarPose).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..clips.sampling import Batch
from ..recipes import PriorRecipe
from ..shapes import cells
from ..volumes import soft_argmax
from .keypoints import Keypoints, told
from .lifts import PLAIN, Lift


class Integral(Lift):
    """maps -> a volume of each joint over the image and its depth -> expected place.

    It asks for K x depth_cells maps. Every view speaks for itself: x and y in its image, depth from
    the root in half sides of the crop, and no world. One cell of depth leaves the image alone.

    Args:
        keypoints: K.
        depth_cells: of each volume along the camera's axis.
        priors: beyond the paper.
    """

    def __init__(self, keypoints: int, depth_cells: int, priors: PriorRecipe = PLAIN):
        super().__init__(keypoints * depth_cells, priors)
        self.depth_cells = depth_cells

    def forward(self, maps: Tensor, images: Tensor, batch: Batch) -> Keypoints:
        """Keypoints of one moment; arguments as of every `Lift`."""
        places = cells(self.depth_cells, *maps.shape[-2:], like=maps).flatten(0, 2)
        logits = self.priors.sharpness * maps.unflatten(2, (-1, self.depth_cells)).flatten(3)
        where, confidence = soft_argmax(logits, places)
        return Keypoints(
            ndc=where[..., :2],
            world=None,
            confidence=confidence,
            depth=where[..., 2],
            **(told(logits, places) if torch.is_grad_enabled() else {}),
        )
