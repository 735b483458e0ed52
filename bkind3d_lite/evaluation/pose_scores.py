"""Scores of poses from one image: about the root, within a distance, of the right structure.

`errors.mpjpe` takes off the mean of the pose, `rooted_mpjpe` its root: two protocols, two names.
`clip_n_mpjpe` allows one scale for a whole clip, `n_mpjpe` one for each frame.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from ..shapes import shaped
from .errors import mpjpe

PCK_MM = 150.0  # within this a joint counts as found (Mehta et al. 2017)


def rooted_mpjpe(predicted: Tensor, truth: Tensor, root: int = 0) -> Tensor:
    """Mean per-joint position error of each frame about a root joint (protocol 1 of Human3.6M).

    Args:
        predicted: (T, J, 3).
        truth: (T, J, 3); joints that are NaN are left out.
        root: number of the joint that both have at the origin.

    Returns:
        (T,) in the joints' unit.
    """
    return mpjpe(*rooted(predicted, truth, root), centred=False)


def rooted(predicted: Tensor, truth: Tensor, root: int) -> tuple[Tensor, Tensor]:
    """Both poses with their root at the origin.

    Args:
        predicted: (T, J, 3).
        truth: (T, J, 3).
        root: number of the joint.

    Returns:
        Both, moved.
    """
    shaped(predicted, "T J 3", "predicted")
    return tuple(x - x[:, root : root + 1] for x in (predicted, truth))  # type: ignore[return-value]


def clip_n_mpjpe(predicted: Tensor, truth: Tensor) -> Tensor:
    """N-MPJPE with one scale for all frames, which cannot hide that a size wobbles.

    Args:
        predicted: (T, J, 3).
        truth: (T, J, 3); joints that are NaN in either are left out.

    Returns:
        (T,) in the truth's unit; both about their own mean.
    """
    known = (predicted.isfinite() & truth.isfinite()).all(-1, keepdim=True)
    x, y = (torch.where(known, a, torch.nan) for a in (predicted, truth))
    x, y = (a - a.nanmean(1, keepdim=True) for a in (x, y))
    scale = (x * y).nansum() / x.square().nansum().clamp(min=1e-12)
    return mpjpe(scale * x, y, centred=False)


# ---- within a distance ---------------------------------------------------------------------------
def pck(
    predicted: Tensor, truth: Tensor, within: float | Tensor = PCK_MM, root: int | None = 0
) -> Tensor:
    """Share of joints that lie within a distance of the truth, of each frame.

    Args:
        predicted: (T, J, D), D = 2 or 3.
        truth: (T, J, D); joints that are NaN are left out.
        within: the distance in the joints' unit, one or (T,); for PCKh half the head's length.
        root: joint about which both are taken; None: as they are.

    Returns:
        (T,) in [0, 1].
    """
    if root is not None:
        predicted, truth = (x - x[:, root : root + 1] for x in (predicted, truth))
    far = (predicted - truth).norm(dim=-1)
    limit = torch.as_tensor(within).expand(len(far))[:, None]
    found = torch.where(truth.isfinite().all(-1), (far <= limit).float(), torch.nan)
    return found.nanmean(1)


def auc(predicted: Tensor, truth: Tensor, most: float = PCK_MM, root: int | None = 0) -> Tensor:
    """Area under the PCK of distances from 0 to `most`, 31 of them (Mehta et al. 2017).

    Args:
        predicted: (T, J, 3).
        truth: (T, J, 3).
        most: the largest distance, in the joints' unit.
        root: joint about which both are taken; None: as they are.

    Returns:
        (T,) in [0, 1].
    """
    limits = torch.linspace(0, most, 31).tolist()
    return torch.stack([pck(predicted, truth, limit, root) for limit in limits]).mean(0)


# ---- structure -----------------------------------------------------------------------------------
class PoseStructure:
    """PSS (Kocabas et al. 2019): is a pose of the same kind as the truth?

    Kinds are the k clusters of true training poses about their root, of size 1. Blind to scale,
    not to rotation or mirroring. It saturates for small errors; say k and the seed with it.

    Args:
        kinds: k, number of clusters.
        root: joint at the origin.
        seed: of k-means, which starts four times.

    Attributes:
        centres_: (k, J * 3), after `fit`.
    """

    def __init__(self, kinds: int = 50, root: int = 0, seed: int = 0) -> None:
        self.kinds, self.root, self.seed = kinds, root, seed

    def fit(self, truth: Tensor) -> PoseStructure:
        """Find the kinds.

        Args:
            truth: (T, J, 3) training poses; those with a NaN are left out.

        Returns:
            Itself.

        Raises:
            ValueError: fewer poses than kinds.
        """
        poses = self._normalized(truth)
        poses = poses[np.isfinite(poses).all(1)]
        if len(poses) < self.kinds:
            raise ValueError(f"{len(poses)} whole poses cannot form {self.kinds} kinds")
        found = KMeans(self.kinds, n_init=4, random_state=self.seed).fit(poses)
        self.centres_ = found.cluster_centers_
        return self

    def kind(self, poses: Tensor) -> np.ndarray:
        """The nearest kind of each pose.

        Args:
            poses: (T, J, 3) without NaN.

        Returns:
            (T,) numbers.
        """
        x = self._normalized(poses)
        return ((x[:, None] - self.centres_) ** 2).sum(-1).argmin(1)

    def score(self, predicted: Tensor, truth: Tensor) -> float:
        """Share of poses that are of the kind of their truth.

        Args:
            predicted: (T, J, 3).
            truth: (T, J, 3).

        Returns:
            In [0, 1]; frames with a NaN do not count.
        """
        whole = (predicted.isfinite() & truth.isfinite()).all(-1).all(-1)
        return float((self.kind(predicted[whole]) == self.kind(truth[whole])).mean())

    def _normalized(self, poses: Tensor) -> np.ndarray:
        """Poses (T, J * 3) about their root, of length 1."""
        shaped(poses, "T J 3", "poses")
        x = (poses - poses[:, self.root : self.root + 1]).double().flatten(1)
        return (x / x.norm(dim=1, keepdim=True).clamp(min=1e-12)).numpy()


# ---- tables --------------------------------------------------------------------------------------
def by_action(errors: Tensor, actions: Sequence[str]) -> dict[str, float]:
    """The mean error of each action, and of all actions alike.

    Args:
        errors: (T,) of frames.
        actions: T names.

    Returns:
        {action: mean}, in order of appearance, then {"mean over actions": ...}.
    """
    rows = {
        action: float(errors[[a == action for a in actions]].nanmean())
        for action in dict.fromkeys(actions)
    }
    return rows | {"mean over actions": sum(rows.values()) / len(rows)}
