"""What every layout is brought to: a `Recording`; and what they share on the way, a `Place` with its files, matched to cameras."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...calibrations import find_calibration, load_calibration
from ...cameras import CameraRig
from ..videos import VIDEO_SUFFIXES, Footage, Picked
from .footage import IMAGE_SUFFIXES, Chunks, Stills, footage_of, in_folder, last_number

SUBFOLDERS = ("videos", "Videos", "videos-raw")
JUMP = 1.5  # a step of time longer than so many usual ones, or as much shorter, is a jump


@dataclass(frozen=True)
class Truth:
    """Positions (T, J, 3) in the rig's unit, NaN where nobody labelled, with their names and (E, 2) bones.

    marks (T, V, J, 2): where they were seen in each view of the rig, in pixels whose first one has its centre at (0.5, 0.5), NaN where not.
    """

    positions: np.ndarray
    names: tuple[str, ...]
    edges: tuple[tuple[int, int], ...] = ()
    body_length: float | None = None
    marks: np.ndarray | None = None

    def at(self, good: np.ndarray) -> Truth:
        """Of (T,) moments those that are `good`."""
        return replace(
            self,
            positions=self.positions[good],
            marks=None if self.marks is None else self.marks[good],
        )


@dataclass(frozen=True)
class Recording:
    """A folder understood: what each of V cameras saw, which of its frames belong together, and what is known besides."""

    rig: CameraRig
    footage: tuple[Footage, ...]  # V, in the rig's order
    fps: float
    table: np.ndarray | None = (
        None  # (T, V) place of each moment in each footage, negative: not there; None: moment t is frame t everywhere
    )
    truth: Truth | None = None
    clock: np.ndarray | None = (
        None  # (T,) the moments' numbers in the whole recording, where some are left out
    )
    scored: np.ndarray | None = (
        None  # (T,) bool: moments at which the data set's protocol asks for scores
    )
    starts: tuple[int, ...] = (0,)  # moments at which time jumps


@dataclass(frozen=True)
class Place:
    """A folder, and what the user says about it."""

    folder: Path
    subject: str | int | None = None
    trial: str | None = None
    fps: float | None = None

    def inside(self, path: Path) -> Path:
        """`path`, if it really lies in the folder; a link that leads out of it is refused."""
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise ValueError(
                f"{path}: leads to {path.resolve()}, out of {self.folder}; only what lies in the folder is read: copy it there, "
                "or open the folder it lies in"
            )
        return path

    def calibration(self) -> Path:
        """The calibration's file in the folder or one level up."""
        found = find_calibration(self.folder)
        (
            self
            if found.absolute().is_relative_to(self.folder.absolute())
            else replace(self, folder=self.folder.absolute().parent)
        ).inside(found)
        return found

    def sources(self, folder: Path | None = None) -> dict[str, Path]:
        """{name: path} of the videos here or in a sub folder `videos`; where there are none, of the folders of videos or images."""
        places = (
            [self.folder, *(self.folder / name for name in SUBFOLDERS)]
            if folder is None
            else [folder]
        )
        places = [self.inside(place) for place in places if place.is_dir()]
        for place in places:
            if files := in_folder(place, VIDEO_SUFFIXES):
                return {
                    p.stem: self.inside(p)
                    for p in files
                    if self.trial is None or _word(self.trial).search(p.stem.lower())
                }
        for place in places:
            inner = [
                p
                for p in sorted(place.iterdir())
                if p.is_dir() and not p.name.startswith(".") and p.name not in SUBFOLDERS
            ]
            if folders := [p for p in inner if in_folder(p, VIDEO_SUFFIXES + IMAGE_SUFFIXES)]:
                for path in (
                    q for p in folders for q in [p, *in_folder(p, VIDEO_SUFFIXES + IMAGE_SUFFIXES)]
                ):
                    self.inside(path)
                return {p.name: p for p in folders}
        return {}

    def rig(self, calibration: Path, sources: Mapping[str, Path]) -> CameraRig:
        """The calibration; where its format holds no image size, that of the first source."""
        first = footage_of(next(iter(sources.values()))).wh if sources else None
        return load_calibration(calibration, first, self.subject)

    def rate(self, footage: Sequence[Footage]) -> float:
        """Frames per second: as the user says, or as the first footage does."""
        if not (fps := self.fps or footage[0].fps):
            raise ValueError(
                f"{self.folder}: {footage[0].path.name} says no frame rate; give it: fps=30, or --fps 30"
            )
        return float(fps)


# ---- sources and cameras -----------------------------------------------------------------------------------------
def _word(name: str) -> re.Pattern:
    return re.compile(rf"(?<![a-z0-9]){re.escape(name.lower())}(?![a-z0-9])")


def match_videos(
    files: dict[str, Path], names: Sequence[str], folder: Path, calibration: Path
) -> dict[str, Path | list[Path]]:
    """{camera name: its video or folder, or its parts}: the stem is the name, or holds it as a word of its own (`trial3_cam1.mp4`).

    Several videos of a camera are its parts if they differ only in the number of their first frame (`s1-d1-camera1-3500.mp4`).
    """
    fits = {
        name: [files[name]]
        if name in files
        else [p for stem, p in files.items() if _word(name).search(stem.lower())]
        for name in names
    }
    missing, taken = (
        [name for name in names if not fits[name]],
        {p for found in fits.values() for p in found},
    )
    if missing:
        raise ValueError(
            f"{folder}: no video for camera {', '.join(missing)} of {calibration}; expected {missing[0]}.mp4"
            + (f" (videos there: {', '.join(p.name for p in files.values())})" if files else "")
        )
    if several := next(
        (name for name in names if len(fits[name]) > 1 and not _parts(fits[name])), None
    ):
        raise ValueError(
            f"{folder}: {', '.join(p.name for p in fits[several])} could each be camera {several}; keep one recording a folder, "
            "or choose one by a word of its name: trial=..., --trial"
        )
    if extra := [p for p in files.values() if p not in taken]:
        raise ValueError(
            f"{folder}: video {extra[0].name} has no camera in {calibration} (it has {', '.join(names)}); rename the video or remove it"
        )
    return {name: found if len(found) > 1 else found[0] for name, found in fits.items()}


