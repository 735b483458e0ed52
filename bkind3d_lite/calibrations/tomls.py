"""TOML: Anipose and its family, Pose2Sim, Caliscope.

The family: aniposelib, sleap-anipose, FreeMoCap, lightning-pose.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .entry import Tables, natural

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib


def read_toml(path: Path) -> tuple[Tables, str]:
    """Every table with a `matrix`, in natural order of the keys (cam_2 before cam_10).

    The unit is the file's own `[metadata] unit`; else metres for Pose2Sim (four coefficients and a
    table named as its camera) and for Caliscope (rotations as matrices beside `cam_id`), which
    write metres; else millimetres, as Anipose's boards are measured.

    Args:
        path: the file.

    Returns:
        The cameras, and the unit.

    Raises:
        ValueError: it is no TOML, or was calibrated on turned videos.
    """
    try:
        root = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path}: not a TOML file ({error}); write it again with your calibration tool"
        ) from error
    cameras = _cameras(root)
    for key, table in cameras.items():
        if turns := table.get("rotation_count"):
            raise ValueError(
                f"{path} [{key}]: rotation_count = {turns}: this camera was calibrated on a video "
                f"turned by {90 * turns} degrees; turn the video file itself, "
                "set rotation_count = 0"
            )
        own = f"cam_{table['cam_id']}" if "cam_id" in table else key.removeprefix("cameras.")
        table.setdefault("name", own)
    notes = root.get("metadata", {})
    notes = notes if isinstance(notes, dict) else {}
    return cameras, str(notes.get("unit", notes.get("units", _unit(cameras))))


def _cameras(root: dict[str, Any]) -> Tables:
    """The tables with a `matrix` that are not to be ignored; Caliscope's lie under `cameras`."""
    nested = root.get("cameras")
    if isinstance(nested, dict):
        root = {f"cameras.{key}": table for key, table in nested.items()}
    return {
        key: dict(root[key])
        for key in sorted(root, key=natural)
        if isinstance(root[key], dict) and "matrix" in root[key] and not root[key].get("ignore")
    }


def _unit(cameras: Tables) -> str:
    def pose2sim(key: str, table: dict[str, Any]) -> bool:
        if str(table.get("name")) != key or "fisheye" not in table:
            return False
        return len(table.get("distortions", [])) == 4

    def caliscope(table: dict[str, Any]) -> bool:
        return "cam_id" in table or "rotation_count" in table

    metres = all(pose2sim(key, table) or caliscope(table) for key, table in cameras.items())
    return "m" if cameras and metres else "mm"
