"""Anipose projects: `config.toml`, and a session's `videos-raw/trial1-camA.mp4` and calibration.

The session's folder is opened; it holds `calibration/calibration.toml`. The project's `config.toml`
lies there or up to two levels up. `cam_regex` finds the camera's name in a video's; what is left of
the name is the trial. `[cameras.A] offset = [dx, dy]` is where a cropped video begins on the sensor
that was calibrated.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ...cameras import CameraRig
from ...files import text_of
from ..videos import Footage
from .entry import Place, Recording
from .footage import footage_of
from .matching import fitted, fitted_to

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

RAW_VIDEOS = "videos-raw"  # unless the project's settings name another folder


def _project(place: Place) -> tuple[dict[str, Any], Path] | None:
    """The project's settings and their file, if they are Anipose's: they have a `cam_regex`."""
    for folder in (place.folder, *place.folder.absolute().parents[:2]):
        path = folder / "config.toml"
        if not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
            continue
        try:
            config = tomllib.loads(text_of(path))
        except (OSError, ValueError):
            continue  # somebody else's file
        if _regex(config):
            return config, path
    return None


def _regex(config: dict[str, Any]) -> str:
    table = config.get("triangulation", {})
    if not isinstance(table, dict):
        return ""
    pattern = table.get("cam_regex", config.get("cam_regex", ""))
    return pattern if isinstance(pattern, str) and len(pattern) < 200 else ""


def recognises(place: Place) -> bool:
    """Settings with a `cam_regex`, and a folder of raw videos.

    Args:
        place: the folder.

    Returns:
        Whether both are there.
    """
    project = _project(place)
    return project is not None and _raw(place, project[0]).is_dir()


def _raw(place: Place, config: dict[str, Any]) -> Path:
    table = config.get("pipeline", {})
    name = table.get("videos_raw", RAW_VIDEOS) if isinstance(table, dict) else RAW_VIDEOS
    return place.inside(place.folder / str(name))


def read(place: Place) -> Recording:
    """One trial of a session.

    Args:
        place: the session's folder.

    Returns:
        The recording.

    Raises:
        FileNotFoundError: the project's settings are gone.
    """
    if (project := _project(place)) is None:
        raise FileNotFoundError(f"{place.folder}: no config.toml with a cam_regex")
    config, path = project
    sources = _by_camera(place, place.sources(_raw(place, config)), _regex(config), path)
    calibration = place.calibration()
    rig = place.rig(calibration, sources)
    paths = place.matched(sources, rig, calibration)
    footage = tuple(footage_of(paths[name]) for name in rig.names)
    rig, footage = _cropped(rig, footage, config.get("cameras", {}), calibration, path)
    return Recording(rig, footage, place.rate(footage))


def _by_camera(place: Place, sources: dict[str, Path], pattern: str, path: Path) -> dict[str, Path]:
    """{camera: video} of one trial."""
    try:
        matches = {stem: re.search(pattern, stem) for stem in sources}
    except re.error as error:
        raise ValueError(
            f"{path}: cam_regex = {pattern!r} is not a regular expression ({error})"
        ) from error
    if nameless := [sources[stem].name for stem, match in matches.items() if not match]:
        raise ValueError(
            f"{path}: cam_regex = {pattern!r} finds no camera in {nameless[0]}; "
            "correct it, or rename the video"
        )
    trials = sorted({re.sub(pattern, "", stem) for stem in sources})
    if len(trials) > 1:
        raise ValueError(
            f"{place.folder}: trials {', '.join(trials)}; choose one of them: "
            f"trial='{trials[0]}', --trial"
        )
    return {
        (match.groups() or (match[0],))[0].strip(): sources[stem]
        for stem, match in matches.items()
        if match
    }


def _cropped(
    rig: CameraRig, footage: Sequence[Footage], cameras: Any, calibration: Path, path: Path
) -> tuple[CameraRig, tuple[Footage, ...]]:
    """Rig and footage of cropped videos: each begins at its offset on its calibrated sensor.

    All come to the size of the first one.
    """
    offsets = _offsets(cameras, rig)
    if not offsets:
        return rig, fitted(footage, rig, calibration)
    films, corners, windows = list(footage), [], []
    own = rig.sizes or (rig.wh,) * rig.views
    for v, (name, film) in enumerate(zip(rig.names, footage)):
        if name in offsets:
            corners.append(_corner(offsets[name], film, own[v], f"{path} [cameras.{name}]"))
            windows.append([*map(float, film.wh)])
        else:
            films[v] = fitted_to(film, name, own[v], calibration)
            corners.append([0.0, 0.0])
            windows.append([*map(float, own[v])])
    scale = torch.tensor(rig.wh) / torch.tensor(own)  # of the calibrated pixels in the rig's
    rig = rig.cropped(torch.tensor(corners) * scale, torch.tensor(windows) * scale, films[0].wh)
    return replace(rig, sizes=tuple(film.wh for film in films)), tuple(films)


def _corner(offset: Any, film: Footage, own: tuple[int, int], where: str) -> list[float]:
    """Where a crop begins, (x, y) in pixels of the calibrated sensor of size `own`."""
    try:
        x, y = (float(n) for n in offset[:2])
    except (TypeError, ValueError, KeyError) as error:
        raise ValueError(
            f"{where}: offset = {offset}; expected the crop's corner, [x, y] in pixels"
        ) from error
    (w, h), (W, H) = film.wh, own
    if not (0 <= x <= W + 1 - w and 0 <= y <= H + 1 - h):
        raise ValueError(
            f"{where}: a video of {w} x {h} pixels at offset {offset} does not fit on the "
            f"calibrated {W} x {H}"
        )
    return [x, y]


def _offsets(cameras: Any, rig: CameraRig) -> dict[str, Any]:
    """{camera: what the settings say of its crop's corner}."""
    return {
        name: table["offset"]
        for name, table in (cameras.items() if isinstance(cameras, dict) else ())
        if isinstance(table, dict) and "offset" in table and name in rig.names
    }
