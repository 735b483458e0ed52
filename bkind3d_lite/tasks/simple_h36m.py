"""Simplified Human3.6M: its folders read, and the regression that unsupervised keypoints are
compared by.

The archive `human_images`: `S1/WithBackground/Walking 1/12.jpg` (128 x 128),
`S1/BackgroudMask/Walking 1/12.png` (sic) and `S1/Landmarks/Walking 1/12.mat` with `keypoints_2d`
(32, 2), rows (y, x) as shares of the image. Subjects 1, 5, 6, 7, 8 train, 9 and 11 test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..calibrations import natural
from ..evaluation.regressors import KeypointRegressor

TRAINING, TESTING = ("S1", "S5", "S6", "S7", "S8"), ("S9", "S11")
ACTIVITIES = ("Waiting", "Posing", "Greeting", "Directions", "Discussion", "Walking")
IMAGES, MASKS, LANDMARKS = "WithBackground", "BackgroudMask", "Landmarks"
JOINTS_16 = (1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)  # of the 32
# Partners among these 16, right then left.
SIDES_16 = ((0, 3), (1, 4), (2, 5), (10, 13), (11, 14), (12, 15))
RIGHT_32, LEFT_32 = (*range(1, 6), *range(24, 32)), (*range(6, 11), *range(16, 24))
LEAST_SIDED = 9  # of the 13 pairs: with fewer the left one at the right, somebody shows their back


@dataclass(frozen=True)
class SimpleFrames:
    """The frames of one subject in one take.

    Attributes:
        subject: `S1`.
        activity: one of `ACTIVITIES`.
        images: (T,) paths.
        joints: (T, 32, 2) x, y as shares of the image.
    """

    subject: str
    activity: str
    images: tuple[Path, ...]
    joints: np.ndarray

    def targets(self, sides: bool) -> np.ndarray:
        """The 16 joints that are scored, in [-1, 1].

        Args:
            sides: left and right as the image's, which training labels are.

        Returns:
            (T, 16, 2) x, y.
        """
        joints = sides_of_image(self.joints) if sides else self.joints
        return 2 * joints[:, list(JOINTS_16)] - 1


def sides_of_image(joints: np.ndarray) -> np.ndarray:
    """Swap left and right of people who show their back.

    They do if fewer than `LEAST_SIDED` of the 13 left joints lie right of their partner in x.

    Args:
        joints: (T, 32, 2) x, y.

    Returns:
        (T, 32, 2).
    """
    right, left = list(RIGHT_32), list(LEFT_32)
    back = (joints[:, left, 0] > joints[:, right, 0]).sum(1) < LEAST_SIDED
    swapped = joints.copy()
    swapped[:, right], swapped[:, left] = joints[:, left], joints[:, right]
    return np.where(back[:, None, None], swapped, joints)


def read_simple_h36m(root: str | Path, subjects: Sequence[str] = TRAINING) -> list[SimpleFrames]:
    """Read the takes of some subjects; images stay on disk.

    Args:
        root: the folder `human_images`.
        subjects: `TRAINING`, `TESTING`, or some of them.

    Returns:
        A list of takes, in order.

    Raises:
        FileNotFoundError: a subject, an image or a landmark file is missing; names it.
    """
    root, takes = Path(root), []
    for subject in subjects:
        masks = root / subject / MASKS
        if not masks.is_dir():
            raise FileNotFoundError(
                f"{masks}: not there; expected the archive human_images, with {subject}/{IMAGES}, "
                f"{subject}/{MASKS} and {subject}/{LANDMARKS}"
            )
        for take in sorted(
            (p for p in masks.iterdir() if p.is_dir()), key=lambda p: natural(p.name)
        ):
            activity = take.name.split(" ")[0].split(".")[0]
            if activity in ACTIVITIES:
                takes.append(_take(root / subject, take.name, activity))
    return takes


def _take(home: Path, take: str, activity: str) -> SimpleFrames:
    from scipy.io import loadmat

    masks = (home / MASKS / take).glob("*.png")
    numbers = sorted(int(p.stem) for p in masks if p.stem.isdigit())
    images = tuple(home / IMAGES / take / f"{n}.jpg" for n in numbers)
    files = [home / LANDMARKS / take / f"{n}.mat" for n in numbers]
    for path in (*images, *files):
        if not path.is_file():
            raise FileNotFoundError(f"{path}: not there, though its mask is; copy it again")
    joints = np.zeros((len(files), 32, 2))
    for row, path in zip(joints, files):
        found = loadmat(path).get("keypoints_2d")
        if found is None or np.shape(found) != (32, 2):
            raise ValueError(f"{path}: keypoints_2d {np.shape(found)}; expected (32, 2), y and x")
        row[:] = found[:, ::-1]
    return SimpleFrames(home.name, activity, images, joints=joints)


# ---- the protocol --------------------------------------------------------------------------------
@dataclass(frozen=True)
class SimpleScores:
    """Mean distance of 16 joints in % of the image's side.

    Attributes:
        error: mean of the activities' means.
        of_activity: each one's mean.
        either_side: `error`, each image with the better of the labels and their mirror.
        sided: share of images whose labels as they are fit better than mirrored.
    """

    error: float
    of_activity: Mapping[str, float]
    either_side: float
    sided: float


def score_simple_h36m(
    train: Sequence[SimpleFrames],
    test: Sequence[SimpleFrames],
    keypoints: tuple[Sequence[np.ndarray], Sequence[np.ndarray]],
) -> SimpleScores:
    """Fit a linear map without bias on the training subjects, score it on the others.

    Args:
        train: takes to fit on; left and right are the image's there.
        test: takes to score on; left and right are the person's.
        keypoints: of the training takes and of the test takes, each (T, K, 2) in [-1, 1].

    Returns:
        The scores.
    """
    fit_on = torch.from_numpy(np.concatenate(keypoints[0])).double()
    targets = torch.from_numpy(np.concatenate([take.targets(sides=True) for take in train]))
    model = KeypointRegressor(alpha=0.0).fit(fit_on, targets)
    order = np.arange(len(JOINTS_16))
    for right, left in SIDES_16:
        order[[right, left]] = left, right
    straight: dict[str, list[np.ndarray]] = {}
    mirrored: dict[str, list[np.ndarray]] = {}
    for take, points in zip(test, keypoints[1]):
        found = model.predict(torch.from_numpy(points)).numpy()
        truth = take.targets(sides=False)
        straight.setdefault(take.activity, []).append(_distance(found, truth))
        mirrored.setdefault(take.activity, []).append(_distance(found, truth[:, order]))
    plain = {a: np.concatenate(d) for a, d in straight.items()}
    other = {a: np.concatenate(d) for a, d in mirrored.items()}
    either = {a: np.minimum(plain[a], other[a]) for a in plain}
    right_way = np.concatenate([plain[a] <= other[a] for a in plain])
    means = {a: float(d.mean()) for a, d in plain.items()}
    return SimpleScores(
        error=float(np.mean(list(means.values()))),
        of_activity=means,
        either_side=float(np.mean([d.mean() for d in either.values()])),
        sided=float(right_way.mean()),
    )


def _distance(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Mean distance of each image's joints, % of its side; both in [-1, 1]."""
    return 100 * np.linalg.norm((found - truth) / 2, axis=-1).mean(-1)