def _parts(paths: list[Path]) -> bool:
    """Do the names differ only in a last number, and is that the number of the first frame?"""
    if len({re.sub(r"\d+$", "", p.stem) for p in paths}) > 1 or any(
        p.is_dir() or last_number(p) is None for p in paths
    ):
        return False
    return Chunks(paths).says_first


def same_aspect(footage: Sequence[Footage], rig: CameraRig, calibration: Path) -> None:
    """Refuse videos of another shape than the calibrated images."""
    for video in footage:
        if video.wh != rig.wh and abs(video.wh[0] / video.wh[1] - rig.wh[0] / rig.wh[1]) > 0.01:
            raise ValueError(
                f"{video.path}: {video.wh[0]} x {video.wh[1]} pixels, but {calibration} was made for "
                f"{rig.wh[0]} x {rig.wh[1]}; a crop needs its own calibration"
            )


# ---- time --------------------------------------------------------------------------------------------------------
def places_of(numbers: np.ndarray, footage: Footage) -> np.ndarray:
    """Where frames with these numbers in the whole recording lie in a footage; -1: not there, or not a number."""
    have = getattr(footage, "numbers", np.arange(len(footage)))
    wanted = np.where(np.isfinite(numbers), numbers, -1).astype(np.int64)
    at = np.searchsorted(have, wanted).clip(0, len(have) - 1)
    return np.where(have[at] == wanted, at, -1)


def settled(
    found: Recording, place: Place, offsets: Mapping[str, int] | None, common: bool
) -> Recording:
    """The recording with its cameras' offsets, reduced to the moments that every camera saw.

    A camera with offset n is read n frames later: its frame t + n meets frame t of the others. `common`: videos of unequal length are
    cut to the stretch that all have, else they are refused.
    """
    lags, counts, truth = (
        _lags(found.rig, offsets, place),
        np.array([len(f) for f in found.footage]),
        found.truth,
    )
    table = found.table
    if table is None:
        if len(set(counts)) > 1 and len(set(counts - lags)) > 1 and not common:
            said = {f.path.name: len(f) for f in found.footage}
            short = "".join(
                f"; {f.path.name} promises {f.promised} and shows {len(f)}: it is truncated, or was cut without encoding it again; copy it once more"
                for f in found.footage
                if getattr(f, "promised", 0) > len(f)
            )
            raise ValueError(
                f"{place.folder}: the cameras differ in frames: {said}{short}; cut them to the same synchronized stretch, take the stretch "
                "that all have (common=True, --common), or say which one to read later (offsets, --offset cam=frames)"
            )
        table = np.repeat(np.arange(counts.max())[:, None], len(counts), 1)
    shifted = np.where(table < 0, -1, table + lags)
    good = ((shifted >= 0) & (shifted < counts)).all(1)
    if not good.any():
        raise ValueError(
            f"{place.folder}: no moment that all cameras saw; are the offsets and the table of synchronous frames of these videos?"
        )
    clock = (table[:, 0] if found.clock is None else found.clock)[good]
    steps = np.diff(clock)
    usual = max(1, np.median(steps)) if len(steps) else 1
    starts = (0, *(np.flatnonzero((steps > JUMP * usual) | (steps < usual / JUMP)) + 1).tolist())
    if truth is not None:
        if len(truth.positions) not in (len(good), good.sum()):
            raise ValueError(
                f"{place.folder / 'truth.npz'}: {len(truth.positions)} poses for {len(good)} frames; write one pose per frame"
            )
        if truth.marks is not None and truth.marks.shape[1] != found.rig.views:
            raise ValueError(
                f"{place.folder / 'truth.npz'}: marks in {truth.marks.shape[1]} views for {found.rig.views} cameras; NaN where there are none"
            )
        truth = truth.at(good) if len(truth.positions) == len(good) else truth
    whole = (
        good.all() and len(set(counts)) == 1 and (shifted == np.arange(len(good))[:, None]).all()
    )
    footage = (
        found.footage
        if whole
        else tuple(Picked(f, shifted[good, v]) for v, f in enumerate(found.footage))
    )
    return replace(
        found,
        footage=footage,
        table=None,
        truth=truth,
        clock=clock,
        starts=starts,
        scored=None if found.scored is None else found.scored[good],
    )


def _lags(rig: CameraRig, offsets: Mapping[str, int] | None, place: Place) -> np.ndarray:
    offsets = dict(offsets or {})
    if unknown := [name for name in offsets if name not in rig.names]:
        raise ValueError(
            f"{place.folder}: no camera {unknown[0]} to offset; the cameras are {', '.join(rig.names)}"
        )
    return np.array([int(offsets.get(name, 0)) for name in rig.names])


def whole(footage: Footage) -> Footage:
    """Refuse a chunked footage with a part missing."""
    return footage.whole() if isinstance(footage, Chunks) else footage


__all__ = [
    "Place",
    "Recording",
    "Stills",
    "Truth",
    "footage_of",
    "match_videos",
    "places_of",
    "same_aspect",
    "settled",
    "whole",
]
