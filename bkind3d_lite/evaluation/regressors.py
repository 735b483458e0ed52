"""Regressors: from unnamed keypoints to labelled joints, in scikit-learn's words."""

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

from ..shapes import shaped

# Squared world units, from none to as much as the keypoints' own scatter.
ALPHAS = [0.0, *np.logspace(0, 7, 8)]


class KeypointRegressor(RegressorMixin, BaseEstimator):
    """Linear map without bias from K keypoints to J joints (paper section 4.1).

    In space, or (D = 2) in the pixels of one image.

    Args:
        alpha: ridge penalty in squared units; 0: ordinary least squares; None: the one of `ALPHAS`
            that predicts best across five consecutive blocks of the training frames (neighbouring
            frames are too alike for random folds).
        bias: adds an intercept (the released code, whose alpha is 1).
    """

    def __init__(self, alpha: float | None = None, bias: bool = False):
        self.alpha, self.bias = alpha, bias

    def fit(self, keypoints: Tensor, joints: Tensor) -> KeypointRegressor:
        """Learn the map from the frames in which everything is labelled.

        Args:
            keypoints: (T, K, D), D = 3 in space or 2 in an image.
            joints: (T, J, D), NaN where there is no label.

        Returns:
            Itself, with `coef_` (D J, D K) and `alpha_`.
        """
        x, y = _complete_rows(keypoints, joints)
        self.dims_ = joints.shape[-1]
        self.alpha_ = self.alpha if self.alpha is not None else self._best_alpha(x, y)
        self.model_ = Ridge(alpha=self.alpha_, fit_intercept=self.bias, solver="svd").fit(x, y)
        self.coef_ = self.model_.coef_
        return self

    def _best_alpha(self, x: np.ndarray, y: np.ndarray) -> float:
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
        """The joints that belong to keypoints.

        Args:
            keypoints: (T, K, D), D = 3 in space or 2 in an image.

        Returns:
            (T, J, D).
        """
        x = np.asarray(keypoints, np.float64).reshape(len(keypoints), -1)
        return torch.from_numpy(self.model_.predict(x)).float().unflatten(1, (-1, self.dims_))


def _complete_rows(keypoints: Tensor, joints: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The frames in which everything is finite, as float64 rows (T', D K) and (T', D J)."""
    x, y = (np.asarray(a, np.float64).reshape(len(a), -1) for a in (keypoints, joints))
    if len(x) != len(y):
        raise ValueError(
            f"{len(x)} frames of keypoints, {len(y)} of joints; they must be the same frames"
        )
    complete = np.isfinite(y).all(1) & np.isfinite(x).all(1)
    if not complete.any():
        raise ValueError(
            f"none of the {len(x)} frames has all keypoints and all joints; "
            "leave out the joints that are never labelled"
        )
    return x[complete], y[complete]


class BarycentricRegressor(RegressorMixin, BaseEstimator):
    """For a handful of labels: each joint is a weighted sum of the keypoints, its weights sum to 1.

    One weight for x, y and z: K weights a joint instead of 3 x 3 K, and a turned or moved animal
    gives a turned or moved answer without any label of it so (beyond the paper, whose protocol is
    `KeypointRegressor`). Least squares from the keypoints' mean.

    Args:
        alpha: draws the weights to equal ones, squared units; None: the one of `ALPHAS` that
            predicts a labelled frame best when it is left out.
    """

    def __init__(self, alpha: float | None = None):
        self.alpha = alpha

    def fit(self, keypoints: Tensor, joints: Tensor) -> BarycentricRegressor:
        """Learn each joint's weights from the frames in which it is labelled.

        Args:
            keypoints: (T, K, 3).
            joints: (T, J, 3), NaN where there is no label.

        Returns:
            Itself, with `coef_` (J, K) and `alpha_` (J).

        Raises:
            ValueError: the shapes do not fit, or a joint has no label at all.
        """
        x, y = (torch.as_tensor(a).double() for a in (keypoints, joints))
        shaped(x, "T K 3", "keypoints")
        shaped(y, f"{len(x)} J 3", "joints")
        labels = y.isfinite().all(-1)
        if not labels.any(0).all():
            missing = int((~labels.any(0)).nonzero()[0])
            raise ValueError(
                f"joint {missing} is not labelled in any of the {len(y)} frames; leave it out"
            )
        fits = [self._joint(x[rows], y[rows, j]) for j, rows in enumerate(labels.T)]
        self.coef_ = torch.stack([weights for weights, _ in fits])
        self.alpha_ = torch.tensor([alpha for _, alpha in fits])
        return self

    def _joint(self, x: Tensor, y: Tensor) -> tuple[Tensor, float]:
        """Weights (K,) of one joint, (T, 3), and the penalty that they were fitted with."""
        mean = x.mean(1)
        rows, target = (x - mean[:, None]).mT.flatten(0, 1), (y - mean).flatten()
        alpha = self.alpha
        if alpha is None:
            alpha = min(ALPHAS[1:], key=lambda a: _left_out_error(rows, target, a))
        alpha = max(alpha, 1e-9)
        weights = torch.linalg.solve(_ridge(rows, alpha), rows.mT @ target)
        return weights - weights.mean() + 1 / len(weights), alpha

    def predict(self, keypoints: Tensor) -> Tensor:
        """The joints that belong to keypoints.

        Args:
            keypoints: (T, K, 3).

        Returns:
            (T, J, 3).
        """
        return torch.einsum("jk,tkc->tjc", self.coef_, torch.as_tensor(keypoints).double()).float()


def _ridge(rows: Tensor, alpha: float) -> Tensor:
    """The normal equations' matrix (K, K) with its penalty."""
    return rows.mT @ rows + alpha * torch.eye(rows.shape[1]).double()


def _left_out_error(rows: Tensor, target: Tensor, alpha: float) -> float:
    """Mean error of each frame when it is left out, in closed form: its block of 1 - hat."""
    hat = rows @ torch.linalg.solve(_ridge(rows, alpha), rows.mT)
    wrong = (target - hat @ target).unflatten(0, (-1, 3))
    blocks = [hat[3 * t : 3 * t + 3, 3 * t : 3 * t + 3] for t in range(len(wrong))]
    left_out = torch.linalg.solve(torch.eye(3).double() - torch.stack(blocks), wrong)
    return float(left_out.norm(dim=-1).mean())


class MLPKeypointRegressor(RegressorMixin, BaseEstimator):
    """Two-layer perceptron from K keypoints to J joints: the paper's second protocol (section 4.1).

    One hidden layer of ReLU units, both sides standardized on the training frames, early stopping
    on a random tenth of them. It forgives more than a linear map: report it beside the linear one,
    never instead of it.

    Args:
        width: units of the hidden layer.
        alpha: weight decay.
        steps: passes over the training frames at most.
        seed: of weights, batches and the tenth held out.
    """

    def __init__(self, width: int = 256, alpha: float = 1e-3, steps: int = 300, seed: int = 0):
        self.width, self.alpha, self.steps, self.seed = width, alpha, steps, seed

    def fit(self, keypoints: Tensor, joints: Tensor) -> MLPKeypointRegressor:
        """Learn from the frames in which everything is labelled.

        Args:
            keypoints: (T, K, 3).
            joints: (T, J, 3), NaN where there is no label.

        Returns:
            Itself.
        """
        x, y = _complete_rows(keypoints, joints)
        self.dims_ = joints.shape[-1]
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
        with warnings.catch_warnings():  # `steps` is the budget, not a promise of convergence
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.model_.fit(x, y)
        return self

    predict = KeypointRegressor.predict
