"""Rat7M (Dunn et al. 2021): `mocap-s1-d1.mat` with cameras and markers, and videos in parts.

`s1-d1-camera1-0.mp4`, `s1-d1-camera1-3500.mp4` and on lie here or in `videos`.
`cameras.Camera1.frame` says which frame of that camera belongs to which sample of the motion
capture. A moment is a frame of the first camera. Subjects 1 to 4 train, subject 5 tests on every
240th frame (Sun et al. 2023, section 4).
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...calibrations.isolated_parser import arrays
from .entry import Place, Recording, Truth
from .footage import footage_of
from .matching import fitted
from .moments import indices_of

TRAIN, TEST, EVERY = (1, 2, 3, 4), (5,), 240  # subjects, and which frames are scored
NAME = re.compile(r"mocap-s(\d{1,4})-d(\d{1,4})$")


def _sessions(folder: Path) -> dict[str, tuple[int, Path]]:
    """{session ("s1-d1"): its subject and its file}."""
    paths = sorted(folder.glob("mocap-s*-d*.mat")) if folder.is_dir() else []
    matches = ((NAME.match(path.stem), path) for path in paths)
    return {p.stem.removeprefix("mocap-"): (int(match[1]), p) for match, p in matches if match}


def recognises(place: Place) -> bool:
    """A file of motion capture in the folder.

    Args:
        place: the folder.

    Returns:
        Whether one is there.
    """
    return bool(_sessions(place.folder))


def read(place: Place) -> Recording:
    """One session: all moments that lie in the parts which are there; the markers as truth.

    Args:
        place: the folder.

    Returns:
        The recording.

    Raises:
        ValueError: several sessions and none chosen, or a camera without frame numbers.
    """
    sessions = _sessions(place.folder)
    chosen = next(iter(sessions)) if len(sessions) == 1 else place.trial
    if chosen not in sessions:
        raise ValueError(
            f"{place.folder}: sessions {', '.join(sessions)}; choose one of them: "
            f"trial='{next(iter(sessions))}', --trial"
        )
    subject, path = sessions[chosen]
    path, place = place.inside(path), replace(place, trial=chosen)
    sources = place.sources()
    rig = place.rig(path, sources)
    paths = place.matched(sources, rig, path)
    films = [footage_of(_in_parts(paths[name])) for name in rig.names]
    footage = fitted(films, rig, path)
    data = arrays(path, ("cameras", "mocap"))
    frames = _frame_numbers(data, rig.names, path)
    # Motion capture may be faster than the cameras.
    new = np.append(True, np.diff(frames[:, 0]) != 0)
    truth = _markers(data, len(frames), new)
    frames = frames[new]
    first = frames[:, 0]
    return Recording(
        rig=rig,
        footage=footage,
        fps=place.rate(footage),
        table=np.stack([indices_of(frames[:, v], f) for v, f in enumerate(footage)], 1),
        truth=truth,
        clock=np.nan_to_num(first, nan=-1),
        scored=first % EVERY == 0 if subject in TEST else None,
    )


def _in_parts(source: Path | list[Path]) -> Path | list[Path]:
    """A single video is a part like others: its name says where it begins."""
    return [source] if isinstance(source, Path) and not source.is_dir() else source


def _frame_numbers(data: dict[str, np.ndarray], cameras: tuple[str, ...], path: Path) -> np.ndarray:
    """Which frame of each camera belongs to each sample, (T, V)."""
    if missing := [name for name in cameras if f"cameras/{name}/frame" not in data]:
        raise ValueError(
            f"{path}: no frame numbers for {', '.join(missing)}; "
            f"Rat7M's files have cameras.{missing[0]}.frame"
        )
    return np.stack([data[f"cameras/{name}/frame"].astype(float).ravel() for name in cameras], 1)


def _markers(data: dict[str, np.ndarray], samples: int, new: np.ndarray) -> Truth | None:
    """The markers at the `new` ones of (T,) samples."""
    markers = {
        key.removeprefix("mocap/"): values
        for key, values in data.items()
        if key.startswith("mocap/") and values.size == 3 * samples
    }
    if not markers:
        return None
    positions = np.stack([values.reshape(-1, 3) for values in markers.values()], 1)
    return Truth(positions[new].astype(np.float32), tuple(markers))


def sequences(root: Path) -> list[tuple[int, dict[str, Any]]]:
    """Every session in a folder or in folders of it.

    Args:
        root: of the data set.

    Returns:
        (subject, what `open_clip` wants) of each.
    """
    if not root.is_dir():
        return []
    return [
        (subject, dict(folder=path.parent, trial=trial))
        for folder in (root, *sorted(p for p in root.iterdir() if p.is_dir()))
        for trial, (subject, path) in _sessions(folder).items()
    ]
