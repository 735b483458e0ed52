"""Evaluation: are unnamed points worth anything?

The paper's regression protocol, and scores that need no regression.
"""

from .body_bound import BodyBound, RigidTemplate
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
from .image_scores import image_baselines, image_errors, image_score
from .protocol import baselines, body_scores, bone_distance, mean_errors, on_body, scores
from .regressors import (
    ALPHAS,
    BarycentricRegressor,
    KeypointRegressor,
    MLPKeypointRegressor,
)

__all__ = [
    "ALPHAS",
    "BarycentricRegressor",
    "BodyBound",
    "KeypointRegressor",
    "MLPKeypointRegressor",
    "RigidTemplate",
    "aligned",
    "aligned_mpjpe",
    "baselines",
    "best_scale",
    "body_scores",
    "bone_distance",
    "confidence_interval",
    "image_baselines",
    "image_errors",
    "image_score",
    "interval",
    "joint_errors",
    "mean_errors",
    "mpjpe",
    "n_mpjpe",
    "on_body",
    "scores",
]
