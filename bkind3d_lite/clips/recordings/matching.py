"""Matching: which file belongs to which camera, and whether its pictures are those calibrated."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...cameras import CameraRig
from ..videos import Footage
from .footage import JoinedVideos, are_images, last_number

MOST_LISTED = 6  # kinds of files that a message names
SIDEWAYS = 0.01  # of width / height, that a video may differ from its calibration's


def word_of(name: str) -> re.Pattern:
    """What finds a name as a word of its own in a lower-case text.

    Args:
        name: of a camera or trial.

    Returns:
        The pattern.
    """
    return re.compile(rf"(?<![a-z0-9]){re.escape(name.lower())}(?![a-z0-9])")


def match_videos(
    files: dict[str, Path],
    names: Sequence[str],
    folder: Path,
    calibration: Path,
    *,
    some: bool = False,
) -> dict[str, Path | list[Path]]:
    """Which file belongs to which camera.

    Its stem is the camera's name, or holds it as a word of its own (`trial3_cam1.mp4`). Several
    videos of a camera are its parts if they differ only in the number of their first frame
    (`s1-d1-camera1-3500.mp4`); several images are its sequence.

    Args:
        files: {stem: path} of videos, folders or images.
        names: of the cameras.
        folder: of the recording, for messages.
        calibration: its file, for messages.
        some: these are not all of the calibrated cameras; files of others are left alone.

    Returns:
        {camera's name: its video or folder, or its parts}.

    Raises:
        ValueError: a camera has no video or several, or a video no camera.
    """
    fits = {name: files_of(name, files) for name in names}
    if are_images(list(files.values())):
        fits = _first_named(fits)
    if missing := [name for name in names if not fits[name]]:
        raise ValueError(_missing(missing, fits, files, folder, calibration))
    several = [name for name in names if len(fits[name]) > 1 and not _are_parts(fits[name])]
    if several:
        raise ValueError(
            f"{folder}: {', '.join(p.name for p in fits[several[0]])} could each be camera "
            f"{several[0]}; keep one recording a folder, or choose one by a word of its name: "
            "trial=..., --trial"
        )
    owners = Counter(p for paths in fits.values() for p in paths)
    if twice := [p for p, count in owners.items() if count > 1]:
        both = " or ".join(name for name in names if twice[0] in fits[name])
        raise ValueError(f"{twice[0]}: could be camera {both}; give it the name of one")
    if (extra := [p for p in files.values() if p not in owners]) and not some:
        raise ValueError(
            f"{folder}: video {extra[0].name} has no camera in {calibration} "
            f"(it has {', '.join(names)}); rename the video or remove it, or choose a recording "
            f"by a word of its name (--trial), or these cameras (--cameras {' '.join(names)})"
        )
    return {name: paths if len(paths) > 1 else paths[0] for name, paths in fits.items()}


def _missing(
    missing: list[str],
    fits: Mapping[str, list[Path]],
    files: dict[str, Path],
    folder: Path,
    calibration: Path,
) -> str:
    """The message about cameras without a video: what lies there, and how to do without."""
    use = [name for name in fits if fits[name]]
    some = f"; to use those that are there: --cameras {' '.join(use)}" if len(use) > 1 else ""
    return (
        f"{folder}: no video for camera {', '.join(missing)} of {calibration}; "
        f"expected {missing[0]}.mp4 ({_there(files, folder)}){some}"
    )


def files_of(camera: str, files: Mapping[str, Path]) -> list[Path]:
    """Files whose name is a camera's, or holds it as a word.

    Args:
        camera: its name.
        files: {stem: path}.

    Returns:
        Their paths.
    """
    if camera in files:
        return [files[camera]]
    word = word_of(camera)
    return [path for stem, path in files.items() if word.search(stem.lower())]


def _first_named(fits: dict[str, list[Path]]) -> dict[str, list[Path]]:
    """Images side by side: each belongs to the camera that its name says first (02_01: to 02)."""

    def place(camera: str, path: Path) -> tuple[int, int]:
        match = word_of(camera).search(path.stem.lower())
        return (match.start() if match else len(path.stem), -len(camera))

    owner = {
        path: min((c for c in fits if path in fits[c]), key=lambda c: place(c, path))
        for paths in fits.values()
        for path in paths
    }
    return {camera: [p for p in paths if owner[p] == camera] for camera, paths in fits.items()}


def _there(files: dict[str, Path], folder: Path) -> str:
    """What lies in a folder instead of what was expected."""
    if files:
        shown = [p.name for p in files.values()]
        more = f" and {len(shown) - MOST_LISTED} more" if len(shown) > MOST_LISTED else ""
        return f"videos there: {', '.join(shown[:MOST_LISTED])}{more}"
    inside = [p for p in sorted(folder.iterdir()) if not p.name.startswith(".")]
    kinds = Counter(p.suffix.lower() or p.name for p in inside if p.is_file())
    folders = [f"{p.name}/" for p in inside if p.is_dir()]
    seen = [f"{count} {kind}" for kind, count in kinds.most_common(MOST_LISTED)]
    there = ", ".join(seen + folders[:MOST_LISTED])
    return f"there lie {there}: no videos or pictures of a kind that is read (docs/formats.md)"


def _are_parts(paths: list[Path]) -> bool:
    """Do the names differ only in a last number, and is that the number of the first frame?"""
    if are_images(paths):
        return True
    if len({re.sub(r"\d+$", "", p.stem) for p in paths}) > 1:
        return False
    if any(p.is_dir() or last_number(p) is None for p in paths):
        return False
    return JoinedVideos(paths).numbered


def fitted(footage: Sequence[Footage], rig: CameraRig, calibration: Path) -> tuple[Footage, ...]:
    """The footage as its cameras were calibrated: as it is to be shown, else as it is stored.

    Args:
        footage: of each camera.
        rig: the calibrated cameras.
        calibration: its file, for the message.

    Returns:
        One for each camera.

    """
    sizes = rig.sizes or (rig.wh,) * rig.views
    return tuple(
        fitted_to(film, name, wh, calibration) for film, name, wh in zip(footage, rig.names, sizes)
    )


def fitted_to(film: Footage, name: str, wh: tuple[int, int], calibration: Path) -> Footage:
    """One camera's footage as it was calibrated.

    Args:
        film: what it recorded.
        name: the camera's.
        wh: (W, H) in pixels of the images that it was calibrated on.
        calibration: its file, for the message.

    Returns:
        The footage as it is to be shown, or as it is stored.

    Raises:
        ValueError: it has another shape than the camera's images.
    """
    if _alike(film.wh, wh):
        return film
    turn = getattr(film, "turn", None)
    if turn and _alike(turn.across(film.wh), wh):
        return film.as_stored()  # type: ignore[attr-defined]  # what has a turn has it
    told = f", {turn} as the file says" if turn else ""
    sideways = "its width and height are swapped, or its pictures turned by 90 degrees"
    remedy = sideways if _alike(film.wh[::-1], wh) else "a crop needs its own calibration"
    raise ValueError(
        f"{film.path}: {film.wh[0]} x {film.wh[1]} pixels{told}, but camera {name} of "
        f"{calibration} was made for {wh[0]} x {wh[1]}; {remedy}"
    )


def _alike(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return a == b or abs(a[0] / a[1] - b[0] / b[1]) <= SIDEWAYS
