"""Moments: which frames of the cameras belong together, and when they were taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ...cameras import CameraRig
from ..videos import Footage, SelectedFrames, Video
from .entry import Place, Recording, Truth
from .footage import Stills

JUMP = 1.5  # a step of time longer than so many usual ones, or as much shorter, is a jump


def indices_of(numbers: np.ndarray, footage: Footage) -> np.ndarray:
    """Where frames lie in a footage, by their numbers in the whole recording.

    Args:
        numbers: (T,) of the frames; NaN: none.
        footage: of one camera.

    Returns:
        (T,) indices; -1: not there, or not a number.
    """
    have = getattr(footage, "numbers", np.arange(len(footage)))
    wanted = np.where(np.isfinite(numbers), numbers, -1).astype(np.int64)
    at = np.searchsorted(have, wanted).clip(0, len(have) - 1)
    return np.where(have[at] == wanted, at, -1)


def common_numbers(footage: Sequence[Stills]) -> tuple[np.ndarray, np.ndarray]:
    """The numbers that images of all cameras carry.

    Args:
        footage: of each camera.

    Returns:
        Where they lie in each footage (T, V), and the numbers (T,).
    """
    common = set.intersection(*(set(stills.numbers.tolist()) for stills in footage))
    clock = np.array(sorted(common), np.int64)
    return np.stack([np.searchsorted(stills.numbers, clock) for stills in footage], 1), clock


def synchronized(
    recording: Recording, place: Place, offsets: Mapping[str, int] | None, common: bool
) -> Recording:
    """Apply the cameras' offsets, and reduce a recording to the moments that every camera has.

    Args:
        recording: as its layout was read.
        place: its folder, for messages.
        offsets: {camera: n}: a camera is read n frames later: its frame t + n meets frame t of the
            others.
        common: cut videos of unequal length to the stretch that all have, else refuse them.

    Returns:
        The recording without a table: moment t is frame t everywhere.

    Raises:
        ValueError: cameras differ in frames, have no common moment, or the truth does not fit.
    """
    lags = _lags(recording.rig, offsets, place)
    counts = np.array([len(f) for f in recording.footage])
    table = recording.table
    if table is None:
        if len(set(counts)) > 1 and len(set(counts - lags)) > 1 and not common:
            raise ValueError(_unequal(recording, place))
        table = np.repeat(np.arange(counts.max())[:, None], len(counts), 1)
    shifted = np.where(table < 0, -1, table + lags)
    good = np.asarray(((shifted >= 0) & (shifted < counts)).all(1))
    if not good.any():
        raise ValueError(
            f"{place.folder}: no moment that all cameras saw; are the offsets and the table of "
            "synchronous frames of these videos?"
        )
    clock = (table[:, 0] if recording.clock is None else recording.clock)[good]
    footage = recording.footage
    in_step = bool((shifted == np.arange(len(good))[:, None]).all())
    if not (good.all() and len(set(counts)) == 1 and in_step):
        footage = tuple(SelectedFrames(f, shifted[good, v]) for v, f in enumerate(footage))
    return replace(
        recording,
        footage=footage,
        table=None,
        truth=_truth_of(recording, good, place),
        clock=clock,
        starts=_starts(clock),
        scored=None if recording.scored is None else recording.scored[good],
        boxes=None if recording.boxes is None else recording.boxes[good],
    )


def _lags(rig: CameraRig, offsets: Mapping[str, int] | None, place: Place) -> np.ndarray:
    offsets = dict(offsets or {})
    if unknown := [name for name in offsets if name not in rig.names]:
        raise ValueError(
            f"{place.folder}: no camera {unknown[0]} to offset; "
            f"the cameras are {', '.join(rig.names)}"
        )
    return np.array([int(offsets.get(name, 0)) for name in rig.names])


def _unequal(recording: Recording, place: Place) -> str:
    """The message about cameras that differ in their frames."""
    counts = {f.path.name: len(f) for f in recording.footage}
    short = "".join(
        f"; {f.path.name} promises {f.promised} and shows {len(f)}: it is truncated, or was cut "
        "without encoding it again; copy it once more"
        for f in recording.footage
        if isinstance(f, Video) and f.promised > len(f)
    )
    return (
        f"{place.folder}: the cameras differ in frames: {counts}{short}; cut them to the same "
        "synchronized stretch, take the stretch that all have (common=True, --common), or say "
        "which one to read later (offsets, --offset cam=frames)"
    )


def _starts(clock: np.ndarray) -> tuple[int, ...]:
    """Moments at which time jumps."""
    steps = np.diff(clock)
    usual = max(1, np.median(steps)) if len(steps) else 1
    jumps = (steps > JUMP * usual) | (steps < usual / JUMP)
    return (0, *(np.flatnonzero(jumps) + 1).tolist())


def _truth_of(recording: Recording, good: np.ndarray, place: Place) -> Truth | None:
    """The truth at the good ones of (T,) moments."""
    if (truth := recording.truth) is None:
        return None
    path, poses = place.folder / "truth.npz", len(truth.positions)
    if poses not in (len(good), good.sum()):
        raise ValueError(f"{path}: {poses} poses for {len(good)} frames; write one pose per frame")
    if truth.marks is not None and truth.marks.shape[1] != recording.rig.views:
        raise ValueError(
            f"{path}: marks in {truth.marks.shape[1]} views for {recording.rig.views} cameras; "
            "NaN where there are none"
        )
    return truth.at(good) if poses == len(good) else truth
