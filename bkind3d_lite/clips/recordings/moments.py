"""Moments: which frames of the cameras belong together, and when they were taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ...cameras import CameraRig
from ..videos import Footage, SelectedFrames, Video
from .entry import Place, Recording, Truth
from .footage import Stills

TWO_RATES = 1.02  # rates that differ by this factor are two
STALL = 0.75  # usual steps: a frame so far from a moment does not show it
EVEN = 0.05, 1e-3  # usual steps, seconds: times so near to an even grid are on it
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
    recording: Recording,
    place: Place,
    offsets: Mapping[str, int] | None,
    common: bool,
    resample: bool = False,
) -> Recording:
    """Apply the cameras' offsets, and reduce a recording to the moments that every camera has.

    Args:
        recording: as its layout was read.
        place: its folder, for messages.
        offsets: {camera: n}: a camera's frame t + n meets frame t of the others.
        common: cut videos of unequal length to the stretch that all have, else refuse them.
        resample: moments are those of the slowest camera, and of each camera the frame that is
            nearest in time.

    Returns:
        The recording without a table: moment t is frame t everywhere. It knows their times.

    Raises:
        ValueError: no moment that all have, cameras differ, or the truth does not fit.
    """
    lags = _lags(recording.rig, offsets, place)
    counts = np.array([len(f) for f in recording.footage])
    if resample:
        recording, lags = _resampled(recording, lags, place), np.zeros_like(lags)
    if (table := recording.table) is None:
        _refuse_unequal(recording, place, lags, common)
        table = np.repeat(np.arange(counts.max())[:, None], len(counts), 1)
    shifted = np.where(table < 0, -1, table + lags)
    good = _seen_by_all(shifted, counts, place)
    clock = (table[:, 0] if recording.clock is None else recording.clock)[good]
    recording = replace(recording, film=None if recording.film is None else recording.film[good])
    footage, indices = recording.footage, None if resample else shifted[good]
    in_step = (shifted == np.arange(len(good))[:, None]).all()
    if not (in_step and (counts == len(good)).all()):
        rate = recording.fps if resample else None
        footage = tuple(SelectedFrames(f, shifted[good, v], rate) for v, f in enumerate(footage))
    return replace(
        recording,
        footage=footage,
        table=None,
        truth=_truth_of(recording, good, place),
        clock=clock,
        starts=_starts(clock, recording.film),
        scored=None if recording.scored is None else recording.scored[good],
        boxes=None if recording.boxes is None else recording.boxes[good],
        seconds=_seconds(recording, place, clock, indices, int(np.argmin(np.abs(lags)))),
    )


def _seen_by_all(table: np.ndarray, counts: np.ndarray, place: Place) -> np.ndarray:
    """Moments of (T, V) that every camera has, (T,) bool; refused if there is none."""
    good = np.asarray(((table >= 0) & (table < counts)).all(1))
    if not good.any():
        raise ValueError(
            f"{place.folder}: no moment that all cameras saw; are the offsets and the table of "
            "synchronous frames of these videos?"
        )
    return good


def _refuse_unequal(recording: Recording, place: Place, lags: np.ndarray, common: bool) -> None:
    """Refuse films of two rates, and of unequal length unless they are to be cut.

    Rates may differ where the user says the true one and films are equally long.
    """
    films = recording.footage
    counts = np.array([len(film) for film in films])
    rates = {name: film.fps for name, film in zip(recording.rig.names, films) if film.fps}
    told = place.fps is not None and len(set(counts)) == 1
    if rates and not told and max(rates.values()) > TWO_RATES * min(rates.values()):
        words = ", ".join(f"{name} {fps:.4g}" for name, fps in rates.items())
        raise ValueError(
            f"{place.folder}: two frame rates ({words} frames per second), so frame t is not one "
            "moment; take of each camera the frames nearest in time (resample=True, --resample), "
            "or encode the videos at one rate. If they were triggered together and only their "
            "headers differ, say the true rate (fps=..., --fps)"
        )
    if len(set(counts)) > 1 and len(set(counts - lags)) > 1 and not common:
        raise ValueError(_unequal(recording, place))


def _resampled(recording: Recording, lags: np.ndarray, place: Place) -> Recording:
    """The recording at its slowest camera's rate, by a table of the frames nearest in time."""
    table, ends, times = [], [], []
    for film, lag in zip(recording.footage, lags.tolist()):
        if (seconds := _times(film)) is None or len(film) < 2:
            raise ValueError(
                f"{place.folder}: {film.path.name} tells no times to resample by; encode the "
                "videos at one rate"
            )
        zero = seconds[min(lag, len(film) - 1)] if lag >= 0 else lag / film.fps
        times.append(seconds - zero)
        ends.append(times[-1][-1])
    rate = place.fps or min(film.fps for film in recording.footage)
    moments = np.arange(max(0, int(min(ends) * rate + STALL)) + 1) / rate
    for film, at in zip(recording.footage, times):
        after = np.searchsorted(at, moments).clip(1, len(at) - 1)
        nearest = after - (moments - at[after - 1] <= at[after] - moments)
        near = np.abs(at[nearest] - moments) <= STALL / film.fps
        table.append(np.where(near, nearest, -1))
    return replace(recording, table=np.stack(table, 1), clock=None, fps=float(rate))


def _seconds(
    recording: Recording, place: Place, clock: np.ndarray, indices: np.ndarray | None, view: int
) -> np.ndarray:
    """When each of T moments was, (T,) seconds.

    The nearest numbers are 1 / fps apart; where the film of a camera stalls or jitters, these are
    its own times. Of one camera's films, each begins at 0.

    clock: (T,) numbers. indices: (T, V) of the frames, None: the clock made the moments. view: of a
    camera without offset.
    """
    even, film = clock / (recording.fps * _step(clock)), recording.footage[view]
    if recording.film is not None:
        begin, part = np.unique(recording.film, return_index=True, return_inverse=True)[1:]
        parts = [clock[part == n] - clock[first] for n, first in enumerate(begin)]
        even = np.concatenate(parts) / (recording.fps * min(map(_step, parts)))
    if indices is None or (seconds := _times(film)) is None:
        return even
    own = seconds[indices[:, view]] * (film.fps / place.fps if place.fps else 1.0)
    away = np.abs((own - own[0]) - (even - even[0])).max()
    return even if away <= max(EVEN[0] / recording.fps, EVEN[1]) else own


def _step(clock: np.ndarray) -> float:
    """How far the numbers (T,) of neighbours are apart, of those that are nearest."""
    ahead = np.diff(clock)
    return float(ahead[ahead > 0].min()) if (ahead > 0).any() else 1.0


def _times(film: Footage) -> np.ndarray | None:
    """Presentation times, where the file has them and nothing is missing between its parts."""
    numbers = getattr(film, "numbers", np.zeros(0))
    return film.seconds if film.fps and (np.diff(numbers) == 1).all() else None


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


def _starts(clock: np.ndarray, film: np.ndarray | None) -> tuple[int, ...]:
    """Moments at which time jumps, or another film begins."""
    steps, border = np.diff(clock), np.diff(np.zeros(len(clock)) if film is None else film) != 0
    inner = np.sort(steps[~border])
    usual = max(1, inner[(len(inner) - 1) // 2]) if len(inner) else 1  # a step that occurs
    jumps = border | (steps > JUMP * usual) | (steps < usual / JUMP)
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
