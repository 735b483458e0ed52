"""Labelled sequences: tracks with what the animal does in every frame (`acts.npz`)."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..clips.exports import read_track
from ..clips.image_tracks import Track2D
from ..clips.tracks import Track
from ..files import write_atomically
from .behaviour import UNKNOWN
from .behaviour_scores import OTHER


@dataclass(frozen=True)
class Acts:
    """What the animal does, frame by frame.

    Attributes:
        names: of the C classes.
        labels: (T,) whole numbers, places in `names`; -1: nobody labelled the frame.
    """

    names: tuple[str, ...]
    labels: np.ndarray

    @classmethod
    def of_levels(cls, names: Sequence[str], levels: np.ndarray, least: float = 0.5) -> Acts:
        """One label a frame from how strongly each act is done.

        Args:
            names: of the A acts.
            levels: (T, A) in [0, 1].
            least: level below which an act is not done; frames without any are `other`.

        Returns:
            Labels of A + 1 classes, `other` last; of several acts the strongest, of equals the last
            one named.
        """
        last = levels.shape[1] - 1 - levels[:, ::-1].argmax(1)
        labels = np.where(levels.max(1) > least, last, len(names))
        return cls((*names, OTHER), labels.astype(np.int64))

    def under(self, names: Sequence[str]) -> Acts:
        """The same labels numbered by another list of names.

        Args:
            names: with all of these among them.

        Returns:
            Acts with those names.

        Raises:
            ValueError: a name of a labelled frame is missing.
        """
        place = {name: n for n, name in enumerate(names)}
        for n, name in enumerate(self.names):
            if name not in place and (self.labels == n).any():
                raise ValueError(
                    f"class {name!r} is not among {', '.join(names)}; the parts must name their "
                    "classes alike"
                )
        number = np.array([place.get(name, UNKNOWN) for name in self.names] + [UNKNOWN])
        return Acts(tuple(names), number[self.labels])

    def bouts(self) -> dict[str, int]:
        """How often each class begins."""
        change = np.flatnonzero(np.diff(self.labels, prepend=UNKNOWN - 1))
        begins = self.labels[change]
        return {name: int((begins == n).sum()) for n, name in enumerate(self.names)}

    def save(self, path: str | Path) -> Path:
        """Write `acts.npz`, for `read_acts`.

        Args:
            path: the file.

        Returns:
            The path.
        """
        names, labels = np.array(self.names), self.labels.astype(np.int64)
        return write_atomically(path, lambda f: np.savez_compressed(f, names=names, labels=labels))


def read_acts(path: str | Path) -> Acts:
    """Read an `acts.npz`: names (C,) and labels (T,), or levels (T, A) of the acts.

    Args:
        path: the file.

    Returns:
        The acts.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds something else; names it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no labels here; an acts.npz holds names (C,) and labels (T,), a whole number "
            "for every frame"
        )
    try:
        with np.load(path, allow_pickle=False) as data:
            names = tuple(str(n) for n in data["names"])
            if "labels" not in data:
                return Acts.of_levels(names, np.asarray(data["levels"], float))
            labels = np.asarray(data["labels"], np.int64)
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not labels ({error}); expected names and labels") from error
    if labels.ndim != 1 or labels.min(initial=0) < UNKNOWN or labels.max(initial=0) >= len(names):
        raise ValueError(
            f"{path}: labels {labels.shape} from {labels.min(initial=0)} to "
            f"{labels.max(initial=0)} for {len(names)} names; expected (T,) places in names, -1 "
            "for unknown"
        )
    return Acts(names, labels)


def read_labelled(folder: str | Path) -> tuple[Track | Track2D, Acts]:
    """A folder's `keypoints.npz` with its `acts.npz`.

    Args:
        folder: that `track` has written to, with the labels beside.

    Returns:
        Track and labels of the same frames.

    Raises:
        ValueError: they differ in length.
    """
    folder = Path(folder)
    track, acts = read_track(folder / "keypoints.npz"), read_acts(folder / "acts.npz")
    frames = len(track.confidence)
    if len(acts.labels) != frames:
        raise ValueError(
            f"{folder / 'acts.npz'}: {len(acts.labels)} labels for the {frames} frames of "
            f"{folder / 'keypoints.npz'}; label every frame, -1 where it is not known"
        )
    return track, acts
