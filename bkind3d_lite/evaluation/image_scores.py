"""Image scores: are keypoints in one camera's image worth anything? Regression in the image, and
points on the silhouette."""

from __future__ import annotations

import torch
from torch import Tensor

from ..shapes import shaped
from .regressors import KeypointRegressor


def image_errors(predicted: Tensor, truth: Tensor, wh: tuple[int, int]) -> Tensor:
    """Mean distance of the joints in each frame, as a share of the image's longer side.

    Args:
        predicted: (T, J, 2) pixels.
        truth: (T, J, 2) pixels; joints that are NaN are left out.
        wh: (W, H) in pixels of the image.

    Returns:
        (T,); NaN where no joint is known.
    """
    shaped(predicted, "T J 2", "predicted")
    shaped(truth, "T J 2", "truth")
    return (predicted - truth).norm(dim=-1).nanmean(1) / max(wh)


def image_score(
    fit_on: tuple[Tensor, Tensor],
    test_on: tuple[Tensor, Tensor],
    wh: tuple[int, int],
    alpha: float | None = None,
) -> float:
    """Fit the linear regressor (no bias) in the image on one part, score it on the other.

    Pixels are counted from the image's middle, as B-KinD's [-1, 1] are.

    Args:
        fit_on: keypoints (T, K, 2) and joints (T, J, 2) in pixels.
        test_on: the same of the part that is held out.
        wh: (W, H) in pixels of the image.
        alpha: as of `KeypointRegressor`.

    Returns:
        Mean of `image_errors`.
    """
    middle = torch.tensor(wh) / 2
    model = KeypointRegressor(alpha).fit(*(x - middle for x in fit_on))
    predicted = model.predict(test_on[0] - middle) + middle
    return float(image_errors(predicted, test_on[1], wh).nanmean())


def image_baselines(train: Tensor, test: Tensor, wh: tuple[int, int]) -> dict[str, float]:
    """What keypoints in an image must beat.

    Args:
        train: (T, J, 2) true joints in pixels.
        test: (T', J, 2) those of the part that is held out.
        wh: (W, H) in pixels of the image.

    Returns:
        Scores of `centroid`, the true centroid alone (an oracle), and of `mean_pose`.
    """
    middle = [(x.nanmean(1, keepdim=True), x) for x in (train, test)]
    pose = train.nanmean(0, keepdim=True).expand_as(test)
    return {
        "centroid": image_score(middle[0], middle[1], wh),
        "mean_pose": float(image_errors(pose, test, wh).nanmean()),
    }
