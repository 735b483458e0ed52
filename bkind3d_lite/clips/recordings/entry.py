"""What every layout is brought to, a `Recording`, and what they share on the way.

A `Place` with its files, matched to cameras; `moments` is about when they were recorded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...calibrations import find_calibration, load_calibration
from ...cameras import CameraRig
from ..videos import VIDEO_SUFFIXES, Footage
from .footage import IMAGE_SUFFIXES, JoinedVideos, footage_of, in_folder, last_number, one_of_each

SUBFOLDERS = ("videos", "Videos", "videos-raw")


@dataclass(frozen=True)
class Truth:
    """Positions (T, J, 3) in the rig's unit, NaN where nobody labelled, with names and bones.

    `edges` (E, 2) are the bones. `marks` (T, V, J, 2): where the joints were marked in each view
    of the rig, in pixels whose first one has its centre at (0.5, 0.5), NaN where not.
    """

    positions: np.ndarray
    names: tuple[str, ...]
    edges: tuple[tuple[int, int], ...] = ()
    body_length: float | None = None
    marks: np.ndarray | None = None

    def at(self, chosen: np.ndarray) -> Truth:
        """The truth of some moments.

        Args:
            chosen: (T,) bool.

        Returns:
            Truth of those that are chosen.
        """
        marks = None if self.marks is None else self.marks[chosen]
        return replace(self, positions=self.positions[chosen], marks=marks)


@dataclass(frozen=True)
class Recording:
    """A folder understood: what V cameras recorded, and which of its frames belong together."""

    rig: CameraRig
    footage: tuple[Footage, ...]  # V, in the rig's order
    fps: float
    # (T, V) place of each moment in each footage, negative: not there; None: moment t is frame t
    # everywhere.
    table: np.ndarray | None = None
    truth: Truth | None = None
    # (T,) the moments' numbers in the whole recording, where some are left out.
    clock: np.ndarray | None = None
    # (T,) bool: moments at which the data set's protocol asks for scores.
    scored: np.ndarray | None = None
    starts: tuple[int, ...] = (0,)  # moments at which time jumps
    boxes: np.ndarray | None = None  # (T, 4) x, y, w, h of the animal, of one uncalibrated camera
    seconds: np.ndarray | None = None  # (T,) when the moments were, from frame 0 on


@dataclass(frozen=True)
class Place:
    """A folder, and what the user says about it."""

    folder: Path
    subject: str | int | None = None
    trial: str | None = None
    fps: float | None = None
    one_camera: bool = False  # all that lies there is of one uncalibrated camera,
    file: Path | None = None  # or this video alone

    def inside(self, path: Path) -> Path:
        """Refuse a link that leads out of the folder.

        Args:
            path: a file or folder in it.

        Returns:
            `path`, if it really lies there.

        Raises:
            ValueError: it does not.
        """
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise ValueError(
                f"{path}: leads to {path.resolve()}, out of {self.folder}; only what lies in the "
                "folder is read: copy it there, or open the folder it lies in"
            )
        return path

    def calibration(self) -> Path:
        """The calibration's file in the folder or one level up."""
        path, here = find_calibration(self.folder), self.folder.absolute()
        home = self if path.absolute().is_relative_to(here) else replace(self, folder=here.parent)
        return home.inside(path)

    def sources(self, folder: Path | None = None) -> dict[str, Path]:
        """Find the videos here or in a sub folder `videos`; where there are none, the folders.

        Args:
            folder: to look into instead.

        Returns:
            {name: path} of the videos, or of the folders of videos or images.

        Raises:
            ValueError: two of them could be the same camera.
        """
        here = [self.folder, *(self.folder / name for name in SUBFOLDERS)]
        folders = here if folder is None else [folder]
        folders = [self.inside(f) for f in folders if f.is_dir()]
        videos = [self._videos_in(home) for home in folders]
        cameras = [{p.name: p for p, files in _inner_folders(f) if files} for f in folders]
        first, *others = [found for found in (*videos, *cameras) if found] or [{}]
        for other in others:
            if twice := [name for name in first if name in other]:
                pair = [str(s[twice[0]].relative_to(self.folder)) for s in (first, other)]
                raise ValueError(
                    f"{self.folder}: {' and '.join(pair)} could each be camera {twice[0]}; "
                    "keep one of them in the folder"
                )
        for path in first.values():
            for inner in (path, *(_files_in(path) if path.is_dir() else ())):
                self.inside(inner)
        return first

    def _videos_in(self, home: Path) -> dict[str, Path]:
        videos = [p for p in in_folder(home, VIDEO_SUFFIXES) if self._of_trial(p)]
        return {p.stem: p for p in one_of_each(videos)}

    def _of_trial(self, video: Path) -> bool:
        return self.trial is None or bool(_word(self.trial).search(video.stem.lower()))

    def rig(self, calibration: Path, sources: Mapping[str, Path]) -> CameraRig:
        """Read the calibration; where its format holds no image size, that of the first source.

        Args:
            calibration: its file.
            sources: {name: path} of videos or folders.

        Returns:
            The cameras.
        """
        first = footage_of(next(iter(sources.values()))).wh if sources else None
        return load_calibration(calibration, first, self.subject)

    def rate(self, footage: Sequence[Footage]) -> float:
        """Frames per second: as the user says, or as the first footage does.

        Args:
            footage: of each camera.

        Returns:
            The rate.

        Raises:
            ValueError: neither says one.
        """
        if not (fps := self.fps or footage[0].fps):
            raise ValueError(
                f"{self.folder}: {footage[0].path.name} says no frame rate; "
                "give it: fps=30, or --fps 30"
            )
        return float(fps)


