"""Evaluation: are unnamed points worth anything? The paper's regression protocol, and scores that need no regression."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from .clips.tracks import Skeleton
from .shapes import shaped

ALPHAS = [
    0.0,
    *np.logspace(0, 7, 8),
]  # squared world units, from none to as much as the keypoints' own scatter


class KeypointRegressor(RegressorMixin, BaseEstimator):
    """Linear map without bias from K keypoints to J joints (paper section 4.1), (T, K, 3) -> (T, J, 3), in world units.

    alpha: ridge penalty in squared units; 0: ordinary least squares; None: the one of `ALPHAS` that predicts best across five
    consecutive blocks of the training frames (neighbouring frames are too alike for random folds). bias=True adds an
    intercept (the released code, whose alpha is 1).
    """

    def __init__(self, alpha: float | None = None, bias: bool = False):
        self.alpha, self.bias = alpha, bias

    def fit(self, keypoints: Tensor, joints: Tensor) -> KeypointRegressor:
        x, y = _known(keypoints, joints)
        self.alpha_ = self.alpha if self.alpha is not None else self._chosen(x, y)
        self.model_ = Ridge(alpha=self.alpha_, fit_intercept=self.bias, solver="svd").fit(x, y)
        self.coef_ = self.model_.coef_
        return self

    def _chosen(self, x: np.ndarray, y: np.ndarray) -> float:
        if len(x) < 10:
            return 0.0
        search = GridSearchCV(
            Ridge(fit_intercept=self.bias, solver="svd"),
            {"alpha": ALPHAS},
            cv=KFold(5),
            scoring="neg_mean_squared_error",
        )
        return search.fit(x, y).best_params_["alpha"]

    def predict(self, keypoints: Tensor) -> Tensor:
        x = np.asarray(keypoints, np.float64).reshape(len(keypoints), -1)
        return torch.from_numpy(self.model_.predict(x)).float().unflatten(1, (-1, 3))


def _known(keypoints: Tensor, joints: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The frames in which everything is known, as float64 rows."""
    x, y = (np.asarray(a, np.float64).reshape(len(a), -1) for a in (keypoints, joints))
    if len(x) != len(y):
        raise ValueError(
            f"{len(x)} frames of keypoints, {len(y)} of joints; they must be the same frames"
        )
    known = np.isfinite(y).all(1) & np.isfinite(x).all(1)
    if not known.any():
        raise ValueError(
            f"none of the {len(x)} frames has all keypoints and all joints; leave out the joints that are never labelled"
        )
    return x[known], y[known]


class BarycentricRegressor(RegressorMixin, BaseEstimator):
    """For a handful of labels: each joint is a weighted sum of the keypoints, one weight for x, y and z, that sum up to 1; (T, K, 3) -> (T, J, 3).

    K weights a joint instead of 3 x 3 K, and a turned or moved animal gives a turned or moved answer without having been seen that way
    (beyond the paper, whose protocol is `KeypointRegressor`). Least squares from the keypoints' mean; `alpha` (squared units, None: the one
    of `ALPHAS` that leaves a labelled frame out best) draws the weights to equal ones. Joints that are NaN in a frame do not count there.
    """

    def __init__(self, alpha: float | None = None):
        self.alpha = alpha

    def fit(self, keypoints: Tensor, joints: Tensor) -> BarycentricRegressor:
        x, y = (torch.as_tensor(a).double() for a in (keypoints, joints))
        shaped(x, "T K 3", "keypoints"), shaped(y, f"{len(x)} J 3", "joints")
        if not (labels := y.isfinite().all(-1)).any(0).all():
            raise ValueError(
                f"joint {int((~labels.any(0)).nonzero()[0])} is not labelled in any of the {len(y)} frames; leave it out"
            )
        weights = [self._joint(x[known], y[known, j]) for j, known in enumerate(labels.T)]
        self.coef_ = torch.stack([w for w, _ in weights])  # (J, K)
        self.alpha_ = torch.tensor([a for _, a in weights])
        return self

    def _joint(self, x: Tensor, y: Tensor) -> tuple[Tensor, float]:
        """The weights (K,) of one joint, (T, 3), and the penalty that they were found with."""
        mean = x.mean(1)
        rows, wanted = (x - mean[:, None]).mT.flatten(0, 1), (y - mean).flatten()
        best = self.alpha, torch.inf
        for alpha in ALPHAS[1:] if self.alpha is None else ():
            hat = rows @ torch.linalg.solve(
                rows.mT @ rows + alpha * torch.eye(rows.shape[1]).double(), rows.mT
            )
            wrong = (wanted - hat @ wanted).unflatten(
                0, (-1, 3)
            )  # leaving a frame out, in closed form: its block of 1 - hat
            inner = torch.stack([hat[3 * t : 3 * t + 3, 3 * t : 3 * t + 3] for t in range(len(y))])
            error = torch.linalg.solve(torch.eye(3).double() - inner, wrong).norm(dim=-1).mean()
            best = min(best, (alpha, float(error)), key=lambda b: b[1])
        alpha = max(best[0], 1e-9)
        weights = torch.linalg.solve(
            rows.mT @ rows + alpha * torch.eye(rows.shape[1]).double(), rows.mT @ wanted
        )
        return weights - weights.mean() + 1 / len(weights), alpha

    def predict(self, keypoints: Tensor) -> Tensor:
        return torch.einsum("jk,tkc->tjc", self.coef_, torch.as_tensor(keypoints).double()).float()


