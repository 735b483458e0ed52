"""Evaluation: are unnamed points worth anything?

The paper's regression protocol, and scores that need no regression.
"""

from .errors import (
    aligned,
    aligned_mpjpe,
    best_scale,
    confidence_interval,
    interval,
    joint_errors,
    mpjpe,
    n_mpjpe,
)
from .protocol import baselines, bone_distance, on_body, scores
from .regressors import (
    ALPHAS,
    BarycentricRegressor,
    KeypointRegressor,
    MLPKeypointRegressor,
)

__all__ = [
    "ALPHAS",
    "BarycentricRegressor",
    "KeypointRegressor",
    "MLPKeypointRegressor",
    "aligned",
    "aligned_mpjpe",
    "baselines",
    "best_scale",
    "bone_distance",
    "confidence_interval",
    "interval",
    "joint_errors",
    "mpjpe",
    "n_mpjpe",
    "on_body",
    "scores",
]
