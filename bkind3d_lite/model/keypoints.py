"""Keypoints: what every lift gives, and what its heatmaps say beside their mean."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..volumes import covariance_and_peak, entropy


@dataclass(frozen=True)
class Keypoints:
    """What every lift gives.

    Attributes:
        ndc: (B, V, K, 2) in [-1, 1] inside the image.
        world: (B, K, 3); None: the lift knows images alone.
        confidence: (B, V, K) in [0, 1].
        depth: (B, V, K) of `Integral`, from the root in half sides of the crop.
        votes: what each view said alone: ndc (B, V, K, 2) of `Triangulated`, world (B, V, K, 3) of
            `Depth`.
        entropy: of the heatmaps, (B, K) or (B, V, K), a share of an even map's in [0, 1]; in
            training, for `training.diagnostics`.
        covariance: of the heatmaps' softmax: (B, K, 3, 3) world units squared of a volume,
            (B, V, K, 2, 2) ndc squared of images; where no gradient is asked for.
        peak: largest share of one cell, (B, K) of a volume, (B, V, K) of images: B-KinD's
            confidence, which depends on the map's size; likewise.
    """

    ndc: Tensor
    world: Tensor | None
    confidence: Tensor
    depth: Tensor | None = None
    votes: Tensor | None = None
    entropy: Tensor | None = None
    covariance: Tensor | None = None
    peak: Tensor | None = None


def told(logits: Tensor, points: Tensor) -> dict[str, Tensor]:
    """What heatmaps say beside their mean, as fields of `Keypoints`.

    Args:
        logits: (B, ..., P) before the softmax.
        points: (P, D) or (B, P, D) places of the cells.

    Returns:
        In training the entropy; else covariance and peak.
    """
    if torch.is_grad_enabled():
        return {"entropy": entropy(logits)}
    covariance, peak = covariance_and_peak(logits, points)
    return {"covariance": covariance, "peak": peak}