class MLPKeypointRegressor(RegressorMixin, BaseEstimator):
    """Two-layer perceptron from K keypoints to J joints, the paper's second protocol (section 4.1), (T, K, 3) -> (T, J, 3).

    One hidden layer of `width` ReLU units, both sides standardized on the training frames, early stopping on a random
    tenth of them. It forgives more than a linear map: report it beside the linear one, never instead of it.
    """

    def __init__(self, width: int = 256, alpha: float = 1e-3, steps: int = 300, seed: int = 0):
        self.width, self.alpha, self.steps, self.seed = width, alpha, steps, seed

    def fit(self, keypoints: Tensor, joints: Tensor) -> MLPKeypointRegressor:
        x, y = _known(keypoints, joints)
        network = MLPRegressor(
            hidden_layer_sizes=(self.width,),
            alpha=self.alpha,
            max_iter=self.steps,
            early_stopping=len(x) >= 50,
            random_state=self.seed,
        )
        self.model_ = TransformedTargetRegressor(
            make_pipeline(StandardScaler(), network), transformer=StandardScaler()
        )
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", ConvergenceWarning
            )  # `steps` is the budget, not a promise of convergence
            self.model_.fit(x, y)
        return self

    predict = KeypointRegressor.predict


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
    size = (
        (S * sign).sum(-1) / x.square().sum((1, 2)).clamp(min=1e-12)
        if scale
        else x.new_ones(len(x))
    )
    return (size[:, None, None] * ((found - mx) @ R) + my).float()


def aligned_mpjpe(found: Tensor, truth: Tensor, scale: bool = False) -> Tensor:
    """PMPJPE of each frame, (T,): mean per-joint error after the best rigid alignment (paper section 4.1)."""
    return mpjpe(aligned(found, truth, scale), truth, centred=False)


def best_scale(found: Tensor, truth: Tensor) -> Tensor:
    """The factor (T,) by which `found` (T, J, 3) must grow to fit `truth` best, frame by frame, both about their own mean."""
    known = truth.isfinite().all(-1, keepdim=True)
    x, y = (torch.where(known, a, a.new_full((), torch.nan)) for a in (found, truth))
    x, y = (torch.nan_to_num(a - a.nanmean(1, keepdim=True)) for a in (x, y))
    return (x * y).sum((1, 2)) / x.square().sum((1, 2)).clamp(min=1e-12)


def n_mpjpe(found: Tensor, truth: Tensor) -> Tensor:
    """N-MPJPE of each frame, (T,): centred MPJPE after the best scale (Rhodin et al. 2018); not blind to rotation."""
    return mpjpe(found * best_scale(found, truth)[:, None, None], truth)


