"""Rat7M (Dunn et al. 2021): `mocap-s1-d1.mat` with cameras and markers, `s1-d1-camera1-0.mp4`, `s1-d1-camera1-3500.mp4` and on, here or in `videos`.

`cameras.Camera1.frame` says which frame of that camera belongs to which sample of the motion capture. A moment is a frame of the first camera.
Subjects 1 to 4 train, subject 5 tests on every 240th frame (Sun et al. 2023, section 4).
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...calibrations.isolated_parser import arrays
from .entry import Place, Recording, Truth, footage_of, match_videos, places_of, same_aspect

TRAIN, TEST, EVERY = (1, 2, 3, 4), (5,), 240
NAME = re.compile(r"mocap-s(\d{1,4})-d(\d{1,4})$")


def _files(folder: Path) -> list[Path]:
    return (
        sorted(p for p in folder.glob("mocap-s*-d*.mat") if NAME.match(p.stem))
        if folder.is_dir()
        else []
    )


def recognises(place: Place) -> bool:
    """A file of motion capture in the folder."""
    return bool(_files(place.folder))


def read(place: Place) -> Recording:
    """One session: all moments that lie in the parts which are there; the markers as truth."""
    sessions = {p.stem.removeprefix("mocap-"): p for p in _files(place.folder)}
    chosen = next(iter(sessions)) if len(sessions) == 1 else place.trial
    if chosen not in sessions:
        raise ValueError(
            f"{place.folder}: sessions {', '.join(sessions)}; choose one of them: trial='{next(iter(sessions))}', --trial"
        )
    path, place = place.inside(sessions[chosen]), replace(place, trial=chosen)
    sources = place.sources()
    rig = place.rig(path, sources)
    paths = match_videos(sources, rig.names, place.folder, path)
    footage = tuple(
        footage_of([found] if isinstance(found, Path) and not found.is_dir() else found)
        for found in (paths[name] for name in rig.names)
    )
    same_aspect(footage, rig, path)
    data = arrays(path, ("cameras", "mocap"))
    if missing := [name for name in rig.names if f"cameras/{name}/frame" not in data]:
        raise ValueError(
            f"{path}: no frame numbers for {', '.join(missing)}; Rat7M's files have cameras.{missing[0]}.frame"
        )
    frames = np.stack(
        [data[f"cameras/{name}/frame"].astype(float).ravel() for name in rig.names], 1
    )
    markers = {
        key.removeprefix("mocap/"): data[key]
        for key in data
        if key.startswith("mocap/") and data[key].size == 3 * len(frames)
    }
    new = np.append(
        True, np.diff(frames[:, 0]) != 0
    )  # motion capture may be faster than the cameras
    frames = frames[new]
    table = np.stack([places_of(frames[:, v], f) for v, f in enumerate(footage)], 1)
    truth = (
        Truth(
            np.stack([m.reshape(-1, 3) for m in markers.values()], 1)[new].astype(np.float32),
            tuple(markers),
        )
        if markers
        else None
    )
    tested = int(NAME.match(path.stem)[1]) in TEST
    return Recording(
        rig,
        footage,
        place.rate(footage),
        table,
        truth,
        np.nan_to_num(frames[:, 0], nan=-1),
        frames[:, 0] % EVERY == 0 if tested else None,
    )


def sequences(root: Path) -> list[tuple[int, dict]]:
    """(subject, what `open_clip` wants) of every session in the folder or in folders of it."""
    found = (
        [
            p
            for folder in (root, *sorted(p for p in root.iterdir() if p.is_dir()))
            for p in _files(folder)
        ]
        if root.is_dir()
        else []
    )
    return [
        (int(NAME.match(p.stem)[1]), dict(folder=p.parent, trial=p.stem.removeprefix("mocap-")))
        for p in found
    ]
