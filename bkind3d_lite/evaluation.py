"""Evaluation: are unnamed points worth anything? The paper's regression protocol, and scores that need no regression."""
from __future__ import annotations

import numpy as np
import torch
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, KFold
from torch import Tensor

from .clips import Skeleton
from .shapes import shaped

ALPHAS = [0.0, *np.logspace(0, 7, 8)]  # squared world units, from none to as much as the keypoints' own scatter


class KeypointRegressor(RegressorMixin, BaseEstimator):
    """Linear map without bias from K keypoints to J joints (paper section 4.1), (T, K, 3) -> (T, J, 3), in world units.

    alpha: ridge penalty in squared units; 0: ordinary least squares; None: the one of `ALPHAS` that predicts best across five
    consecutive blocks of the training frames (neighbouring frames are too alike for random folds). bias=True adds an
    intercept (the released code, whose alpha is 1).
    """

    def __init__(self, alpha: float | None = None, bias: bool = False):
        self.alpha, self.bias = alpha, bias

    def fit(self, keypoints: Tensor, joints: Tensor) -> KeypointRegressor:
        x, y = (np.asarray(a, np.float64).reshape(len(a), -1) for a in (keypoints, joints))
        if len(x) != len(y):
            raise ValueError(f"{len(x)} frames of keypoints, {len(y)} of joints; they must be the same frames")
        known = np.isfinite(y).all(1) & np.isfinite(x).all(1)
        if not known.any():
            raise ValueError(f"none of the {len(x)} frames has all keypoints and all joints; leave out the joints that are never labelled")
        x, y = x[known], y[known]
        self.alpha_ = self.alpha if self.alpha is not None else self._chosen(x, y)
        self.model_ = Ridge(alpha=self.alpha_, fit_intercept=self.bias, solver="svd").fit(x, y)
        self.coef_ = self.model_.coef_
        return self

    def _chosen(self, x: np.ndarray, y: np.ndarray) -> float:
        if len(x) < 10:
            return 0.0
        search = GridSearchCV(Ridge(fit_intercept=self.bias, solver="svd"), {"alpha": ALPHAS}, cv=KFold(5), scoring="neg_mean_squared_error")
        return search.fit(x, y).best_params_["alpha"]

    def predict(self, keypoints: Tensor) -> Tensor:
        x = np.asarray(keypoints, np.float64).reshape(len(keypoints), -1)
        return torch.from_numpy(self.model_.predict(x)).float().unflatten(1, (-1, 3))


def mpjpe(found: Tensor, truth: Tensor, centred: bool = True) -> Tensor:
    """Mean per-joint position error of each frame, (T,): (T, J, 3) against (T, J, 3), NaN joints of the truth left out.

    centred: after removing the mean shift of the pose, frame by frame (paper section 4.1).
    """
    shaped(found, "T J 3", "found"), shaped(truth, "T J 3", "truth")
    if found.shape != truth.shape:
        raise ValueError(f"found {tuple(found.shape)} and truth {tuple(truth.shape)} differ")
    difference = found - truth
    if centred:
        difference = difference - difference.nanmean(1, keepdim=True)
    return difference.norm(dim=-1).nanmean(1)


def aligned(found: Tensor, truth: Tensor, scale: bool = False) -> Tensor:
    """`found` (T, J, 3) moved onto `truth` by the best rotation and translation of each frame (Kabsch 1976); never a reflection.

    scale: also the best scale (Umeyama 1991).
    """
    found, truth = found.double(), truth.double()
    known = truth.isfinite().all(-1, keepdim=True)
    count = known.sum(1, keepdim=True).clamp(min=1)
    x, y = (torch.where(known, a, a.new_zeros(())) for a in (found, truth))
    mx, my = x.sum(1, keepdim=True) / count, y.sum(1, keepdim=True) / count
    x, y = (torch.where(known, a - m, a.new_zeros(())) for a, m in ((x, mx), (y, my)))
    U, S, Vh = torch.linalg.svd(x.mT @ y)
    sign = torch.ones_like(S)
    sign[:, -1] = torch.det(U @ Vh).sign()
    R = U @ (sign[..., None] * Vh)
    size = (S * sign).sum(-1) / x.square().sum((1, 2)).clamp(min=1e-12) if scale else x.new_ones(len(x))
    return (size[:, None, None] * ((found - mx) @ R) + my).float()


def aligned_mpjpe(found: Tensor, truth: Tensor, scale: bool = False) -> Tensor:
    """PMPJPE of each frame, (T,): mean per-joint error after the best rigid alignment (paper section 4.1)."""
    return mpjpe(aligned(found, truth, scale), truth, centred=False)


def bone_distance(points: Tensor, joints: Tensor, skeleton: Skeleton) -> Tensor:
    """Distance of points (T, K, 3) to the nearest bone of joints (T, J, 3) in the same frame, (T, K)."""
    i, j = torch.tensor(skeleton.edges).T
    a, b = joints[:, None, i], joints[:, None, j]
    along, p = b - a, points[:, :, None]
    s = (((p - a) * along).sum(-1) / along.square().sum(-1).clamp(min=1e-12)).clamp(0, 1)
    return (p - a - s[..., None] * along).norm(dim=-1).nan_to_num(torch.inf).amin(-1)


def on_body(points: Tensor, joints: Tensor, skeleton: Skeleton, body_length: float, within: float = 0.15) -> dict[str, float]:
    """Share of all keypoints of all frames within `within` x body length of the nearest bone, and the median distance.

    Needs no regression, so no regression can flatter it. Every keypoint counts, dead ones too.
    """
    d = bone_distance(points, joints, skeleton)
    return {"share": float((d <= within * body_length).float().mean()), "median": float(d.median())}


def scores(fit_on: tuple[Tensor, Tensor], test_on: tuple[Tensor, Tensor], alpha: float | None = None) -> dict[str, float]:
    """Fit the regressor on (keypoints, joints) of the training part, score it on the test part: mean MPJPE and PMPJPE."""
    found = KeypointRegressor(alpha).fit(*fit_on).predict(test_on[0])
    return {"mpjpe": float(mpjpe(found, test_on[1]).nanmean()), "pmpjpe": float(aligned_mpjpe(found, test_on[1]).nanmean())}


def baselines(train_truth: Tensor, test_truth: Tensor) -> dict[str, dict[str, float]]:
    """What no network can be excused for missing: the animal's true centroid alone (an oracle), and the mean pose."""
    centroid = scores((train_truth.nanmean(1, keepdim=True), train_truth), (test_truth.nanmean(1, keepdim=True), test_truth))
    pose = train_truth.nanmean(0, keepdim=True).expand_as(test_truth)
    mean = {"mpjpe": float(mpjpe(pose, test_truth).nanmean()), "pmpjpe": float(aligned_mpjpe(pose, test_truth).nanmean())}
    return {"centroid": centroid, "mean_pose": mean}