def joint_errors(found: Tensor, truth: Tensor, centred: bool = True) -> Tensor:
    """Mean error of each joint over the frames where it is known, (J,); `mpjpe` is the mean of the same distances over joints."""
    shaped(found, "T J 3", "found"), shaped(truth, "T J 3", "truth")
    difference = found - truth
    if centred:
        difference = difference - difference.nanmean(1, keepdim=True)
    return difference.norm(dim=-1).nanmean(0)


def interval(errors: Tensor, picks: Tensor, level: float = 0.95) -> Tensor:
    """Percentile bootstrap (Efron 1979): bounds (2,) of the mean of `errors` (T,), one resample of times per row of `picks` (R, T')."""
    means = errors[picks].mean(-1)
    return torch.quantile(means, means.new_tensor([(1 - level) / 2, (1 + level) / 2]))


def confidence(
    errors: Tensor, block: int = 30, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Bounds of the mean error (T,) by a bootstrap over blocks of `block` consecutive frames (Kuensch 1989).

    Neighbouring frames are almost the same pose: drawn one by one they would promise far too narrow an interval. A block
    should be longer than the motion remembers itself (a second, say). NaN frames are left out. Raises `ValueError` with fewer than
    two blocks.
    """
    errors = errors[errors.isfinite()]
    if len(errors) < 2 * block:
        raise ValueError(
            f"{len(errors)} known frames are fewer than 2 blocks of {block}; an interval needs more frames or a smaller block"
        )
    random = torch.Generator().manual_seed(seed)
    starts = torch.randint(
        len(errors) - block + 1, (resamples, round(len(errors) / block)), generator=random
    )
    low, high = interval(errors, (starts[..., None] + torch.arange(block)).flatten(1), level)
    return float(low), float(high)


def bone_distance(points: Tensor, joints: Tensor, skeleton: Skeleton) -> Tensor:
    """Distance of points (T, K, 3) to the nearest bone of joints (T, J, 3) in the same frame, (T, K)."""
    i, j = torch.tensor(skeleton.edges).T
    a, b = joints[:, None, i], joints[:, None, j]
    along, p = b - a, points[:, :, None]
    s = (((p - a) * along).sum(-1) / along.square().sum(-1).clamp(min=1e-12)).clamp(0, 1)
    return (p - a - s[..., None] * along).norm(dim=-1).nan_to_num(torch.inf).amin(-1)


def on_body(
    points: Tensor, joints: Tensor, skeleton: Skeleton, body_length: float, within: float = 0.15
) -> dict[str, float]:
    """Share of all keypoints of all frames within `within` x body length of the nearest bone, and the median distance.

    Needs no regression, so no regression can flatter it. Every keypoint counts, dead ones too.
    """
    d = bone_distance(points, joints, skeleton)
    return {"share": float((d <= within * body_length).float().mean()), "median": float(d.median())}


def scores(
    fit_on: tuple[Tensor, Tensor], test_on: tuple[Tensor, Tensor], alpha: float | None = None
) -> dict[str, float]:
    """Fit the regressor on (keypoints, joints) of the training part, score it on the test part: mean MPJPE and PMPJPE."""
    found = KeypointRegressor(alpha).fit(*fit_on).predict(test_on[0])
    return {
        "mpjpe": float(mpjpe(found, test_on[1]).nanmean()),
        "pmpjpe": float(aligned_mpjpe(found, test_on[1]).nanmean()),
    }


def baselines(train_truth: Tensor, test_truth: Tensor) -> dict[str, dict[str, float]]:
    """What no network can be excused for missing: the animal's true centroid alone (an oracle), and the mean pose."""
    centroid = scores(
        (train_truth.nanmean(1, keepdim=True), train_truth),
        (test_truth.nanmean(1, keepdim=True), test_truth),
    )
    pose = train_truth.nanmean(0, keepdim=True).expand_as(test_truth)
    mean = {
        "mpjpe": float(mpjpe(pose, test_truth).nanmean()),
        "pmpjpe": float(aligned_mpjpe(pose, test_truth).nanmean()),
    }
    return {"centroid": centroid, "mean_pose": mean}