def _inner_folders(home: Path) -> Iterator[tuple[Path, list[Path]]]:
    """The folders in a folder, with their videos and images."""
    for path in sorted(home.iterdir()):
        if path.is_dir() and not path.name.startswith(".") and path.name not in SUBFOLDERS:
            yield path, _files_in(path)


def _files_in(folder: Path) -> list[Path]:
    return in_folder(folder, VIDEO_SUFFIXES + IMAGE_SUFFIXES)


# ---- sources and cameras -------------------------------------------------------------------------
def _word(name: str) -> re.Pattern:
    return re.compile(rf"(?<![a-z0-9]){re.escape(name.lower())}(?![a-z0-9])")


def match_videos(
    files: dict[str, Path], names: Sequence[str], folder: Path, calibration: Path
) -> dict[str, Path | list[Path]]:
    """Which file belongs to which camera.

    Its stem is the camera's name, or holds it as a word of its own (`trial3_cam1.mp4`). Several
    videos of a camera are its parts if they differ only in the number of their first frame
    (`s1-d1-camera1-3500.mp4`).

    Args:
        files: {stem: path} of videos or folders.
        names: of the cameras.
        folder: of the recording, for messages.
        calibration: its file, for messages.

    Returns:
        {camera's name: its video or folder, or its parts}.

    Raises:
        ValueError: a camera has no video or several, or a video no camera.
    """
    fits = {name: _files_of(name, files) for name in names}
    if missing := [name for name in names if not fits[name]]:
        there = f" (videos there: {', '.join(p.name for p in files.values())})" if files else ""
        raise ValueError(
            f"{folder}: no video for camera {', '.join(missing)} of {calibration}; "
            f"expected {missing[0]}.mp4{there}"
        )
    several = [name for name in names if len(fits[name]) > 1 and not _are_parts(fits[name])]
    if several:
        raise ValueError(
            f"{folder}: {', '.join(p.name for p in fits[several[0]])} could each be camera "
            f"{several[0]}; keep one recording a folder, or choose one by a word of its name: "
            "trial=..., --trial"
        )
    taken = {p for paths in fits.values() for p in paths}
    if extra := [p for p in files.values() if p not in taken]:
        raise ValueError(
            f"{folder}: video {extra[0].name} has no camera in {calibration} "
            f"(it has {', '.join(names)}); rename the video or remove it"
        )
    return {name: paths if len(paths) > 1 else paths[0] for name, paths in fits.items()}


def _files_of(camera: str, files: dict[str, Path]) -> list[Path]:
    if camera in files:
        return [files[camera]]
    return [path for stem, path in files.items() if _word(camera).search(stem.lower())]


def _are_parts(paths: list[Path]) -> bool:
    """Do the names differ only in a last number, and is that the number of the first frame?"""
    if len({re.sub(r"\d+$", "", p.stem) for p in paths}) > 1:
        return False
    if any(p.is_dir() or last_number(p) is None for p in paths):
        return False
    return JoinedVideos(paths).numbered


def same_aspect(footage: Sequence[Footage], rig: CameraRig, calibration: Path) -> None:
    """Refuse videos of another shape than the calibrated images.

    Args:
        footage: of each camera.
        rig: the calibrated cameras.
        calibration: its file, for the message.

    Raises:
        ValueError: the aspect of a video differs by more than 0.01.
    """
    for video in footage:
        if video.wh != rig.wh and abs(video.wh[0] / video.wh[1] - rig.wh[0] / rig.wh[1]) > 0.01:
            raise ValueError(
                f"{video.path}: {video.wh[0]} x {video.wh[1]} pixels, but {calibration} was made "
                f"for {rig.wh[0]} x {rig.wh[1]}; a crop needs its own calibration"
            )


def whole(footage: Footage) -> Footage:
    """Refuse joined videos with a part missing.

    Args:
        footage: of one camera.

    Returns:
        The same.
    """
    return footage.whole() if isinstance(footage, JoinedVideos) else footage
