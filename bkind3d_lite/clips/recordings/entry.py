"""What every layout is brought to, a `Recording`, and what they share on the way.

A `Place` with its files, matched to cameras; `moments` is about when they were recorded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...calibrations import find_calibration, load_calibration
from ...cameras import CameraRig
from ..videos import VIDEO_SUFFIXES, Footage
from .footage import IMAGE_SUFFIXES, JoinedVideos, are_images, footage_of, in_folder, one_of_each
from .matching import files_of, match_videos, word_of

SUBFOLDERS = ("videos", "Videos", "videos-raw", "images", "Images", "imgs", "frames")


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
    # (T,) which film each moment is of, where several are joined; numbers and times are its own.
    film: np.ndarray | None = None
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
    cameras: tuple[str, ...] | None = None  # of the calibrated ones; None: all

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

        Or the images of all cameras side by side in one folder. Videos that lie here and in a sub
        folder are taken together.

        Args:
            folder: to look into instead.

        Returns:
            {name: path} of the videos, of the folders of videos or images, or of images.

        Raises:
            ValueError: two of them could be the same camera.
        """
        homes = [self.folder, *(self.folder / name for name in SUBFOLDERS)]
        folders = homes if folder is None else [folder]
        folders = [self.inside(f) for f in folders if f.is_dir()]
        videos = [self._videos_in(home) for home in folders]
        cameras = [{p.name: p for p, files in _inner_folders(f) if files} for f in folders]
        found = [some for some in (*videos, *cameras) if some] or [self._images_in(folders)]
        first, films = found[0], sum(map(bool, videos))
        for n, other in enumerate(found[1:], 1):
            if twice := [name for name in first if name in other]:
                pair = [str(s[twice[0]].relative_to(self.folder)) for s in (first, other)]
                raise ValueError(
                    f"{self.folder}: {' and '.join(pair)} could each be camera {twice[0]}; "
                    "keep one of them in the folder"
                )
            if n < films:  # a video beside them hides no videos
                first = first | other
        for path in first.values():
            for inner in (path, *(_files_in(path) if path.is_dir() else ())):
                self.inside(inner)
        return first

    def _images_in(self, folders: Sequence[Path]) -> dict[str, Path]:
        """Images side by side, of the one folder that has some."""
        homes = [images for f in folders if (images := in_folder(f, IMAGE_SUFFIXES))]
        if len(homes) > 1:
            pair = [str(images[0].relative_to(self.folder)) for images in homes[:2]]
            raise ValueError(
                f"{self.folder}: images lie in {len(homes)} places, {' and '.join(pair)} could "
                "each be of a camera; keep those of one folder"
            )
        return {p.stem: p for images in homes for p in one_of_each(images)}

    def _videos_in(self, home: Path) -> dict[str, Path]:
        videos = [p for p in in_folder(home, VIDEO_SUFFIXES) if self._of_trial(p)]
        return {p.stem: p for p in one_of_each(videos)}

    def _of_trial(self, video: Path) -> bool:
        return self.trial is None or bool(word_of(self.trial).search(video.stem.lower()))

    def rig(self, calibration: Path, sources: Mapping[str, Path]) -> CameraRig:
        """Read the calibration; where its format holds no image sizes, those of the sources.

        Args:
            calibration: its file.
            sources: {name: path} of videos or folders.

        Returns:
            The cameras; of the whole rig those that were chosen.
        """

        def wh(name: str) -> tuple[int, int] | None:
            fits = files_of(name, sources) or list(sources.values())[:1]
            return footage_of(fits if are_images(fits) else fits[0]).wh if fits else None

        return self.chosen(load_calibration(calibration, wh, self.subject), calibration)

    def chosen(self, rig: CameraRig, calibration: Path) -> CameraRig:
        """The cameras that were chosen, in the calibration's order.

        Args:
            rig: all of them.
            calibration: its file, for the message.

        Returns:
            A rig of at least two.

        Raises:
            ValueError: the calibration has no such camera, or fewer than two are left.
        """
        if self.cameras is None:
            return rig
        if unknown := [name for name in self.cameras if name not in rig.names]:
            raise ValueError(
                f"{calibration}: no camera {', '.join(unknown)}; it has {', '.join(rig.names)}"
            )
        if len(set(self.cameras)) < 2:
            raise ValueError(
                f"{self.folder}: camera {self.cameras[0] if self.cameras else 'none'} alone was "
                "chosen; at least 2 views are needed for 3D"
            )
        return rig.take([v for v, name in enumerate(rig.names) if name in self.cameras])

    def places(self, rig: CameraRig, calibration: Path) -> list[int]:
        """Where the chosen cameras stand among all of the calibration.

        Args:
            rig: the chosen cameras.
            calibration: its file.

        Returns:
            Their numbers, (V).
        """
        if self.cameras is None:
            return list(range(rig.views))
        names = load_calibration(calibration, rig.wh, self.subject).names
        return [names.index(name) for name in rig.names]

    def matched(
        self, sources: dict[str, Path], rig: CameraRig, calibration: Path
    ) -> dict[str, Path | list[Path]]:
        """Which source belongs to which camera, as `match_videos`.

        Args:
            sources: {name: path} of videos or folders.
            rig: the cameras.
            calibration: its file, for messages.

        Returns:
            {camera's name: its video or folder, or its parts}.
        """
        some = self.cameras is not None
        return match_videos(sources, rig.names, self.folder, calibration, some=some)

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


def whole(footage: Footage) -> Footage:
    """Refuse joined videos with a part missing.

    Args:
        footage: of one camera.

    Returns:
        The same.
    """
    return footage.whole() if isinstance(footage, JoinedVideos) else footage
