"""Protocol: the paper's scores by regression, what they must beat, and one that needs none."""

from __future__ import annotations

import torch
from torch import Tensor

from ..clips.heading import rotated
from ..clips.tracks import Skeleton
from .errors import aligned_mpjpe, mpjpe
from .regressors import KeypointRegressor


def scores(
    fit_on: tuple[Tensor, Tensor], test_on: tuple[Tensor, Tensor], alpha: float | None = None
) -> dict[str, float]:
    """Fit the linear regressor on the training part, score it on the test part.

    Args:
        fit_on: keypoints (T, K, 3) and joints (T, J, 3) of the training part.
        test_on: the same of the test part.
        alpha: as of `KeypointRegressor`.

    Returns:
        Means of `mpjpe` and `pmpjpe`, in the joints' unit.
    """
    predicted = KeypointRegressor(alpha).fit(*fit_on).predict(test_on[0])
    return mean_errors(predicted, test_on[1])


def body_scores(
    fit_on: tuple[Tensor, Tensor, Tensor], test_on: tuple[Tensor, Tensor, Tensor]
) -> dict[str, float]:
    """As `scores`, but the linear map, here with a bias, is fitted in the animal's own frame.

    Beyond the paper: about the keypoints' mean and turned by the heading, a pose is the same
    whichever way the animal faces, so a short recording need not show every pose in every
    direction. Report it beside `scores`, never instead of it, and with the baselines' own.

    Args:
        fit_on: keypoints (T, K, 3), joints (T, J, 3) and heading (T,) of the training part.
        test_on: the same of the test part.

    Returns:
        Means of `mpjpe` and `pmpjpe`, in the joints' unit.
    """
    (x, y), (test_x, test_y) = _in_body(*fit_on), _in_body(*test_on)
    return mean_errors(KeypointRegressor(bias=True).fit(x, y).predict(test_x), test_y)


def _in_body(keypoints: Tensor, joints: Tensor, heading: Tensor) -> tuple[Tensor, Tensor]:
    """Keypoints and joints about the keypoints' mean, x ahead."""
    middle = keypoints.mean(1, keepdim=True)
    return rotated(keypoints - middle, -heading), rotated(joints - middle, -heading)


def mean_errors(predicted: Tensor, truth: Tensor) -> dict[str, float]:
    """Scores of joints that are predicted already, by whatever means.

    Args:
        predicted: (T, J, 3).
        truth: (T, J, 3); joints that are NaN are left out.

    Returns:
        Means of `mpjpe` and `pmpjpe`, in the joints' unit.
    """
    return {
        "mpjpe": float(mpjpe(predicted, truth).nanmean()),
        "pmpjpe": float(aligned_mpjpe(predicted, truth).nanmean()),
    }


def baselines(train_truth: Tensor, test_truth: Tensor) -> dict[str, dict[str, float]]:
    """What no network can be excused for missing.

    Args:
        train_truth: (T, J, 3).
        test_truth: (T', J, 3).

    Returns:
        Scores of `centroid`, the animal's true centroid alone (an oracle), and of `mean_pose`.
    """
    centroid = scores(
        (train_truth.nanmean(1, keepdim=True), train_truth),
        (test_truth.nanmean(1, keepdim=True), test_truth),
    )
    pose = train_truth.nanmean(0, keepdim=True).expand_as(test_truth)
    return {"centroid": centroid, "mean_pose": mean_errors(pose, test_truth)}


def bone_distance(points: Tensor, joints: Tensor, skeleton: Skeleton) -> Tensor:
    """Distance of points to the nearest bone in the same frame.

    Args:
        points: (T, K, 3).
        joints: (T, J, 3).
        skeleton: the bones, pairs of the J joints.

    Returns:
        (T, K) in the points' unit.
    """
    i, j = torch.tensor(skeleton.edges).T
    a, b = joints[:, None, i], joints[:, None, j]
    along, p = b - a, points[:, :, None]
    s = (((p - a) * along).sum(-1) / along.square().sum(-1).clamp(min=1e-12)).clamp(0, 1)
    return (p - a - s[..., None] * along).norm(dim=-1).nan_to_num(torch.inf).amin(-1)


def on_body(
    points: Tensor, joints: Tensor, skeleton: Skeleton, body_length: float, within: float = 0.15
) -> dict[str, float]:
    """Share of all keypoints of all frames near a bone, and the median distance.

    Needs no regression, so no regression can flatter it. Every keypoint counts, dead ones too.

    Args:
        points: (T, K, 3).
        joints: (T, J, 3).
        skeleton: the bones, pairs of the J joints.
        body_length: in the points' unit.
        within: what is near, in body lengths.

    Returns:
        `share` and `median`, the latter in the points' unit.
    """
    d = bone_distance(points, joints, skeleton)
    return {"share": float((d <= within * body_length).float().mean()), "median": float(d.median())}
