"""Anipose projects: `config.toml` in the project, `videos-raw/trial1-camA.mp4` and `calibration/calibration.toml` in a session's folder.

`cam_regex` finds the camera's name in a video's; what is left of the name is the trial. `[cameras.A] offset = [dx, dy]` is where a cropped video
begins on the sensor that was calibrated. The session's folder is opened; the project's file lies there or up to two levels up.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch

from ...cameras import CameraRig
from .entry import Place, Recording, footage_of, match_videos, same_aspect

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib


def _project(place: Place) -> tuple[dict, Path] | None:
    """The project's settings and their file, if they are Anipose's: they have a `cam_regex`."""
    for folder in (place.folder, *place.folder.absolute().parents[:2]):
        path = folder / "config.toml"
        if not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
            continue
        try:
            found = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # somebody else's file
        if _regex(found):
            return found, path
    return None


def _regex(config: dict) -> str:
    table = config.get("triangulation", {})
    found = table.get("cam_regex", config.get("cam_regex", "")) if isinstance(table, dict) else ""
    return found if isinstance(found, str) and len(found) < 200 else ""


def recognises(place: Place) -> bool:
    """Settings with a `cam_regex`, and a folder of raw videos."""
    found = _project(place)
    return found is not None and _raw(place, found[0]).is_dir()


def _raw(place: Place, config: dict) -> Path:
    table = config.get("pipeline", {})
    return place.inside(
        place.folder
        / str(table.get("videos_raw", "videos-raw") if isinstance(table, dict) else "videos-raw")
    )


def read(place: Place) -> Recording:
    """One trial of a session."""
    config, path = _project(place)
    sources = _by_camera(place, place.sources(_raw(place, config)), _regex(config), path)
    calibration = place.calibration()
    rig = place.rig(calibration, sources)
    paths = match_videos(sources, rig.names, place.folder, calibration)
    footage = tuple(footage_of(paths[name]) for name in rig.names)
    return Recording(
        _cropped(rig, footage, config.get("cameras", {}), path), footage, place.rate(footage)
    )


def _by_camera(place: Place, sources: dict[str, Path], pattern: str, path: Path) -> dict[str, Path]:
    """{camera: video} of one trial."""
    try:
        names = {stem: re.search(pattern, stem) for stem in sources}
    except re.error as error:
        raise ValueError(
            f"{path}: cam_regex = {pattern!r} is not a regular expression ({error})"
        ) from error
    if nameless := [sources[stem].name for stem, found in names.items() if not found]:
        raise ValueError(
            f"{path}: cam_regex = {pattern!r} finds no camera in {nameless[0]}; correct it, or rename the video"
        )
    trials = sorted({re.sub(pattern, "", stem) for stem in sources})
    if len(trials) > 1:
        raise ValueError(
            f"{place.folder}: trials {', '.join(trials)}; choose one of them: trial='{trials[0]}', --trial"
        )
    return {
        (found.groups() or (found[0],))[0].strip(): sources[stem] for stem, found in names.items()
    }


def _cropped(rig: CameraRig, footage, cameras: dict, path: Path) -> CameraRig:
    """The rig of cropped videos: each begins at its offset on the calibrated sensor. All come to the size of the first one."""
    cameras = cameras if isinstance(cameras, dict) else {}
    said = {
        name: table["offset"]
        for name, table in cameras.items()
        if isinstance(table, dict) and "offset" in table and name in rig.names
    }
    if not said:
        same_aspect(footage, rig, path)
        return rig
    corners, windows = torch.zeros(rig.views, 2), torch.tensor([rig.wh] * rig.views).float()
    for v, (name, video) in enumerate(zip(rig.names, footage)):
        try:
            corners[v] = torch.tensor(said.get(name, [0, 0])).float()[:2]
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"{path} [cameras.{name}]: offset = {said[name]}; expected the crop's corner, [x, y] in pixels"
            ) from error
        windows[v] = windows.new_tensor(video.wh) if name in said else windows[v]
        if (corners[v] < 0).any() or (
            corners[v] + windows[v] > windows.new_tensor(rig.wh) + 1
        ).any():
            raise ValueError(
                f"{path} [cameras.{name}]: a video of {video.wh[0]} x {video.wh[1]} pixels at offset {said[name]} does not fit "
                f"on the calibrated {rig.wh[0]} x {rig.wh[1]}"
            )
    return rig.cropped(corners, windows, footage[0].wh)
